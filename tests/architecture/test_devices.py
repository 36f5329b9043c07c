"""Every tensor that the package makes says where it lies, so that `torch.set_default_device` does not move it."""

import ast

import pytest

from tests.architecture.test_layers import PACKAGE_FOLDER, read_package, room_of

# Rooms in which every tensor belongs to the CPU or to a state; elsewhere users' defaults may count.
ROOMS = {"solve", "penalties", "engines", "solver", "regularizers", "ivp", "noise", "numbers", "torch_modes"}
FACTORIES = {
    "arange", "as_tensor", "empty", "eye", "full", "Generator", "linspace", "logspace", "normal", "ones", "rand",
    "randint", "randn", "randperm", "scalar_tensor", "tensor", "zeros",
}  # fmt: skip


def without_device(source: str) -> list[int]:
    """Lines that call one of torch's factories without saying where."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        called = node.func
        is_factory = isinstance(called.value, ast.Name) and called.value.id == "torch" and called.attr in FACTORIES
        if is_factory and "device" not in {keyword.arg for keyword in node.keywords}:
            lines.append(node.lineno)
    return lines


def test_every_tensor_that_a_solve_makes_says_where_it_lies():
    modules = read_package(PACKAGE_FOLDER)
    offences = [
        f"{module}:{line}"
        for module, (source, _) in modules.items()
        if room_of(module) in ROOMS
        for line in without_device(source)
    ]
    assert offences == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("torch.zeros(3)", [1]),
        ("x = 1\ny = torch.tensor([x], dtype=torch.float64)", [2]),
        ("torch.rand(3, device=y.device)", []),
        ("torch.zeros_like(y) + y.new_zeros(3) + np.zeros(3)", []),
    ],
)
def test_a_tensor_without_a_place_is_found(source, lines):
    assert without_device(source) == lines
