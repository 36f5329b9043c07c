"""Environments of their own, for libraries that do not belong into ours: made where they are missing."""

import json
import site
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from benchmarks.work_precision.problems import ROOT


class Missing(Exception):
    """A library cannot be had here; the sentence says why."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment beside .venv.

    Args:
        name: it is the folder .venv-bench-NAME.
        requirements: what pip installs.
        on_top: whether it sees the packages of the environment that runs this, and takes nothing else along: for a
            library with many dependencies that its solver does not use.
    """

    name: str
    requirements: tuple[str, ...]
    on_top: bool = False

    @property
    def folder(self) -> Path:
        """Where it is."""
        return ROOT / f".venv-bench-{self.name}"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def ready(self) -> Path:
        """Its interpreter, after making the environment where it is missing or was made of other requirements.

        Raises:
            Missing: it cannot be made.
        """
        stamp, made_of = self.folder / ".installed", json.dumps([sys.prefix, self.requirements])
        if stamp.exists() and stamp.read_text() == made_of:
            return self.python
        print(f"Installing {' '.join(self.requirements)} into {self.folder.name}", file=sys.stderr, flush=True)
        venv.create(self.folder, clear=True, with_pip=True)
        if self.on_top:
            self._see_ours()
        options = ["-q", "--disable-pip-version-check", *(["--no-deps"] if self.on_top else [])]
        pip = subprocess.run(
            [self.python, "-m", "pip", "install", *options, *self.requirements],
            capture_output=True,
            text=True,
            check=False,
        )
        if pip.returncode:
            raise Missing(f"pip cannot install it: {last_line(pip.stderr)}")
        stamp.write_text(made_of)
        return self.python

    def _see_ours(self) -> None:
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        found = subprocess.run([self.python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
        lines = [f"import site; site.addsitedir({folder!r})" for folder in site.getsitepackages()]
        (Path(found) / "ours.pth").write_text("\n".join(lines))


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


JAX = Environment("jax", ("diffrax>=0.7",))
TORCHDYN = Environment("torchdyn", ("torchdyn==1.0.6", "torchcde>=0.2.3,<0.3", "attrs"), on_top=True)
