"""Where an experiment's tensors live, and how exact they are."""

import torch

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


def check_device(name: str) -> None:
    """Make sure that torch can place tensors on a device.

    Raises:
        ValueError: torch knows no such device, or there is none on this machine.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as reason:
        cause = str(reason).splitlines()[0].rstrip(".")
        raise ValueError(f"device is {name!r}, which cannot be used ({cause}); pass cpu, or cuda on a GPU") from None
