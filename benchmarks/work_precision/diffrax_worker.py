"""Diffrax behind a pipe, compiled by JAX, in an environment that has both and neither PyTorch nor pyndereg."""

import functools
import importlib.metadata
import sys
import time
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from serve import serve

jax.config.update("jax_enable_x64", True)
MAX_STEPS = 4096


def time_linear(w: dict, name: str, t: Any, y: Any) -> Any:
    return y @ w[f"{name}.weight"].T + w[f"{name}.time_weight"] * t + w[f"{name}.bias"]


def network(t: Any, y: Any, w: dict) -> Any:
    return jnp.tanh(time_linear(w, "output_layer", t, jnp.tanh(time_linear(w, "hidden_layer", t, y))))


def lotka_volterra(t: Any, y: Any, w: dict) -> Any:
    prey, predators = y[..., 0], y[..., 1]
    return jnp.stack([1.5 * prey - prey * predators, prey * predators - 3.0 * predators], -1)


def convolution(t: Any, y: Any, w: dict) -> Any:
    """Three convolutions; the batch normalizations by their running statistics."""

    def convolve(x: Any, kernel: Any) -> Any:
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))

    def layer(name: str, x: Any) -> Any:
        time = jnp.full((1, 1, *x.shape[-2:]), t, dtype=x.dtype)
        return convolve(x, w[f"{name}.weight"]) + convolve(time, w[f"{name}.time_weight"])

    for i, name in enumerate(("first", "second")):
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, scale, shift = (w[f"norms.{i}.{part}"][:, None, None] for part in parts)
        y = jax.nn.gelu((layer(name, y) - mean) / jnp.sqrt(variance + 1e-5) * scale + shift, approximate=True)
    return layer("last", y)


def layers(t: Any, y: Any, w: dict) -> Any:
    """Tanh of the state, then linear layers, each with its tanh."""
    y = jnp.tanh(y)
    weights = {int(name.split(".")[-2]): name for name in w if name.endswith(".weight")}
    for _, name in sorted(weights.items()):
        y = jnp.tanh(y @ w[name].T + w[name.replace(".weight", ".bias")])
    return y


FIELDS = {"network": network, "lotka-volterra": lotka_volterra, "convolution": convolution, "layers": layers}


class Counter:
    """Evaluations that were run, told by the compiled program itself."""

    count = 0

    def tick(self) -> None:
        self.count += 1


counter = Counter()


@functools.cache
def numbers(file: str) -> tuple[Any, Any, dict]:
    """y0, times, and the field's arrays."""
    saved = np.load(file)
    arrays = {name.removeprefix("field."): jnp.asarray(saved[name]) for name in saved if name.startswith("field.")}
    arrays.pop("num_batches_tracked", None)
    floats = {name: value for name, value in arrays.items() if jnp.issubdtype(value.dtype, jnp.floating)}
    return jnp.asarray(saved["y0"]), jnp.asarray(saved["times"]), floats


def solve(kind: str, method: str, counted: bool, y0: Any, times: Any, w: dict, tolerance: Any) -> Any:
    def field(t: Any, y: Any, args: Any) -> Any:
        if counted:
            jax.debug.callback(counter.tick)
        return FIELDS[kind](t, y, args)

    return diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        getattr(diffrax, method)(),
        times[0],
        times[-1],
        None,
        y0,
        args=w,
        saveat=diffrax.SaveAt(ts=times[1:]),
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        max_steps=MAX_STEPS,
        throw=False,
    )


@functools.cache
def compiled(kind: str, method: str, passes: str) -> Any:
    """The solve, the solve that counts, or the gradient of the mean of y(t1)^2, as one compiled function."""

    def loss(w: dict, y0: Any, times: Any, tolerance: Any) -> Any:
        return jnp.mean(solve(kind, method, False, y0, times, w, tolerance).ys[-1] ** 2)

    def of_parameters(y0: Any, times: Any, w: dict, tolerance: Any) -> Any:
        return jax.grad(loss)(w, y0, times, tolerance)

    def of_start(y0: Any, times: Any, w: dict, tolerance: Any) -> Any:
        return jax.grad(loss, argnums=1)(w, y0, times, tolerance)

    def states(y0: Any, times: Any, w: dict, tolerance: Any) -> Any:
        return solve(kind, method, False, y0, times, w, tolerance).ys

    def counted(y0: Any, times: Any, w: dict, tolerance: Any) -> Any:
        found = solve(kind, method, True, y0, times, w, tolerance)
        return found.ys, found.stats, found.result == diffrax.RESULTS.successful

    if passes == "both":
        return jax.jit(of_start if kind == "lotka-volterra" else of_parameters)
    return jax.jit({"forward": states, "counted": counted}[passes])


def explore(kind: str, file: str, method: str, tolerance: float, scratch: str, **_: Any) -> dict:
    counter.count = 0
    states, stats, succeeded = jax.block_until_ready(compiled(kind, method, "counted")(*numbers(file), tolerance))
    jax.effects_barrier()
    if not bool(succeeded):
        raise RuntimeError(f"no end after {MAX_STEPS} steps")
    path = Path(scratch) / "states.npy"
    np.save(path, np.asarray(states))
    accepted, rejected = int(stats["num_accepted_steps"]), int(stats["num_rejected_steps"])
    return {"states": str(path), "evaluations": counter.count, "accepted": accepted, "rejected": rejected}


def measure(kind: str, file: str, method: str, tolerance: float, passes: str, least: float, **_: Any) -> dict:
    given, function = numbers(file), compiled(kind, method, passes)
    calls, start = 0, time.perf_counter()
    while True:
        jax.block_until_ready(function(*given, tolerance))
        calls, elapsed = calls + 1, time.perf_counter() - start
        if elapsed >= least:
            return {"seconds": elapsed / calls}


def versions() -> dict:
    return {name: importlib.metadata.version(name) for name in ("diffrax", "jax")}


if __name__ == "__main__":
    serve({"versions": versions, "explore": explore, "measure": measure})
