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
PAGES = ("README.md", "docs/index.md", "docs/guide.md")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)

# The only commands that are shown and not run, and why.
NOT_RUN = {"pip install": "changes the environment; the tests run in one that it made"}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text("utf-8")
    return [body for found, body in FENCE.findall(text) if found == language]


def commands(page: str) -> list[str]:
    """The lines of the bash blocks, without comments."""
    lines = [line.split(" #")[0].strip() for block in blocks(page, "bash") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def is_not_run(command: str) -> bool:
    return command.startswith(tuple(NOT_RUN))


@pytest.mark.parametrize("page", PAGES)
def test_the_python_examples_of_a_page_run_in_their_order(page: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for number, source in enumerate(blocks(page, "python"), start=1):
            exec(compile(source, f"{page}, example {number}", "exec"), namespace)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_pyndereg_commands_of_a_page_run_in_their_order(page: str, tmp_path):
    executable = Path(sys.executable).with_name("pyndereg")
    for command in commands(page):
        if command.startswith("pyndereg "):
            arguments = expand_globs(shlex.split(command)[1:], tmp_path)
            ended = subprocess.run([executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"


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
