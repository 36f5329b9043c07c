"""What a solve keeps alive: graphs of accepted stages, states where they are needed, nothing in circles."""

import gc
import weakref

import pytest
import torch

import pyndereg as nde
from tests.equations import FLOAT64

SIZE = 1237  # of a state; no other tensor has as many elements

NO_REJECTION = {"dt": 0.05, "adaptive": False}


class Saved:
    """One tensor that autograd holds for a backward pass; gone when autograd lets go of it."""

    def __init__(self, tensor):
        self.tensor = tensor


def unpack(saved):
    return saved.tensor


class Watched:
    """A driven oscillator that knows how many of its evaluations autograd could still go back through."""

    def __init__(self):
        self.held = weakref.WeakSet()
        self.counts = [0]  # shared by what is evaluated in the backward pass

    @property
    def most(self):
        return self.counts[-1]

    def pack(self, tensor):
        saved = Saved(tensor)
        self.held.add(saved)
        return saved

    def __call__(self, t, y):
        with torch.autograd.graph.saved_tensors_hooks(self.pack, unpack):
            squares = torch.square(y)  # saves one tensor
        self.counts.append(max(self.most, len(self.held)))
        return torch.stack([y[1], 3.0 * (1 - squares[0]) * y[1] - y[0] + torch.sin(t)])


@pytest.fixture
def without_collector():
    """Whatever dies in here dies because nothing refers to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def start():
    return torch.tensor([2.0, 0.0], dtype=FLOAT64, requires_grad=True)


def stored_states(size=SIZE, dtype=FLOAT64):
    """How many states' worth of elements lie in live storages that can hold at least one."""
    state = size * torch.empty(0, dtype=dtype).element_size()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) is torch.Tensor and thing.dtype == dtype:
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(nbytes // state for nbytes in storages.values() if nbytes >= state)


def states_alive_at_the_end(dt, **options):
    """States alive when f is called for the last time, in a solve of 1/dt steps."""
    most_recent = []
    calls = round(1 / dt) * 6 + 1

    def f(t, y):
        most_recent.append(0)
        if len(most_recent) == calls:
            most_recent.append(stored_states())
        return -y

    y0 = torch.ones(SIZE, dtype=FLOAT64, requires_grad=True)
    found = nde.solve(nde.ODEProblem(f, y0), "tsit5", dt=dt, adaptive=False, **options)
    assert found.stats.nfe == calls
    return most_recent[-1]


def test_backprop_keeps_one_graph_per_stage_of_accepted_steps_and_none_of_rejected_ones():
    field = Watched()
    found = nde.solve(nde.ODEProblem(field, start(), 0.0, 4.0), dt=3.0, rtol=1e-4, gradient=nde.Backprop())
    assert found.stats.rejected > 0
    # Six per step: its end is the next one's start.
    assert len(field.held) == 1 + 6 * found.stats.accepted
    # No more than that was ever alive, but for the step that was being tried.
    assert field.most <= 1 + 6 * found.stats.accepted + 6


def test_backprop_s_graphs_go_with_the_backward_pass():
    field = Watched()
    found = nde.solve(nde.ODEProblem(field, start(), 0.0, 2.0), gradient=nde.Backprop(), saveat=[0.5, 1.0])
    loss = found.y1.sum() + found.steps.scaled_error.sum()
    loss.backward()
    assert len(field.held) == 0


def test_the_discrete_adjoint_keeps_no_graph_between_the_passes_and_one_step_s_during_the_second():
    for checkpoints in (None, 3):
        field = Watched()
        found = nde.solve(nde.ODEProblem(field, start(), 0.0, 4.0), gradient=nde.DiscreteAdjoint(checkpoints))
        assert len(field.held) == 0
        field.counts.append(0)
        (found.y1.sum() + found.steps.stiffness.sum()).backward()
        # The seven stages of a step, of which the next step's start is one.
        assert 0 < field.most <= 7
        assert len(field.held) == 0


def test_without_gradients_no_graph_is_made():
    field = Watched()
    with torch.no_grad():
        nde.solve(nde.ODEProblem(field, start(), 0.0, 4.0))
    nde.solve(nde.ODEProblem(field, start().detach(), 0.0, 4.0))
    assert field.most <= 1


@pytest.mark.parametrize("saveat", [None, [0.25, 0.75]])
def test_without_gradients_the_states_that_are_kept_do_not_grow_with_the_number_of_steps(saveat):
    with torch.no_grad():
        few, many = (states_alive_at_the_end(dt, saveat=saveat) for dt in (0.1, 0.0125))
    assert many <= few


def test_the_discrete_adjoint_keeps_one_state_per_accepted_step():
    few, many = (states_alive_at_the_end(dt, gradient=nde.DiscreteAdjoint()) for dt in (0.1, 0.0125))
    assert many - few <= 70


def test_with_checkpoints_the_states_that_are_kept_do_not_grow_with_the_number_of_steps():
    few, many = (states_alive_at_the_end(dt, gradient=nde.DiscreteAdjoint(checkpoints=4)) for dt in (0.1, 0.0125))
    assert many <= few + 1


def states_saved_by_autograd(steps, gradient):
    """State-sized tensors that autograd holds between both passes of a solve."""
    alive = weakref.WeakSet()

    def pack(tensor):
        saved = Saved(tensor)
        if tensor.numel() == SIZE:
            alive.add(saved)
        return saved

    y0 = torch.ones(SIZE, dtype=FLOAT64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        found = nde.solve(
            nde.ODEProblem(lambda t, y: torch.sin(y), y0), dt=1 / steps, adaptive=False, gradient=gradient
        )
    assert found.stats.accepted == steps
    return len(alive)


def test_autograd_holds_the_states_of_accepted_steps_and_the_two_ends():
    assert states_saved_by_autograd(40, nde.DiscreteAdjoint()) <= 40 + 2


@pytest.mark.parametrize("checkpoints", [1, 5, 40])
def test_autograd_holds_no_more_states_than_checkpoints_and_the_two_ends(checkpoints):
    held = states_saved_by_autograd(40, nde.DiscreteAdjoint(checkpoints))
    assert checkpoints / 2 <= held <= checkpoints + 2


@pytest.mark.parametrize("gradient", [None, nde.Backprop(), nde.DiscreteAdjoint(), nde.DiscreteAdjoint(2)])
@pytest.mark.parametrize("saveat", [None, [0.5], nde.SaveAt(dense=True), nde.SaveAt(every_step=True)])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.usefixtures("without_collector")
def test_a_solution_that_nobody_holds_is_gone_at_once(gradient, saveat, backward):
    field, y0 = Watched(), start()
    found = nde.solve(nde.ODEProblem(field, y0), gradient=gradient, saveat=saveat)
    loss = found.y1.sum() + found(0.3).sum()
    gone = [weakref.ref(thing) for thing in (y0, found, found.y1, found.steps.scaled_error)]
    if backward:
        loss.backward()
    del found, y0, loss
    assert [reference() for reference in gone] == [None] * 4
    assert len(field.held) == 0


@pytest.mark.parametrize("method", ["rk4", "tsit5", "vern9"])
@pytest.mark.parametrize("gradient", [None, nde.Backprop(), nde.DiscreteAdjoint()])
@pytest.mark.usefixtures("without_collector")
def test_a_solve_leaves_no_state_behind(method, gradient):
    before = stored_states()
    y0 = torch.ones(SIZE, dtype=FLOAT64, requires_grad=gradient is not None)
    problem = nde.ODEProblem(lambda t, y: torch.sin(y), y0)
    found = nde.solve(problem, method, dt=0.1, saveat=[0.5], gradient=gradient or nde.DiscreteAdjoint())
    if gradient is not None:
        found.y.sum().backward()
    assert stored_states() > before
    del found, problem, y0
    assert stored_states() == before


@pytest.mark.parametrize("gradient", [None, nde.Backprop(), nde.DiscreteAdjoint()])
@pytest.mark.usefixtures("without_collector")
def test_a_failed_solve_that_nobody_holds_is_gone_at_once(gradient):
    field, y0 = Watched(), start()
    gone = weakref.ref(y0)

    def fail(y0):
        with pytest.raises(nde.SolveFailed) as raised:
            nde.solve(nde.ODEProblem(field, y0), gradient=gradient, max_steps=3)
        assert raised.value.solution.stats.accepted > 0

    fail(y0)
    # The traceback and its frames refer to each other: that circle is Python's own.
    gc.collect()
    del y0
    assert gone() is None
    assert len(field.held) == 0


@pytest.mark.usefixtures("without_collector")
def test_a_model_that_is_trained_holds_nothing_of_its_last_step():
    model = nde.NeuralODE(nde.fields.TimeConcatMLP(3, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gone = []
    for _ in range(3):
        y0 = torch.ones(4, 3)
        y1, solution = model(y0)
        gone += [weakref.ref(y0), weakref.ref(y1)]
        optimizer.zero_grad()
        (y1.square().mean() + nde.regularizers.error_estimate(solution.steps)).backward()
        optimizer.step()
        del y0, y1, solution
        assert [reference() for reference in gone] == [None] * len(gone)
