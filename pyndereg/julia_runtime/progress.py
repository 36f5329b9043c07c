"""Lines on standard error while something takes longer than a user expects."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

FIRST_SECONDS = 5.0
EVERY_SECONDS = 30.0


@contextmanager
def announced(what: str, first: float = FIRST_SECONDS, every: float = EVERY_SECONDS) -> Iterator[None]:
    """Say on standard error what goes on after `first` seconds, and that it still does after each `every` more.

    Args:
        what: the sentence, without its full stop.
        first, every: times, s.
    """
    done = threading.Event()
    begin = time.monotonic()

    def tell() -> None:
        if done.wait(first):
            return
        print(f"pyndereg: {what}.", file=sys.stderr, flush=True)
        while not done.wait(every):
            print(f"pyndereg: still at it after {time.monotonic() - begin:.0f} s.", file=sys.stderr, flush=True)

    with suppress(RuntimeError):  # newer Pythons start no thread while they end
        threading.Thread(target=tell, name="pyndereg-progress", daemon=True).start()
    try:
        yield
    finally:
        done.set()
