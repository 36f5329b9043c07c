"""What only the julia engine understands, as values: its algorithms, its sensitivity methods, its functions."""

from dataclasses import dataclass
from typing import Any, NoReturn

from torch import Tensor

from pyndereg.numbers import real, whole

OptionValue = bool | int | float | str
Options = tuple[tuple[str, OptionValue], ...]


@dataclass(frozen=True)
class JuliaMethod:
    """An algorithm of OrdinaryDiffEq or StochasticDiffEq, by the name it has there; made by `method`."""

    name: str
    options: Options = ()

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class JuliaSensealg:
    """A sensitivity algorithm of SciMLSensitivity, by the name it has there; made by `sensealg`."""

    name: str
    options: Options = ()


@dataclass(frozen=True, eq=False)
class JuliaFunction:
    """A right-hand side written in Julia; made by `function`. Pass it to `ODEProblem` in place of f."""

    name: str
    module: str
    path: str
    parameters: Tensor | None = None
    vjp: str = ""

    def __call__(self, *_: Any) -> NoReturn:
        """Not from Python.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{self.name} is a Julia function, which Python cannot call; solve with engine='julia'")


def method(name: str, **options: OptionValue) -> JuliaMethod:
    """Any algorithm of OrdinaryDiffEq or StochasticDiffEq, as `method=` of `pyndereg.solve` with `engine="julia"`.

    Args:
        name: as OrdinaryDiffEq spells it, e.g. `"Rodas5P"`, `"FBDF"`, `"KenCarp4"`, `"AutoTsit5"`.
        options: its keyword arguments. `autodiff` is `"finite"` or `"forward"`; `stiff` names the stiff algorithm of a
            switching one, e.g. `method("AutoTsit5", stiff="Rosenbrock23")`.
    """
    return JuliaMethod(_name(name, "method"), _options(options))


def sensealg(name: str, **options: OptionValue) -> JuliaSensealg:
    """A sensitivity algorithm of SciMLSensitivity by name, as `gradient=` of `pyndereg.solve` with `engine="julia"`.

    Args:
        name: as SciMLSensitivity spells it, e.g. `"ReverseDiffAdjoint"`, `"GaussKronrodAdjoint"`.
        options: its keyword arguments; `autojacvec` chooses the vector-Jacobian products: `"field"` (the right-hand
            side's own), `"zygote"`, `"reversediff"`, `"tracker"`, `"enzyme"`, `"forward"` or `"finite"`.
    """
    return JuliaSensealg(_name(name, "sensealg"), _options(options))


def function(
    *, name: str, module: str | None = None, path: str | None = None, parameters: Tensor | None = None, vjp: str = ""
) -> JuliaFunction:
    """A Julia function as right-hand side: `f!(du, u, p, t)` in place, or `f(u, p, t)` returning du.

    A state of shape (batch, dim) is a Julia array of size (dim, batch); it shares its memory.

    Args:
        name: the function's name.
        module: where it is defined: a module that Julia has loaded, or a package of its project.
        path: instead of that, the Julia file that defines it.
        parameters: p, one tensor, which receives a gradient if it asks for one; p is its elements as a vector.
        vjp: who makes its vector-Jacobian products: `"forward"`, `"reverse"`, `"zygote"`, or the name of a function
            `vjp!(gu, gp, l, u, p, t) -> gt` beside it; by default chosen by size and form.

    Raises:
        ValueError: neither or both of module and path were given.
    """
    if (module is None) == (path is None):
        given = "both module and path" if module is not None else "neither module nor path"
        raise ValueError(f"{given} were given for {name!r}; pass the one that defines it")
    for what, value in (("module", module), ("path", path), ("vjp", vjp)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{what} of {name!r} is a {type(value).__name__}; pass a string")
    if parameters is not None and not isinstance(parameters, Tensor):
        raise TypeError(f"parameters is a {type(parameters).__name__}; pass one tensor, or None")
    return JuliaFunction(_name(name, "function"), module or "", path or "", parameters, vjp)


def _name(name: Any, what: str) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name of a {what} is {name!r}; pass a string")
    return name


def _options(options: dict[str, Any]) -> Options:
    return tuple((key, _option(key, value)) for key, value in options.items())


def _option(key: str, value: Any) -> OptionValue:
    if isinstance(value, bool | int | float | str):
        return value
    number = whole(value)
    found = real(value, f"option {key}") if number is None else number
    if found is None:
        raise TypeError(f"option {key} is a {type(value).__name__}; pass a number, a bool or a string")
    return found
