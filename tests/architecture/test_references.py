"""Every citation resolves in references.bib, and every public name says what it is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyndereg

ROOT = Path(__file__).parents[2]
BIBLIOGRAPHY = ROOT / "references.bib"
CODE_SPAN = re.compile(r"`[^`\n]*`")
CITATION = re.compile(r"\[(@[^\]\n]+)\]")


def cited_keys(text: str) -> set[str]:
    """The keys of [@key] and [@one; @two, p. 3] in a text; what stands in backquotes is shown, not cited."""
    return {key for group in CITATION.findall(CODE_SPAN.sub("", text)) for key in re.findall(r"@([\w:-]+)", group)}


def listed_keys() -> list[str]:
    return re.findall(r"^@\w+\{([^,\s]+),", BIBLIOGRAPHY.read_text("utf-8"), flags=re.MULTILINE)


def docstrings(path: Path) -> str:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text("utf-8"))
    return "\n".join(ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented))


def texts_that_cite() -> dict[str, str]:
    modules = {path: docstrings(path) for path in (ROOT / "pyndereg").rglob("*.py")}
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    texts = {**modules, **{page: page.read_text("utf-8") for page in pages}}
    return {str(path.relative_to(ROOT)): text for path, text in texts.items()}


def test_every_citation_in_a_docstring_or_a_page_is_listed_in_the_bibliography():
    listed = set(listed_keys())
    missing = {path: keys - listed for path, text in texts_that_cite().items() if (keys := cited_keys(text)) - listed}
    assert missing == {}


def test_the_bibliography_lists_each_work_once():
    keys = listed_keys()
    assert keys
    assert len(keys) == len(set(keys))


def test_a_key_is_found_alone_in_a_list_and_with_a_page():
    assert cited_keys("Source: [@hairer1993solving] eq. (II.4.11).") == {"hairer1993solving"}
    assert cited_keys("[@pal2021opening; @pal2023locally, sec. 3]") == {"pal2021opening", "pal2023locally"}
    assert cited_keys("cite as `[@key]`") == set()
    assert cited_keys("write to someone@example.org, or [0] and [a]") == set()


def test_every_public_name_has_a_docstring():
    assert [name for name, public in public_names(pyndereg) if not documentation(public)] == []


def public_names(module: ModuleType) -> Iterator[tuple[str, object]]:
    """What a module exports, and what the modules among it export."""
    for name in module.__all__:
        public = getattr(module, name)
        yield f"{module.__name__}.{name}", public
        if isinstance(public, ModuleType) and hasattr(public, "__all__"):
            yield from public_names(public)


def documentation(public: object) -> str | None:
    """The docstring written for this very object: not inherited, and not the one that dataclass generates."""
    if isinstance(public, str | int | float | tuple):
        return "a constant carries no docstring"
    if not isinstance(public, type):
        return public.__doc__
    written = public.__dict__.get("__doc__")
    return None if written is None or written.startswith(f"{public.__name__}(") else written
