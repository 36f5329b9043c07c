"""A wheel, an sdist and an editable install bring the Julia package along, where juliapkg finds it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".venv-bench-*", ".*_cache", ".hypothesis", "__pycache__", "runs", "dist", "site"
)
FIND_REQUIREMENTS = """
import json
from juliapkg.deps import find_requirements
julia, packages = find_requirements()
print(json.dumps({"julia": str(julia), "packages": {package.name: package.dict() for package in packages}}))
"""


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)


def pinned(name):
    return re.search(rf"^{name}==.*$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the sources, so that building leaves nothing in them."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("sources") / "pyndereg", symlinks=True, ignore=LEFT_OUT)


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """A Python with the build tools and juliapkg, and nothing else."""
    folder = tmp_path_factory.mktemp("builder")
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    installed = run(python, "-m", "pip", "install", "-q", "hatchling>=1.27", "editables", pinned("juliapkg"))
    if installed.returncode:
        pytest.skip("pip reaches no package index, so that nothing can be built.")
    return python


def install(builder, what, *, editable=False):
    """Install one thing in place of what was there before; returns what juliapkg then sees."""
    options = ["--no-deps", "--no-build-isolation", "--force-reinstall", "-q"]
    ended = run(builder, "-m", "pip", "install", *options, *(["-e"] if editable else []), what)
    assert ended.returncode == 0, ended.stderr
    found = run(builder, "-c", FIND_REQUIREMENTS, cwd=builder.parent)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


def check(requirements):
    package = requirements["packages"]["NDERegEngine"]
    folder = Path(package["path"])
    assert package["dev"] is True
    assert package["uuid"] in (folder / "Project.toml").read_text()
    assert (folder / "src" / "NDERegEngine.jl").is_file()
    assert requirements["julia"].startswith("^1.10.3")


def test_the_package_is_named_the_same_on_both_sides():
    named = json.loads((ROOT / "pyndereg" / "juliapkg.json").read_text())["packages"]["NDERegEngine"]
    project = (ROOT / "julia" / "Project.toml").read_text()
    assert f'uuid = "{named["uuid"]}"' in project
    assert 'name = "NDERegEngine"' in project
    assert not (ROOT / "julia" / "juliapkg.json").exists()  # an editable install would find both


def test_the_pin_of_juliacall_is_within_the_range_that_is_declared():
    assert pinned("juliacall") == "juliacall==0.9.34"
    assert '"juliacall>=0.9.34,<0.10"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.slow
def test_a_wheel_brings_the_julia_package(tree, builder, tmp_path):
    built = run(builder, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, tree)
    assert built.returncode == 0, built.stderr
    check(install(builder, next(tmp_path.glob("*.whl"))))


@pytest.mark.slow
def test_an_sdist_brings_the_julia_package_once(tree, builder, tmp_path):
    built = run(builder, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=tree)
    assert built.returncode == 0, built.stderr
    archive = next(tmp_path.glob("*.tar.gz"))
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    folder = next((tmp_path / "unpacked").glob("*/pyndereg/_julia"))
    assert folder.is_dir()
    assert not folder.is_symlink()
    check(install(builder, archive))


@pytest.mark.slow
def test_an_editable_install_leads_to_the_julia_package_of_the_sources(tree, builder):
    requirements = install(builder, tree, editable=True)
    check(requirements)
    assert Path(requirements["packages"]["NDERegEngine"]["path"]).resolve() == (tree / "julia").resolve()
