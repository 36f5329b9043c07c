"""The rooms of the package: every import points down, there are no circles, and files stay short enough to read.

The checks read source text and import nothing, so that they hold without any optional dependency. Each is a function
from parsed modules to the list of offences, and is itself tried on a small made-up package at the end of the file.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "pyndereg"
PACKAGE_FOLDER = Path(__file__).parents[2] / PACKAGE

# From top to bottom. A module imports from its own room and from the rooms below it.
ROOMS = (
    "cli",
    "experiments",
    "plotting",
    "results",
    "models",
    "compat",
    "functional",
    "solve",
    "penalties",
    "engines",
    "julia_runtime",
    "solver",
    "fields",
    "regularizers",
    "ivp",
    "noise",
    "numbers",
    "torch_modes",
)
ROOMS_THAT_RUN_A_SOLVER = {
    "experiments",
    "models",
    "compat",
    "functional",
    "solve",
    "penalties",
    "engines",
    "julia_runtime",
    "solver",
}

# Starting Julia takes seconds and needs Julia, so all of its doors open on first use: (module, function, what).
LAZY_IMPORTS = {
    ("pyndereg.julia_runtime.startup", None, "juliacall"),
    ("pyndereg.julia_runtime.installation", None, "juliapkg"),
    ("pyndereg.engines", "get_engine", "pyndereg.engines.julia"),
    ("pyndereg.experiments.peer", "__init__", "torchdiffeq"),  # only who compares with it has to have it
    ("pyndereg.experiments.spiral_sde", "make_optimizer", "pytorch_optimizer"),  # takes a second, for one preset
}
LINES_PER_FILE = 400


@dataclass(frozen=True)
class Import:
    """One name that a module imports: where it stands, what it names, and the function around it, if any."""

    module: str
    line: int
    target: str
    function: str | None


def module_name(path: Path, package_folder: Path) -> str:
    parts = path.relative_to(package_folder.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_package(package_folder: Path) -> dict[str, tuple[str, bool]]:
    """Module name -> (source, whether it is a package's __init__)."""
    paths = sorted(package_folder.rglob("*.py"))
    return {module_name(path, package_folder): (path.read_text("utf-8"), path.name == "__init__.py") for path in paths}


def imports_of(modules: Mapping[str, tuple[str, bool]]) -> list[Import]:
    found = []
    for module, (source, is_package) in modules.items():
        for node, function in _nodes_with_function(ast.parse(source), None):
            for target in _targets(node, module, is_package, modules):
                found.append(Import(module, node.lineno, target, function))
    return found


def _nodes_with_function(node: ast.AST, function: str | None) -> Iterator[tuple[ast.AST, str | None]]:
    for child in ast.iter_child_nodes(node):
        inside = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = child.name
        yield child, inside
        yield from _nodes_with_function(child, inside)


def _targets(node: ast.AST, module: str, is_package: bool, modules: Iterable[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parent = node.module or ""
        if node.level:
            base = module.split(".") if is_package else module.split(".")[:-1]
            base = base[: len(base) - (node.level - 1)]
            parent = ".".join([*base, parent] if parent else base)
        # `from pyndereg.solver import norms` names a module where there is one, otherwise a name of the package.
        return [f"{parent}.{alias.name}" if f"{parent}.{alias.name}" in modules else parent for alias in node.names]
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called in ("importlib.import_module", "import_module", "__import__"):
            named = node.args[0] if node.args else None
            return [named.value if isinstance(named, ast.Constant) else f"{called}(...)"]
    return []


def is_within(name: str, root: str) -> bool:
    return name == root or name.startswith(f"{root}.")


def room_of(module: str) -> str | None:
    """The room that a module of the package is in; None for the public face itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def upward_imports(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    offences = []
    for found in imports_of(modules):
        room = room_of(found.module)
        if room is None or not is_within(found.target, PACKAGE):
            continue
        target_room = room_of(found.target)
        where = f"{found.module}:{found.line} imports {found.target}"
        if target_room is None:
            offences.append(f"{where}: the public face is for users; import from the room that defines the name.")
        elif room in ROOMS and target_room in ROOMS and ROOMS.index(target_room) < ROOMS.index(room):
            offences.append(f"{where}: {target_room} is above {room}.")
    return offences


def unknown_rooms(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    rooms = {room_of(module) for module in modules} - {None}
    return [f"{room} is not a room; add it to the order or move its contents." for room in sorted(rooms - {*ROOMS})]


def circles(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    """Each circle among the modules as 'a -> b -> a'; the public face is left out."""
    arrows: dict[str, set[str]] = {module: set() for module in modules if module != PACKAGE}
    for found in imports_of(modules):
        if found.module in arrows and found.target in arrows and found.target != found.module:
            arrows[found.module].add(found.target)

    offences, finished = [], set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            offences.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in finished:
            for target in sorted(arrows[module]):
                visit(target, [*path, module])
            finished.add(module)

    for module in sorted(arrows):
        visit(module, [])
    return offences


def hidden_imports(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    """Imports inside functions, apart from those that are slow and seldom needed."""
    return [
        f"{found.module}:{found.line} imports {found.target} inside {found.function}; move it to the top of the file."
        for found in imports_of(modules)
        if found.function is not None
        and not any(
            found.module == module and function in (None, found.function) and is_within(found.target, what)
            for module, function, what in LAZY_IMPORTS
        )
    ]


def importers_of_juliacall(modules: Mapping[str, tuple[str, bool]]) -> set[str]:
    return {found.module for found in imports_of(modules) if is_within(found.target, "juliacall")}


def reachable_from(start: str, modules: Mapping[str, tuple[str, bool]]) -> set[str]:
    found = imports_of(modules)
    seen, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            # Importing a.b.c also runs the __init__ of a.b; the public face is never a reason to depend on a room.
            parents = [".".join(module.split(".")[:n]) for n in range(2, module.count(".") + 1)]
            waiting += [parent for parent in parents if parent in modules]
            waiting += [one.target for one in found if one.module == module and one.target in modules]
    return seen


def long_files(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    lengths = {module: len(source.splitlines()) for module, (source, _) in modules.items()}
    return [
        f"{module} has {length} lines, more than {LINES_PER_FILE}; split it along what a reader would look for."
        for module, length in lengths.items()
        if length > LINES_PER_FILE
    ]


def test_every_module_lives_in_a_room_of_the_design():
    assert unknown_rooms(read_package(PACKAGE_FOLDER)) == []


def test_a_module_imports_only_from_its_own_room_and_the_rooms_below():
    assert upward_imports(read_package(PACKAGE_FOLDER)) == []


def test_no_modules_import_each_other_in_a_circle():
    assert circles(read_package(PACKAGE_FOLDER)) == []


def test_imports_stand_at_the_top_of_a_file_except_the_slow_and_seldom_needed():
    assert hidden_imports(read_package(PACKAGE_FOLDER)) == []


def test_only_the_startup_of_the_julia_runtime_imports_juliacall():
    assert importers_of_juliacall(read_package(PACKAGE_FOLDER)) <= {f"{PACKAGE}.julia_runtime.startup"}


def test_plotting_reaches_nothing_that_runs_a_solver():
    reached = reachable_from(f"{PACKAGE}.plotting", read_package(PACKAGE_FOLDER))
    assert {module for module in reached if room_of(module) in ROOMS_THAT_RUN_A_SOLVER} == set()


def test_no_file_is_longer_than_a_reader_can_hold():
    assert long_files(read_package(PACKAGE_FOLDER)) == []


# The checks themselves, on packages of two or three lines.


def package(**sources: str) -> dict[str, tuple[str, bool]]:
    """Made-up modules: `solver__norms="..."` is pyndereg/solver/norms.py, `solver="..."` its __init__."""
    names = {f"{PACKAGE}.{name.replace('__', '.')}": source for name, source in sources.items()}
    return {
        name: (source, any(other.startswith(f"{name}.") for other in names))
        for name, source in {PACKAGE: "", **names}.items()
    }


def test_an_upward_import_is_found_in_each_of_its_spellings():
    spellings = (
        "import pyndereg.models",
        "from pyndereg.models import NeuralODE",
        "from pyndereg import models",
        "from ..models import NeuralODE",
        "from .. import models",
        "if True:\n    from pyndereg import models",
    )
    for spelling in spellings:
        assert len(upward_imports(package(models="", solver="", solver__march=spelling))) == 1, spelling


def test_a_downward_import_and_one_within_a_room_are_allowed():
    modules = package(ivp="", solver="from . import march", solver__march="from pyndereg.ivp import ODEProblem")
    assert upward_imports(modules) == []
    assert circles(modules) == []


def test_importing_the_public_face_from_inside_is_found():
    assert len(upward_imports(package(models="import pyndereg as nde"))) == 1
    assert len(upward_imports(package(models="from pyndereg import ODEProblem"))) == 1


def test_a_circle_is_found_and_named():
    modules = package(
        ivp="", ivp__a="from pyndereg.ivp import b", ivp__b="from .c import x", ivp__c="import pyndereg.ivp.a"
    )
    assert circles(modules) == ["pyndereg.ivp.a -> pyndereg.ivp.b -> pyndereg.ivp.c -> pyndereg.ivp.a"]


def test_an_import_inside_a_function_is_found_and_those_that_start_julia_are_not():
    assert len(hidden_imports(package(solve="def solve():\n    import math"))) == 1
    assert len(hidden_imports(package(solve="def solve():\n    return importlib.import_module('math')"))) == 1
    assert hidden_imports(package(julia_runtime="", julia_runtime__startup="def start():\n    import juliacall")) == []
    lazy = "def get_engine(name):\n    from pyndereg.engines.julia import engine"
    assert hidden_imports(package(engines=lazy, engines__julia="", engines__julia__engine="")) == []


def test_a_solver_behind_another_room_is_still_reached_by_plotting():
    modules = package(
        plotting="import pyndereg.results", results="from pyndereg.ivp import x", ivp="import pyndereg.solve", solve=""
    )
    assert "pyndereg.solve" in reachable_from("pyndereg.plotting", modules)


def test_a_folder_that_is_no_room_and_a_file_that_is_too_long_are_found():
    assert len(unknown_rooms(package(tools=""))) == 1
    assert len(long_files(package(ivp="x = 1\n" * (LINES_PER_FILE + 1)))) == 1
    assert long_files(package(ivp="x = 1\n" * LINES_PER_FILE)) == []
