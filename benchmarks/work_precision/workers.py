"""Libraries in processes of their own: started once, and then asked for one solve or one repeat at a time."""

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.work_precision.environments import Environment, Missing, last_line
from benchmarks.work_precision.outcome import Outcome
from benchmarks.work_precision.problems import ROOT, Problem
from benchmarks.work_precision.settings import Setting

# JAX compiles a gradient in up to 15 s; a library that is silent for longer than this is given up.
SILENCE = 300.0


class Stopped(RuntimeError):
    """A worker's process has ended."""


class Worker:
    """A library behind a pipe: questions and answers are lines of JSON, states go through files.

    Args:
        environment: whose interpreter runs it.
        script: of this folder.
    """

    def __init__(self, environment: Environment, script: str) -> None:
        python = environment.ready()
        self.folder = tempfile.TemporaryDirectory(prefix="bench-")
        self.errors = (Path(self.folder.name) / "errors").open("w+")
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        self.process = subprocess.Popen(
            [python, Path(__file__).parent / script],
            cwd=ROOT,
            env={**os.environ, **one_thread, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        try:
            self._versions = self.ask(do="versions")
        except Stopped as stopped:
            self.close()
            raise Missing(str(stopped)) from stopped

    def versions(self) -> dict[str, str]:
        return self._versions

    def explore(self, problem: Problem, setting: Setting, tolerance: float) -> Outcome:
        try:
            told = self.ask(do="explore", **self._of(problem, setting), tolerance=tolerance)
        except RuntimeError as failure:
            return Outcome(failure=str(failure))
        states = torch.from_numpy(np.load(told.pop("states")))
        return Outcome(problem.error(states), **told)

    def measure(self, problem: Problem, setting: Setting, tolerance: float, passes: str, least: float) -> float:
        question = {**self._of(problem, setting), "tolerance": tolerance, "passes": passes, "least": least}
        return self.ask(do="measure", **question)["seconds"]

    def ask(self, **question: Any) -> Any:
        """The answer to a question.

        Raises:
            RuntimeError: the library failed; `Stopped`: its process did.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        watch = threading.Timer(SILENCE, self.process.kill)
        watch.start()
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watch.cancel()
        if not line:
            self.errors.seek(0)
            code = self.process.wait()
            raise Stopped(f"its process ended at {question['do']!r}, with code {code}: {last_line(self.errors.read())}")
        answer = json.loads(line)
        if "failure" in answer:
            raise RuntimeError(answer["failure"])
        return answer

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()
        self.errors.close()
        self.folder.cleanup()

    def _of(self, problem: Problem, setting: Setting) -> dict[str, Any]:
        """A problem and a setting in words; numbers of the problem lie in a file."""
        path = Path(self.folder.name) / f"{problem.name}-{problem.precision}.npz"
        if not path.exists():
            np.savez(path, **problem.numbers())
        return {
            "problem": problem.name,
            "precision": problem.precision,
            "kind": problem.kind,
            "file": str(path),
            "method": setting.method,
            "options": dict(setting.options),
            "scratch": self.folder.name,
        }
