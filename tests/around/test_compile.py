"""`torch.compile` of code that contains a solve: the graph breaks around it, and values and gradients are the same."""

import importlib
import subprocess
import sys
import textwrap
import threading

import pytest
import torch

import pyndereg as nde
from pyndereg.solver.gradients.watch import eagerly

FIELD, DIFFUSION = nde.fields.TimeConcatMLP(2), nde.fields.TimeConcatMLP(2)
# Torch's own, wherever a graph breaks.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Classifier(torch.nn.Module):
    def __init__(self, gradient):
        super().__init__()
        self.before, self.after = torch.nn.Linear(3, 2), torch.nn.Linear(2, 2)
        self.ode = nde.NeuralODE(nde.fields.TimeConcatMLP(2), gradient=gradient, first_step="search")

    def forward(self, x):
        y1, solution = self.ode(torch.tanh(self.before(x)))
        return self.after(y1).square().sum() + nde.regularizers.error_estimate(solution.steps)


def through_a_problem(x):
    solution = nde.solve(nde.ODEProblem(FIELD, torch.sin(x)), saveat=nde.SaveAt([0.5, 1.0]), gradient=nde.Backprop())
    return solution.y.cos().sum() + solution(0.3).sum()


def through_a_neural_sde(x):
    return nde.NeuralSDE(FIELD, DIFFUSION)(torch.sin(x), seed=1)[0].cos().sum()


def through_a_path(x):
    path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=1, dtype=torch.float32)
    solution = nde.solve(nde.SDEProblem(FIELD, DIFFUSION, torch.sin(x), brownian=path))
    return solution.y1.cos().sum() * path(0.5).sum()


def through_plain_functions(x):
    return nde.functional.odesolve_continuous_adjoint(FIELD, torch.sin(x), 0.0, 1.0).y1.cos().sum()


def through_a_latent_ode(x):
    torch.manual_seed(1)
    model, values = nde.LatentODE(2), x.expand(2, 3, 2)
    return model(values, torch.ones_like(values), torch.linspace(0, 1, 3)).reconstruction.sum()


def compare(function, compiled, x):
    values = function(x), compiled(x)
    torch.testing.assert_close(values[1], values[0])
    right, found = (torch.autograd.grad(value, x)[0] for value in values)
    torch.testing.assert_close(found, right)


@pytest.fixture(autouse=True)
def _without_compiled_code():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_compiled_model_has_the_values_and_gradients_of_the_model(backend, dynamic):
    model = Classifier(nde.DiscreteAdjoint())
    compiled = torch.compile(model, backend=backend, dynamic=dynamic)
    for batch in (3, 4):
        compare(model, compiled, torch.rand(batch, 3, requires_grad=True))
    with torch.no_grad():
        x = torch.rand(3, 3)
        torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize("gradient", [nde.Backprop(), nde.BacksolveAdjoint()], ids=str)
def test_every_gradient_passes_a_compiled_model(gradient):
    model = Classifier(gradient)
    model.forward = lambda x: model.after(model.ode(torch.tanh(model.before(x)))[0]).sum()
    compare(model, torch.compile(model, backend="aot_eager"), torch.rand(3, 3, requires_grad=True))


@pytest.mark.slow
def test_the_default_backend_compiles_what_is_around_a_solve():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), nde.NeuralODE(FIELD))
    compiled = torch.compile(lambda x: model(x)[0].cos().sum())
    compare(lambda x: model(x)[0].cos().sum(), compiled, torch.rand(3, 2, requires_grad=True))


@pytest.mark.parametrize(
    "function",
    [through_a_problem, through_a_neural_sde, through_a_path, through_plain_functions],
    ids=lambda function: function.__name__,
)
def test_compiled_functions_have_the_values_and_gradients_of_the_functions(function):
    compare(function, torch.compile(function, backend="eager"), torch.rand(3, 2, requires_grad=True))


@pytest.mark.slow
def test_a_latent_ode_can_be_compiled():
    compiled = torch.compile(through_a_latent_ode, backend="eager")
    compare(through_a_latent_ode, compiled, torch.rand(2, 3, 2, requires_grad=True))


def test_the_graph_breaks_once_around_a_solve():
    explained = torch._dynamo.explain(lambda x: nde.NeuralODE.forward(model, torch.sin(x))[0].cos())
    model = nde.NeuralODE(FIELD)
    found = explained(torch.rand(3, 2))
    assert found.graph_break_count == 1
    assert "chooses its steps" in str(found.break_reasons[0].reason)


@pytest.mark.parametrize("gradient", [None, nde.Backprop(), nde.DiscreteAdjoint(), nde.InterpolatingAdjoint()], ids=str)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_right_hand_side_gives_the_gradients_of_the_plain_one(gradient, backend):
    field = nde.fields.TimeConcatMLP(2)
    x = torch.rand(3, 2, requires_grad=True)
    tensors = (x, *field.parameters())
    compiled = torch.compile(field, backend=backend)
    found, right = (
        torch.autograd.grad(nde.NeuralODE(f, gradient=gradient)(x)[0].square().sum(), tensors)
        for f in (compiled, field)
    )
    torch.testing.assert_close(found, right)


def test_neither_the_import_nor_a_first_solve_imports_the_compiler():
    program = """
        import sys, torch, pyndereg as nde
        for model in (nde.NeuralODE(nde.fields.TimeConcatMLP(2)),):
            model(torch.rand(3, 2))[0].sum().backward()
        nde.solve(nde.SDEProblem(torch.add, torch.add, torch.ones(2)))(0.5)
        assert "torch._dynamo" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


def test_solves_in_many_threads_leave_compiled_code_compiled():
    frames = importlib.import_module("torch._dynamo.eval_frame")
    entered, left = threading.Barrier(2), threading.Barrier(2)

    def first():
        with eagerly():
            entered.wait()
        left.wait()

    def second():
        with eagerly():
            entered.wait()
            left.wait()

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert frames._stance.stance == "default"
