"""What the README and the guide show is run: every Python example, and every command."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "docs/index.md",
    "docs/guide.md",
    "docs/gradients.md",
    "docs/experiments.md",
    "docs/julia.md",
    "docs/performance.md",
)
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
# The title of a block says that it needs Julia, or the name of the file that it is.
NEEDS_JULIA = 'title="needs Julia"'
FILE = re.compile(r'title="(\S+)"')

# The only commands that are shown and not run, and why.
NOT_RUN = {
    "pip install": "changes the environment; the tests run in one that it made",
    "pyndereg julia install": "downloads Julia and its packages",
}


def blocks(page: str, language: str, *, with_julia: bool = False) -> list[str]:
    """The blocks of a language in their order, those that need Julia only where it is there."""
    text = (ROOT / page).read_text("utf-8")
    return [
        body
        for found, title, body in FENCE.findall(text)
        if found == language and (with_julia or NEEDS_JULIA not in title)
    ]


def commands(page: str, *, with_julia: bool = True) -> list[str]:
    """The lines of the bash blocks, without comments."""
    shown = blocks(page, "bash", with_julia=with_julia)
    lines = [line.split(" #")[0].strip() for block in shown for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def is_not_run(command: str) -> bool:
    return command.startswith(tuple(NOT_RUN))


def write_named_files(page: str, folder: Path) -> None:
    """The blocks that are files, such as the Julia functions that an example names."""
    for _, title, body in FENCE.findall((ROOT / page).read_text("utf-8")):
        if name := FILE.search(title):
            (folder / name[1]).write_text(body, "utf-8")


def run_examples(page: str, sources: list[str]) -> None:
    namespace = {"__name__": "__main__"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for number, source in enumerate(sources, start=1):
            exec(compile(source, f"{page}, example {number}", "exec"), namespace)


def run_commands(page: str, folder: Path, *, with_julia: bool) -> None:
    executable = Path(sys.executable).with_name("pyndereg")
    for command in commands(page, with_julia=with_julia):
        if command.startswith("pyndereg ") and not is_not_run(command):
            arguments = expand_globs(shlex.split(command)[1:], folder)
            ended = subprocess.run([executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
            assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"


PAGES_WITHOUT_JULIA = [page for page in PAGES if blocks(page, "python")]
PAGES_WITH_JULIA = [page for page in PAGES if blocks(page, "python") != blocks(page, "python", with_julia=True)]


@pytest.mark.parametrize("page", PAGES_WITHOUT_JULIA)
def test_the_python_examples_of_a_page_run_in_their_order(page: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_examples(page, blocks(page, "python"))


@pytest.mark.slow
@pytest.mark.julia
@pytest.mark.usefixtures("julia")
@pytest.mark.parametrize("page", PAGES_WITH_JULIA)
def test_the_examples_of_a_page_that_need_julia_run_after_those_before_them(page: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_named_files(page, tmp_path)
    run_examples(page, blocks(page, "python", with_julia=True))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_pyndereg_commands_of_a_page_run_in_their_order(page: str, tmp_path):
    run_commands(page, tmp_path, with_julia=False)


@pytest.mark.slow
@pytest.mark.julia
@pytest.mark.usefixtures("julia")
def test_the_commands_that_need_julia_run_where_it_is_there(tmp_path):
    run_commands("docs/julia.md", tmp_path, with_julia=True)


def expand_globs(arguments: list[str], folder: Path) -> list[str]:
    """What a shell does with *: the files that match, or the argument as it is."""
    expanded = []
    for argument in arguments:
        matches = sorted(str(path.relative_to(folder)) for path in folder.glob(argument)) if "*" in argument else []
        expanded += matches or [argument]
    return expanded


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_the_make_targets_that_a_page_names_exist(page: str):
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`make (\w+)`", text)) | {
        line.split()[1] for line in commands(page) if line.startswith("make ")
    }
    # A make above this process would hand its flags and targets down.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    for target in sorted(named):
        tried = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert tried.returncode == 0, f"make {target}\n{tried.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_run_or_excepted_by_name(page: str):
    tested = ("pyndereg ", "make ")
    assert [command for command in commands(page) if not is_not_run(command) and not command.startswith(tested)] == []


def test_every_exception_is_still_shown_somewhere():
    shown = [command for page in PAGES for command in commands(page)]
    assert [prefix for prefix in NOT_RUN if not any(command.startswith(prefix) for command in shown)] == []
