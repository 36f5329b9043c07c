"""Julia in this process: started once, on first use, in a thread of its own that every call goes through."""

from pyndereg.julia_runtime.errors import JuliaError, JuliaUnavailable
from pyndereg.julia_runtime.installation import JuliaInstallation, find
from pyndereg.julia_runtime.runtime import Runtime, start

__all__ = ["JuliaError", "JuliaInstallation", "JuliaUnavailable", "Runtime", "find", "start"]
