"""Whatever changes around a solve: its gradient is that of a plain loop under autograd, or it is refused.

Each kind of change is a script (see the modules beside this one) that the solver and a plain loop over the same steps
both run. Plain pytest runs every kind with every gradient; the draws that CHANGING_FIELDS_DRAWS asks for (2,000 if it
is not set) are slow. For more, and a table of what was right and what was refused by kind:

    CHANGING_FIELDS_DRAWS=20000 pytest -s tests/engines/changing
"""

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.changing import (  # noqa: F401 (their scripts are in KINDS)
    attributes,
    bindings,
    computed,
    found_elsewhere,
    hooks,
    identity,
    in_place,
    layers,
    randomness,
    surroundings,
)
from tests.engines.changing.world import EXACT, GRADIENTS, KINDS, Choice, outcome

DRAWS = int(os.environ.get("CHANGING_FIELDS_DRAWS", "2000"))
METHODS = ("rk4", "midpoint", "euler", "tsit5")
PAIRS = [(equation, gradient) for equation, gradients in GRADIENTS.items() for gradient in gradients]


@st.composite
def choices(draw, kind):
    """A choice that a kind allows."""
    equation, gradient = draw(st.sampled_from([pair for pair in PAIRS if kind.allows(pair[1])]))
    exact = gradient in EXACT or gradient == "forward"
    methods = [name for name in METHODS if name != "tsit5" or not kind.is_fixed] if exact else ["rk4"]
    method = draw(st.sampled_from(methods)) if equation == "ode" else "rk4"
    return Choice(
        equation=equation,
        gradient=gradient,
        method=method,
        steps=draw(st.sampled_from((2, 4, 6))),
        start=draw(st.sampled_from(("leaf", "computed", "constant"))),
        saves=method != "tsit5" and draw(st.booleans()),
        declares=draw(st.booleans()),
        noise=draw(st.sampled_from(("own", "shared"))),
        seed=draw(st.integers(0, 999)),
    )


@st.composite
def draws(draw):
    """A kind and a choice."""
    kind = draw(st.sampled_from(list(KINDS.values())))
    return kind, draw(choices(kind))


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_gradient_of_a_field_that_changes_is_right_or_refused(kind):
    for equation, gradient in PAIRS:
        if not kind.allows(gradient):
            continue
        for declares in (False, True):
            found = outcome(kind, Choice(equation=equation, gradient=gradient, declares=declares))
            assert kind.accepts(found, gradient), f"{gradient} of {equation} was refused, declares={declares}"


@pytest.mark.slow
def test_a_gradient_drawn_at_random_is_right_or_refused():
    counts: Counter = Counter()

    @settings(
        max_examples=DRAWS, suppress_health_check=list(HealthCheck), derandomize=True, deadline=None, database=None
    )
    @given(draws())
    def check(drawn):
        kind, choice = drawn
        found = outcome(kind, choice)
        assert kind.accepts(found, choice.gradient)
        counts[kind.name, found] += 1

    try:
        check()
    finally:
        print_table(counts)
    assert sum(counts.values()) >= DRAWS
    missing = set(KINDS) - {name for name, _ in counts}
    assert len(missing) <= len(KINDS) // 20, f"many kinds were never drawn: {', '.join(sorted(missing))}"


def print_table(counts):
    """How many were right and how many refused, by kind."""
    print(f"\n{'right':>6} {'refused':>8}")
    for name in sorted({name for name, _ in counts}):
        print(f"{counts[name, 'right']:6} {counts[name, 'refused']:8}  {name.replace('_', ' ')}")
    right, refused = (sum(n for (_, found), n in counts.items() if found == wanted) for wanted in ("right", "refused"))
    print(f"{right:6} {refused:8}  in all")
