"""Imported first of all: starts Julia before torch where PYNDEREG_ENGINE=julia asks for it, and does nothing else."""

import os
from contextlib import suppress

from pyndereg.julia_runtime.errors import JuliaUnavailable
from pyndereg.julia_runtime.runtime import start

if os.environ.get("PYNDEREG_ENGINE") == "julia":
    with suppress(JuliaUnavailable):  # the first solve says it, and everything else works without Julia
        start()
