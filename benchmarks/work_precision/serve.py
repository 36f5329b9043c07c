"""The other end of a worker's pipe: reads a line of JSON, answers with one. Imports nothing of ours."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def serve(answers: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """Answer questions until the pipe is closed; what else is printed goes to stderr."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = answers[question.pop("do")](**question)
        except Exception as failure:  # the asking side decides what a failure means
            answer = {"failure": f"{type(failure).__name__}: {failure}"[:200]}
        print(json.dumps(answer), file=pipe, flush=True)
