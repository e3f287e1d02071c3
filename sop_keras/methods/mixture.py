"""Which losses are small: a mixture of two normal distributions, free of Keras.

DivideMix (Li, Socher, Hoi, ICLR 2020) takes a label for right by the posterior of the
component of smaller mean, of the losses of all examples. The mixture is fitted by EM
with the settings of the authors' code (LiJunnan1992/DivideMix at d9d3058), which are
arguments of scikit-learn's GaussianMixture there. They are part of the method: EM ends
after a few iterations, where losses overlap far from convergence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_ITERATIONS = 10
"""EM ends after so many iterations."""

TOLERANCE = 1e-2
"""EM ends where the mean log-likelihood changes by less."""

ADDED_VARIANCE = 5e-4
"""Added to each variance, so that a component of equal values has one."""

# Added to the number of values in a component, as by scikit-learn: never 0.
_LEAST_COUNT = 10 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Mixture:
    """Two normal distributions, the one of smaller mean first.

    Args:
        posterior: of each value, that it is of the first one, float64 `(n,)`.
        means: float64 `(2,)`.
        variances: likewise, at least `ADDED_VARIANCE`.
        weights: likewise; they sum to 1.
        num_iterations: of EM; 0 where all values are equal.
    """

    posterior: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    weights: np.ndarray
    num_iterations: int


def fit_mixture(losses: np.ndarray, start: np.ndarray | None = None) -> Mixture:
    """Fit a mixture of two normal distributions by expectation maximisation.

    Of equal losses, one among them, the posterior is 1: nothing tells them apart, and
    all count as small.

    Args:
        losses: shape `(n,)`, at least one.
        start: which losses the component of small ones starts with, booleans `(n,)`,
            some of each. Defaults to `None`: `two_means`, which draws nothing.

    Raises:
        ValueError: if a value is not finite, there is none, or the start is not one.
    """
    losses = _checked(losses)
    if losses.min() == losses.max():
        return Mixture(
            posterior=np.ones(len(losses)),
            means=np.full(2, losses[0]),
            variances=np.full(2, ADDED_VARIANCE),
            weights=np.array([1.0, 0.0]),
            num_iterations=0,
        )
    is_small = two_means(losses) if start is None else _checked_start(start, losses)
    posterior = is_small.astype(np.float64)
    means, variances, weights = _maximize(losses, posterior)
    likelihood, num_iterations = -np.inf, 0
    for _ in range(MAX_ITERATIONS):
        last = likelihood
        num_iterations += 1
        posterior, likelihood = _expect(losses, means, variances, weights)
        means, variances, weights = _maximize(losses, posterior)
        if abs(likelihood - last) < TOLERANCE:
            break
    order = np.argsort(means, kind="stable")
    means, variances, weights = means[order], variances[order], weights[order]
    posterior, _ = _expect(losses, means, variances, weights)
    return Mixture(posterior, means, variances, weights, num_iterations)


def two_means(values: np.ndarray) -> np.ndarray:
    """Split values in two, so that their squared distances to their means are least.

    That split is between two neighbours in order: all are compared, by sums over the
    sorted values. Equal values are never parted; of equally good splits, it is the one
    with the fewest small values.

    Args:
        values: finite, shape `(n,)`, not all equal.

    Returns:
        Which are the small ones, booleans `(n,)`.
    """
    ordered = np.sort(values)
    (places,) = np.nonzero(ordered[1:] > ordered[:-1])
    count = len(ordered)
    sums = np.cumsum(ordered - ordered.mean())[places]
    small = places + 1
    # n m M, with m and M the sums' means and sizes: what lies between the two, of all
    # squared distances. Sums of what is centred: the large ones' is minus the small's.
    between = sums**2 / (small * (count - small))
    return values <= ordered[places[between.argmax()]]


def normalized(losses: np.ndarray) -> np.ndarray:
    """(x - min) / (max - min), and 0 where all are equal.

    Args:
        losses: shape `(n,)`, at least one.

    Returns:
        float64 `(n,)`, in [0, 1].

    Raises:
        ValueError: if a value is not finite, or there is none.
    """
    losses = _checked(losses)
    above = losses - losses.min()
    return above / (above.max() or 1.0)


def _maximize(
    values: np.ndarray, posterior: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, variances and weights of two components by the first one's posterior."""
    shares = (posterior, 1.0 - posterior)
    counts = np.array([one.sum() for one in shares]) + _LEAST_COUNT
    means = np.array([one @ values for one in shares]) / counts
    squares = [
        one @ (values - mean) ** 2 for one, mean in zip(shares, means, strict=True)
    ]
    variances = np.array(squares) / counts + ADDED_VARIANCE
    return means, variances, counts / counts.sum()


def _expect(
    values: np.ndarray, means: np.ndarray, variances: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, float]:
    """The posterior of the first component, and the mean log-likelihood."""
    first, second = (
        np.log(weight)
        - 0.5 * (np.log(2.0 * np.pi * variance) + (values - mean) ** 2 / variance)
        for mean, variance, weight in zip(means, variances, weights, strict=True)
    )
    together = np.logaddexp(first, second)
    return np.exp(first - together), float(together.mean())


def _checked(losses: np.ndarray) -> np.ndarray:
    losses = np.asarray(losses, np.float64)
    if losses.ndim != 1 or not len(losses):
        raise ValueError(
            "`losses` must be numbers, (n,), at least one. Received: an array of shape "
            f"{losses.shape}."
        )
    is_finite = np.isfinite(losses)
    if not is_finite.all():
        (wrong,) = np.nonzero(~is_finite)
        raise ValueError(
            f"{len(wrong)} of {len(losses)} losses are not finite, the first of them "
            f"{losses[wrong[0]]} at place {wrong[0]}: the network has diverged, or its "
            "inputs are not finite. Look at them, or lower the learning rate."
        )
    return losses


def _checked_start(start: np.ndarray, losses: np.ndarray) -> np.ndarray:
    is_small = np.asarray(start, bool)
    if is_small.shape != losses.shape or is_small.all() or not is_small.any():
        raise ValueError(
            f"`start` must be booleans of shape {losses.shape}, some of each kind. "
            f"Received: shape {is_small.shape}, of which {is_small.sum()} are true."
        )
    return is_small
