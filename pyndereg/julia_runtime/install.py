"""Install Julia and its packages through juliapkg, ahead of time or on first use."""

import subprocess

from pyndereg.julia_runtime.errors import JuliaUnavailable
from pyndereg.julia_runtime.installation import (
    INSTALL,
    PACKAGE,
    PACKAGE_FOLDER,
    JuliaInstallation,
    find,
    in_one_line,
    julia_on_this_machine,
    juliapkg,
    named_by_user,
    resolved_by_juliapkg,
)
from pyndereg.julia_runtime.progress import announced

RESOLVING = "juliapkg resolves Julia packages; the first time it downloads them, which takes minutes"
# Ends with exit code 0 once every package is loaded, and so precompiled. The package's folder is an argument.
PRECOMPILE = (
    f"push!(LOAD_PATH, ARGS[1]); using {PACKAGE}; "
    f'isnothing(Base.identify_package("StochasticDiffEq")) || {PACKAGE}.load_stochastic()'
)


def prepare() -> JuliaInstallation:
    """The Julia to start. Packages are installed where that needs no new Julia and juliapkg may go online.

    Raises:
        JuliaUnavailable: there is none, in one sentence with the remedy.
    """
    located = named_by_user() or resolved_by_juliapkg()
    if isinstance(located, str) and named_by_user() is None and _may_install():
        resolve()
    located = find()
    if isinstance(located, str):
        raise JuliaUnavailable(located)
    return located


def install() -> JuliaInstallation:
    """Install what is missing, Julia itself too, and compile every package ahead of the first use.

    With PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT set the user's own project is compiled and left as it is.

    Raises:
        JuliaUnavailable: something could not be installed or compiled.
    """
    if named_by_user() is None:
        resolve()
    located = find()
    if isinstance(located, str):
        raise JuliaUnavailable(located)
    command = [located.executable, f"--project={located.project}", "--startup-file=no", "-e", PRECOMPILE]
    with announced("Julia compiles its packages, which takes minutes"):
        ended = subprocess.run([*command, str(PACKAGE_FOLDER.resolve())], check=False)
    if ended.returncode:
        raise JuliaUnavailable(
            f"Julia could not load {PACKAGE} from {located.project} (exit code {ended.returncode}); "
            "its messages above say why."
        )
    return located


def resolve() -> None:
    """Let juliapkg install Julia and every package that the Python packages of this environment name."""
    if isinstance(named_by_user(), str):
        raise JuliaUnavailable(str(named_by_user()))
    try:
        with announced(RESOLVING):
            juliapkg("deps").resolve()
    except Exception as error:
        raise JuliaUnavailable(
            f"juliapkg could not install Julia's packages ({in_one_line(error)}); check the network, then {INSTALL}."
        ) from error


def _may_install() -> bool:
    return not juliapkg("state").STATE["offline"] and julia_on_this_machine()
