"""Objects on Julia's side, by number: made once, and forgotten when nothing here needs them any more."""

import warnings
from array import array
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from pyndereg import julia_runtime

Result = TypeVar("Result")

BAD_ARGUMENT = "ArgumentError: "

# Touched on the Julia thread alone.
_numbers: dict[Hashable, int] = {}
# Appended to by finalizers, on any thread.
_released: deque[int] = deque()


def call(function: Callable[[Any], Result]) -> Result:
    """function(bridge) on the Julia thread; what was released meanwhile is forgotten first.

    Raises:
        ValueError: Julia found an argument wrong.
        JuliaError: another exception in Julia.
    """

    def run(bridge: Any) -> Result:
        if _released:
            numbers = array("q", [_released.popleft() for _ in range(len(_released))])
            bridge.release(numbers.buffer_info()[0], len(numbers))
        return function(bridge)

    try:
        return julia_runtime.start().call(run)
    except julia_runtime.JuliaError as error:
        sentence = str(error)
        if sentence.startswith(BAD_ARGUMENT):
            raise ValueError(sentence.removeprefix(BAD_ARGUMENT)) from error
        raise


def number_of(bridge: Any, key: Hashable, make: Callable[[Any], int]) -> int:
    """The number of an object that Julia keeps for good; on the Julia thread."""
    number = _numbers.get(key)
    if number is None:
        number = _numbers[key] = int(make(bridge))
    return number


# Looking a function up costs more than calling it. Filled on the Julia thread and never emptied: what is Julia's must
# not be freed on another thread.
_functions: dict[str, Callable[..., Any]] = {}


def without_gil(bridge: Any, name: str) -> Callable[..., Any]:
    """The function of the bridge that is called while other Python threads run; on the Julia thread."""
    function = _functions.get(name)
    if function is None:
        function = _functions[name] = getattr(bridge, name)._jl_call_nogil
    return function


class SolverWarning(UserWarning):
    """Something that a solver noticed and that its user should know."""


def warn(message: str) -> None:
    """Pass a solver's warning on; not on the Julia thread."""
    warnings.warn(message, SolverWarning, stacklevel=5)


class Held:
    """A record of a solve that Julia keeps until this is gone."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        # No call into Julia here: finalizers run on any thread.
        _released.append(self.number)
