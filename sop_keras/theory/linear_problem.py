"""The linear model of Section 3: a Jacobian of low rank, sparse wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

# A singular value counts if it is not below this part of the largest.
_RANK_TOLERANCE = 1e-10


class CompactSVD(NamedTuple):
    """J = left @ diag(singular_values) @ right.

    Args:
        left: U, shape `(num_examples, rank)`, orthonormal columns.
        singular_values: shape `(rank,)`, all positive, the largest first.
        right: shape `(rank, num_parameters)`, orthonormal rows.
    """

    left: np.ndarray
    singular_values: np.ndarray
    right: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class LinearProblem:
    """y = J theta* + s*: clean labels in the range of J, some of them wrong.

    A network linearised about its first weights, of which every example's label is one
    real number (paper, Section 3.1, equations 12 and 13). All arrays are float64.

    Args:
        jacobian: J, shape `(num_examples, num_parameters)`.
        rank: r, of J.
        true_theta: theta*, shape `(num_parameters,)`: of all parameters that give the
            clean labels, those of the least l2 norm.
        true_noise: s*, shape `(num_examples,)`: 0 where the label is right.
        labels: y, shape `(num_examples,)`: the given labels.

    Raises:
        ValueError: for shapes that do not fit, and numbers that are not finite; by
            `svd`, and all that needs it, if `rank` is not the rank of J.
    """

    jacobian: np.ndarray
    rank: int
    true_theta: np.ndarray
    true_noise: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        n, p = self.jacobian.shape
        shapes = {"true_theta": (p,), "true_noise": (n,), "labels": (n,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"`{name}` must be of shape {shape}, as J is of shape {(n, p)}. "
                    f"Received: shape {getattr(self, name).shape}."
                )
        for name in ("jacobian", *shapes):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"`{name}` has NaN or infinite entries.")

    def __repr__(self) -> str:
        return (
            f"LinearProblem(num_examples={self.num_examples}, num_parameters="
            f"{self.num_parameters}, rank={self.rank}, num_wrong={self.num_wrong})"
        )

    @property
    def num_examples(self) -> int:
        """How many labels there are, N."""
        return self.jacobian.shape[0]

    @property
    def num_parameters(self) -> int:
        """How many entries theta has, p."""
        return self.jacobian.shape[1]

    @property
    def num_wrong(self) -> int:
        """How many labels are wrong, k."""
        return int(np.count_nonzero(self.true_noise))

    @cached_property
    def svd(self) -> CompactSVD:
        """The compact singular value decomposition of J."""
        return _compact_svd(self.jacobian, self.rank)


def random_problem(
    num_examples: int,
    num_parameters: int,
    rank: int,
    num_wrong: int,
    seed: int | Sequence[int],
) -> LinearProblem:
    """Draw a problem as Section 3 does.

    J is the product of two factors of standard normals, `(num_examples, rank)` and
    `(rank, num_parameters)`; theta0 and the `num_wrong` entries of s* that are not 0
    are standard normals; y = J theta0 + s*, and theta* is the projection of theta0 on
    the row space of J.

    Args:
        num_examples: N, at least 1.
        num_parameters: p, at least 1.
        rank: r, from 1 to the smaller of the two.
        num_wrong: k, from 0 to `num_examples`.
        seed: one integer or several, not negative: equal ones give equal problems.

    Raises:
        ValueError: for sizes that no such problem has.
    """
    if num_examples < 1 or num_parameters < 1:
        raise ValueError(
            "A problem has at least one example and one parameter. Received: "
            f"num_examples={num_examples}, num_parameters={num_parameters}."
        )
    if not 1 <= rank <= min(num_examples, num_parameters):
        raise ValueError(
            "The rank r of J, which is of shape (num_examples, num_parameters), is "
            f"from 1 to {min(num_examples, num_parameters)}, the smaller of the two. "
            f"Received: rank={rank}, num_examples={num_examples}, "
            f"num_parameters={num_parameters}."
        )
    if not 0 <= num_wrong <= num_examples:
        raise ValueError(
            f"Of {num_examples} labels, 0 to {num_examples} can be wrong. Received: "
            f"num_wrong={num_wrong} (k), num_examples={num_examples} (N)."
        )
    draws = np.random.default_rng(seed)
    jacobian = draws.standard_normal((num_examples, rank)) @ draws.standard_normal(
        (rank, num_parameters)
    )
    theta = draws.standard_normal(num_parameters)
    noise = np.zeros(num_examples)
    wrong = draws.choice(num_examples, num_wrong, replace=False)
    noise[wrong] = draws.standard_normal(num_wrong)
    right = _compact_svd(jacobian, rank).right
    return LinearProblem(
        jacobian=jacobian,
        rank=rank,
        true_theta=right.T @ (right @ theta),
        true_noise=noise,
        labels=jacobian @ theta + noise,
    )


def _compact_svd(jacobian: np.ndarray, rank: int) -> CompactSVD:
    left, singular_values, right = np.linalg.svd(jacobian, full_matrices=False)
    found = int((singular_values > _RANK_TOLERANCE * singular_values[0]).sum())
    if found != rank:
        raise ValueError(
            f"The Jacobian has the rank {found}. Received: rank={rank}; singular "
            f"values: {singular_values}."
        )
    return CompactSVD(left[:, :rank], singular_values[:rank], right[:rank])
