"""Fresh Python processes with Julia: each trial of starting, interrupting and ending is one script in one process."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).parent / "NDERegEngine"
UNSET = ("PYNDEREG_ENGINE", "PYTHON_JULIACALL_THREADS", "PYTHON_JULIACALL_HANDLE_SIGNALS", "JULIA_NUM_THREADS")


def run_script(script: str, folder: Path, *, seconds: float = 300, **variables: str) -> subprocess.CompletedProcess:
    """Run a script from a file of its own, with our package and the stand-in for its Julia package in sight."""
    path = folder / "script.py"
    path.write_text(script, "utf-8")
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
    load_path = environment.get("JULIA_LOAD_PATH", "@:@v#.#:@stdlib")
    environment["JULIA_LOAD_PATH"] = os.pathsep.join([load_path, str(STAND_IN)])
    return subprocess.run(
        [sys.executable, str(path)],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
