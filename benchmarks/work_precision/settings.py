"""What is tried: one table for each library. This is the place to change what "recommended" means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One way in which a library solves, the tolerance left open.

    Args:
        library: whose.
        method: as the library calls it.
        options: of the library's adapter: plain values, so that other processes can be told.
        everywhere: tried on every problem; others are left out where one evaluation takes long.
    """

    library: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    everywhere: bool = True

    @property
    def name(self) -> str:
        """Method and options, for a reader."""
        return " ".join([self.method, *(f"{key}={value}" for key, value in self.options.items())])


def ours(library: str, method: str, *, control: str, start: str, everywhere: bool = True) -> Setting:
    return Setting(library, method, {"control": control, "start": start}, everywhere)


# gradient=None in all of them. Control: "PI" and "I" are PI() and I(), any other name is that of a filter of PID.
RECOMMENDED = (
    ours("pyndereg", "tsit5", control="H321", start="remembered"),
    ours("pyndereg", "vern7", control="H321", start="remembered"),
    ours("pyndereg", "dp5", control="PC47", start="remembered"),
    ours("pyndereg", "bs3", control="H321", start="remembered"),
    ours("pyndereg", "tsit5", control="PI", start="remembered", everywhere=False),
    ours("pyndereg", "vern7", control="PI", start="remembered", everywhere=False),
)
# What a single solve can have, which has nothing to remember.
SEARCHED = (
    ours("pyndereg, searched start", "tsit5", control="PI", start="search"),
    ours("pyndereg, searched start", "vern7", control="PI", start="search"),
    ours("pyndereg, searched start", "dp5", control="PC47", start="search", everywhere=False),
    ours("pyndereg, searched start", "bs3", control="PC47", start="search", everywhere=False),
)
MODEL = Setting("pyndereg model", "NeuralODE")
SDE_MODEL = Setting("pyndereg model", "NeuralSDE")

# first_step: part of the interval that the first step is told to take, for who knows it.
TORCHDIFFEQ = (
    Setting("torchdiffeq", "dopri5"),
    Setting("torchdiffeq", "dopri5", {"first_step": 1.0}),
    Setting("torchdiffeq", "dopri5", {"first_step": 0.25}),
    Setting("torchdiffeq", "dopri5", {"first_step": 0.0625}, everywhere=False),
    Setting("torchdiffeq", "dopri8"),
    Setting("torchdiffeq", "dopri8", {"first_step": 1.0}, everywhere=False),
    Setting("torchdiffeq", "dopri8", {"first_step": 0.25}),
    Setting("torchdiffeq", "bosh3"),
    Setting("torchdiffeq", "bosh3", {"first_step": 0.25}, everywhere=False),
    Setting("torchdiffeq", "adaptive_heun", everywhere=False),
)
TORCHODE = (Setting("torchode", "tsit5"), Setting("torchode", "dopri5", everywhere=False))
TORCHDYN = (Setting("torchdyn", "dopri5"), Setting("torchdyn", "tsit5", everywhere=False))
DIFFRAX = (
    Setting("diffrax", "Tsit5"),
    Setting("diffrax", "Dopri8"),
    Setting("diffrax", "Bosh3", everywhere=False),
)
SETTINGS = (*RECOMMENDED, *SEARCHED, *TORCHDIFFEQ, *TORCHODE, *TORCHDYN, *DIFFRAX)

# What people try, at one tolerance.
DEFAULTS = (
    MODEL,
    Setting("torchdiffeq", "dopri5"),
    Setting("torchode", "dopri5"),
    Setting("torchdyn", "dopri5"),
    Setting("diffrax", "Tsit5"),
)

# Of stochastic equations; fixed steps have lengths in the place of tolerances.
SDE = (
    Setting("pyndereg", "sosri"),
    Setting("pyndereg", "sriw1"),
    Setting("pyndereg", "milstein", {"fixed": True}),
    Setting("pyndereg", "em", {"fixed": True}),
    Setting("torchsde", "srk"),
    Setting("torchsde", "milstein"),
    Setting("torchsde", "srk", {"fixed": True}),
    Setting("torchsde", "milstein", {"fixed": True}),
    Setting("torchsde", "euler", {"fixed": True}),
)
SDE_DEFAULTS = (SDE_MODEL, Setting("torchsde", "srk"))
