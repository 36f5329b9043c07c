"""Which Julia and which project to start, found without starting, installing or downloading anything."""

import importlib
import importlib.util
import os
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

PACKAGE = "NDERegEngine"
PACKAGE_FOLDER = Path(__file__).parents[1] / "_julia"
# What a manifest may leave out, of what Project.toml names: it comes with Julia.
STANDARD_LIBRARIES = {"LinearAlgebra", "Logging", "Printf", "Random", "SparseArrays", "Statistics"}
INSTALL = "run `pyndereg julia install`"


@dataclass(frozen=True)
class JuliaInstallation:
    """A Julia that can be started.

    Attributes:
        executable: path of the julia program.
        project: folder of the Julia project whose packages are used.
        source: what named the two: "juliacall" (its PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT) or "juliapkg".
    """

    executable: str
    project: str
    source: str


def setting(name: str) -> str | None:
    """A setting of juliacall: -X juliacall-name or PYTHON_JULIACALL_NAME, in its own order; None where unset."""
    option = sys._xoptions.get(f"juliacall-{name.replace('_', '-')}")
    if option is not None:
        return "yes" if option is True else option
    return os.environ.get(f"PYTHON_JULIACALL_{name.upper()}")


def find() -> JuliaInstallation | str:
    """The Julia that would be started, or one sentence that says why there is none and what to do.

    Starts no Julia in this process and changes nothing on the disk.
    """
    located = named_by_user() or resolved_by_juliapkg()
    if isinstance(located, str):
        return located
    missing = missing_packages(Path(located.project))
    if missing:
        return (
            f"The Julia project {located.project} lacks {', '.join(missing)}; add "
            f"{'it' if len(missing) == 1 else 'them'} there with Julia's package manager, or unset "
            f"PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT and {INSTALL}."
        )
    return located


def named_by_user() -> JuliaInstallation | str | None:
    """What juliacall's own variables name; a sentence where that cannot work; None where neither is set."""
    if importlib.util.find_spec("juliacall") is None:
        return "The Python package juliacall is missing; install it with `pip install juliacall`."
    executable, project = setting("exe"), setting("project")
    if executable is None and project is None:
        return None
    if executable is None or project is None:
        found, lacking = ("PROJECT", "EXE") if executable is None else ("EXE", "PROJECT")
        return (
            f"PYTHON_JULIACALL_{found} is set and PYTHON_JULIACALL_{lacking} is not, but juliacall needs both or "
            f"neither; set PYTHON_JULIACALL_{lacking} too, or unset PYTHON_JULIACALL_{found}."
        )
    path = shutil.which(executable)
    if path is None:
        return f"PYTHON_JULIACALL_EXE is {executable!r}, which is no executable file; set it to the julia program."
    if not Path(project).exists():
        return f"PYTHON_JULIACALL_PROJECT is {project!r}, which does not exist; set it to a Julia project's folder."
    return JuliaInstallation(os.path.abspath(path), os.path.abspath(project), "juliacall")


def resolved_by_juliapkg() -> JuliaInstallation | str:
    """What juliapkg has resolved for this Python environment, or a sentence where it has not."""
    if importlib.util.find_spec("juliapkg") is None:
        return "The Python package juliapkg is missing; install it with `pip install juliapkg`."
    try:
        resolved = juliapkg("deps").can_skip_resolve()
        project = juliapkg("state").STATE["project"]
    except Exception as error:
        return f"juliapkg cannot tell which Julia to use ({in_one_line(error)}); put right what it names."
    if not resolved:
        return f"Julia and its packages are not installed for this Python environment yet; {INSTALL}."
    return JuliaInstallation(resolved["executable"], project, "juliapkg")


def juliapkg(module: str) -> Any:
    """One module of juliapkg, imported on first use: its state reads the environment when it is imported."""
    return getattr(importlib.import_module("juliapkg"), module)


def julia_on_this_machine() -> bool:
    """Whether juliapkg would find a Julia without downloading one."""
    state = juliapkg("state").STATE
    offline = state["offline"]
    state["offline"] = True
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # juliapkg tells what it reads
            wanted, _ = juliapkg("deps").find_requirements()
            juliapkg("find_julia").find_julia(compat=wanted, prefix=state["install"], install=False)
    except Exception:
        return False
    finally:
        state["offline"] = offline
    return True


def missing_packages(project: Path) -> list[str]:
    """The dependencies of our Julia package that no manifest in sight of `project` has.

    Args:
        project: folder or Project.toml of a Julia project.
    Returns:
        Names in alphabetical order; empty where there is no manifest to tell, because Julia will.
    """
    installed = installed_packages(project)
    return [name for name in needed_packages() if name not in installed] if installed else []


def needed_packages() -> list[str]:
    """The packages that ours depends on, without what comes with Julia, in alphabetical order."""
    return sorted(set(_tables(PACKAGE_FOLDER / "Project.toml").get("deps", {})) - STANDARD_LIBRARIES)


def optional_packages() -> list[str]:
    """The packages that parts of ours depend on, which are loaded when they are first asked for."""
    return sorted(_tables(PACKAGE_FOLDER / "Project.toml").get("weakdeps", {}))


def installed_packages(project: Path) -> dict[str, str]:
    """Name -> version of every package that a manifest in sight of `project` has."""
    installed = {}
    for folder in environments(project if project.is_dir() else project.parent):
        for manifest in [*folder.glob("Manifest*.toml"), *folder.glob("JuliaManifest*.toml")]:
            for name, entries in _tables(manifest).get("deps", {}).items():
                installed.setdefault(name, entries[0].get("version", "comes with Julia"))
    return installed


def environments(project: Path) -> list[Path]:
    """The folders in which Julia looks for packages when `project` is active, as far as the environment tells."""
    load_path = os.environ.get("JULIA_LOAD_PATH")
    if load_path is not None:
        return [project, *(Path(entry) for entry in load_path.split(os.pathsep) if os.path.isabs(entry))]
    depots = os.environ.get("JULIA_DEPOT_PATH") or str(Path.home() / ".julia")
    shared = (Path(depot) / "environments" for depot in depots.split(os.pathsep) if depot)
    return [project, *(folder for parent in shared for folder in parent.glob("v*"))]


def _tables(path: Path) -> dict[str, Any]:
    """A TOML file's tables; empty where there is no such file."""
    if not path.is_file():
        return {}
    return tomllib.loads(path.read_text("utf-8"))


def in_one_line(error: BaseException) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
