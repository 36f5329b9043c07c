"""The report of `pyndereg doctor`: what the Julia engine needs, what is there, and the remedy for what is not."""

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pyndereg.julia_runtime import startup
from pyndereg.julia_runtime.errors import JuliaUnavailable
from pyndereg.julia_runtime.installation import (
    JuliaInstallation,
    find,
    installed_packages,
    needed_packages,
    optional_packages,
)
from pyndereg.julia_runtime.runtime import start

PYTHON_PACKAGES = ("torch", "numpy", "juliacall", "juliapkg")
NO_CUDA = "no CUDA"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked for.
        found: what is there.
        remedy: what to do about it, one sentence; None where all is well.
    """

    subject: str
    found: str
    remedy: str | None = None


def examine() -> list[Finding]:
    """Everything the Julia engine needs; starts Julia where there is one, and installs nothing."""
    findings = [
        Finding("Python", f"{platform.python_version()} ({sys.executable})"),
        *map(_python_package, PYTHON_PACKAGES),
    ]
    located = find()
    if isinstance(located, str):
        return [*findings, *_torch_settings(None), Finding("Julia", "not available", located)]
    project = Path(located.project)
    installed = installed_packages(project)
    try:
        facts = start().call(lambda bridge: startup.facts())
    except JuliaUnavailable as error:
        return [*findings, *_torch_settings(None), *_julia(located, {}, str(error)), *_packages(installed)]
    return [
        *findings,
        *_torch_settings(facts),
        *_julia(located, facts, None),
        *_packages(installed),
        _julia_cuda(installed),
    ]


def as_text(findings: list[Finding]) -> str:
    """The findings as aligned lines, each remedy beneath its finding."""
    width = max(len(finding.subject) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.subject:<{width}}  {finding.found}")
        if finding.remedy is not None:
            lines.append(f"{'':<{width}}  -> {finding.remedy}")
    return "\n".join(lines)


def is_well(findings: list[Finding]) -> bool:
    """Whether no finding needs a remedy."""
    return all(finding.remedy is None for finding in findings)


def _python_package(name: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", f"Install it with `pip install {name}`.")


def _torch_settings(facts: Mapping[str, str] | None) -> list[Finding]:
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    cuda = f"{torch.version.cuda}, {torch.cuda.device_count()} device(s)" if torch.version.cuda else NO_CUDA
    threads = str(torch.get_num_threads())
    findings = [Finding("CUDA in torch", cuda), Finding("threads of torch", threads)]
    if facts is not None:
        named = startup.blas_threads_named_by_user()
        note = f" (set by {named})" if named else ""
        findings.append(Finding("threads of Julia's BLAS", f"{facts['blas_threads']}{note}"))
        findings.append(Finding("BLAS of Julia", facts["blas"]))
    return findings


def _julia(located: JuliaInstallation, facts: Mapping[str, str], remedy: str | None) -> list[Finding]:
    where = f"{located.executable}, project {located.project}, named by {located.source}"
    findings = [Finding("Julia", f"{facts.get('version', 'does not start')} ({where})", remedy)]
    if facts:
        findings.append(Finding("threads of Julia", facts["threads"]))
        findings.append(Finding("signal handlers of Julia", facts["handle_signals"]))
    return findings


def _packages(installed: Mapping[str, str]) -> list[Finding]:
    names = sorted((*needed_packages(), *optional_packages()))
    return [Finding(f"{name}.jl", installed[name]) for name in names if name in installed]


def _julia_cuda(installed: Mapping[str, str]) -> Finding:
    torch = sys.modules.get("torch")
    version = installed.get("CUDA")
    if version is not None or torch is None or not torch.cuda.is_available():
        return Finding("CUDA.jl", version or "not installed, and not needed without a CUDA device")
    return Finding("CUDA.jl", "missing", "Add the package CUDA to the Julia project to solve on CUDA tensors.")
