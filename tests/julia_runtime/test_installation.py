"""Which Julia is used, and the one sentence where there is none. No Julia is needed."""

import importlib.util
import shutil
import sys

import pytest

from pyndereg import julia_runtime
from pyndereg.cli import main
from pyndereg.julia_runtime import installation
from pyndereg.julia_runtime.doctor import Finding, as_text, is_well
from pyndereg.julia_runtime.install import prepare

MANIFEST = '[[deps.{name}]]\nuuid = "37e2e46d-f89d-539d-b4ee-838fcccc9c8e"\nversion = "1.2.3"\n\n'


@pytest.fixture(autouse=True)
def _with_juliacall_and_without_its_variables(monkeypatch):
    """As if juliacall were installed; nothing here imports it."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "juliacall" else find_spec(name))
    for name in ("PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JULIA_LOAD_PATH", "@:@stdlib")


def name_julia(monkeypatch, executable, project):
    monkeypatch.setenv("PYTHON_JULIACALL_EXE", str(executable))
    monkeypatch.setenv("PYTHON_JULIACALL_PROJECT", str(project))


@pytest.mark.parametrize(("given", "lacking"), [("EXE", "PROJECT"), ("PROJECT", "EXE")])
def test_one_of_juliacalls_two_variables_alone_is_named(given, lacking, monkeypatch):
    monkeypatch.setenv(f"PYTHON_JULIACALL_{given}", "/somewhere")
    reason = julia_runtime.find()
    assert isinstance(reason, str)
    assert f"set PYTHON_JULIACALL_{lacking} too" in reason
    with pytest.raises(julia_runtime.JuliaUnavailable, match=lacking):
        prepare()


def test_an_executable_or_a_project_that_does_not_exist_is_named(monkeypatch, tmp_path):
    name_julia(monkeypatch, tmp_path / "nowhere", tmp_path)
    assert "nowhere" in str(julia_runtime.find())
    name_julia(monkeypatch, sys.executable, tmp_path / "no-project")
    assert "no-project" in str(julia_runtime.find())


def test_packages_that_the_users_project_lacks_are_named_with_the_remedy(monkeypatch, tmp_path):
    name_julia(monkeypatch, sys.executable, tmp_path)
    needed = installation.needed_packages()
    assert "OrdinaryDiffEq" in needed
    (tmp_path / "Manifest.toml").write_text("".join(MANIFEST.format(name=name) for name in needed[2:]))
    reason = julia_runtime.find()
    assert isinstance(reason, str)
    assert f"lacks {needed[0]}, {needed[1]}; add them there" in reason


def test_a_complete_project_that_the_user_named_is_used(monkeypatch, tmp_path):
    name_julia(monkeypatch, sys.executable, tmp_path)
    needed = installation.needed_packages()
    (tmp_path / "Manifest.toml").write_text("".join(MANIFEST.format(name=name) for name in needed))
    found = julia_runtime.find()
    assert found == julia_runtime.JuliaInstallation(sys.executable, str(tmp_path), "juliacall")
    assert prepare() == found


def test_without_juliacall_the_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install juliacall" in str(julia_runtime.find())


def test_what_juliapkg_has_not_resolved_is_installed_by_a_command_and_not_by_looking(monkeypatch, tmp_path):
    pytest.importorskip("juliapkg", reason="juliapkg is not installed")
    monkeypatch.setitem(installation.juliapkg("state").STATE, "project", str(tmp_path / "env"))
    monkeypatch.setitem(installation.juliapkg("state").STATE, "meta", str(tmp_path / "env" / "meta.json"))
    monkeypatch.setitem(installation.juliapkg("state").STATE, "offline", True)
    assert "pyndereg julia install" in str(julia_runtime.find())
    with pytest.raises(julia_runtime.JuliaUnavailable, match="pyndereg julia install"):
        prepare()
    assert not (tmp_path / "env").exists()


def test_the_doctor_reports_a_missing_julia_with_the_remedy_and_exit_code_1(monkeypatch, capsys):
    monkeypatch.setenv("PYTHON_JULIACALL_EXE", shutil.which("sh") or "sh")
    code = main(["doctor"])
    report = capsys.readouterr().out
    assert code == 1
    for subject in ("Python ", "torch ", "juliapkg ", "threads of torch", "CUDA in torch"):
        assert subject in report
    assert "-> PYTHON_JULIACALL_EXE is set and PYTHON_JULIACALL_PROJECT is not" in report


def test_the_install_command_leaves_a_wrong_setting_to_the_user(monkeypatch, capsys):
    monkeypatch.setenv("PYTHON_JULIACALL_EXE", "/somewhere")
    assert main(["julia", "install"]) == 2
    assert "set PYTHON_JULIACALL_PROJECT too" in capsys.readouterr().err


def test_a_report_is_well_when_nothing_needs_a_remedy():
    well = [Finding("Python", "3.11"), Finding("Julia", "1.10.8")]
    assert is_well(well)
    assert as_text(well).splitlines() == ["Python  3.11", "Julia   1.10.8"]
    ill = [*well, Finding("CUDA.jl", "missing", "Add it.")]
    assert not is_well(ill)
    assert as_text(ill).splitlines()[-1].strip() == "-> Add it."
