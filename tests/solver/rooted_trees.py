"""Rooted trees, and the weights that a Runge–Kutta table gives them: the algebra of order conditions.

A tree is the sorted tuple of the subtrees at its root; `()` is the tree of one vertex. A method has order p iff
sum_i b_i g_i(tree) = 1 / density(tree) for every tree of at most p vertices (Butcher's theorem).
"""

from fractions import Fraction
from functools import cache

Tree = tuple


@cache
def trees(order: int) -> tuple[Tree, ...]:
    """All trees of that many vertices."""
    if order == 1:
        return ((),)
    return tuple(sorted({grown for tree in trees(order - 1) for grown in _with_one_leaf_more(tree)}))


def _with_one_leaf_more(tree: Tree):
    yield tuple(sorted((*tree, ())))
    for i, subtree in enumerate(tree):
        for grown in _with_one_leaf_more(subtree):
            yield tuple(sorted((*tree[:i], grown, *tree[i + 1 :])))


@cache
def vertices(tree: Tree) -> int:
    return 1 + sum(vertices(subtree) for subtree in tree)


@cache
def density(tree: Tree) -> int:
    """Product over all vertices of the size of the subtree there."""
    result = vertices(tree)
    for subtree in tree:
        result *= density(subtree)
    return result


class ElementaryWeights:
    """The vectors g(tree) of one table, shared by every set of weights b.

    Args:
        rows: the table's rows, each over the stages before it; rational numbers keep the sums exact.
    """

    def __init__(self, rows) -> None:
        self._rows = rows
        self._vectors = {}

    def __call__(self, b, tree: Tree):
        """sum_i b_i g_i(tree)."""
        return sum(weight * entry for weight, entry in zip(b, self._vector(tree), strict=False))

    def residual(self, b, tree: Tree, theta=1):
        """How far a method with weights `b` is from the condition of `tree` at a fraction theta of the step."""
        target = Fraction(1, density(tree)) if isinstance(theta, int | Fraction) else 1 / density(tree)
        return abs(self(b, tree) - target * theta ** vertices(tree))

    def _vector(self, tree: Tree):
        if tree not in self._vectors:
            product = [1] * len(self._rows)
            for subtree in tree:
                inner = self._vector(subtree)
                for i, row in enumerate(self._rows):
                    product[i] *= sum(a * entry for a, entry in zip(row, inner, strict=False) if a)
            self._vectors[tree] = product
        return self._vectors[tree]
