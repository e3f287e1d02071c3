"""Small losses: which examples of a batch two networks pick for each other."""

from __future__ import annotations

from keras import ops

from sop_keras.core.batch import Tensor

# A float32 in [0, 1], such as a scheduled rate, is off by at most 2**-25.
_RATE_ERROR = 2.0**-24
_SLACK = 1e-9
_LARGEST = 3.4e38


def forget_rate(
    epoch: int, noise_rate: float, exponent: float, num_gradual: int
) -> float:
    """The share of a batch that is not learnt from: tau min(e^c / T_k, 1).

    1 - R(e) of Co-teaching's Algorithm 1. The authors' code differs: at c = 1 it gets
    to tau at epoch T_k - 1, and for others it is linear up to tau^c.

    Args:
        epoch: e, from 0.
        noise_rate: tau.
        exponent: c.
        num_gradual: T_k.
    """
    return noise_rate * min(epoch**exponent / num_gradual, 1.0)


def num_kept(rate: Tensor, num_candidates: Tensor) -> Tensor:
    """How many of some candidates are learnt from, a float32 scalar.

    max(1, floor((1 - rate) m)) of m candidates, and 0 of none. A product that only
    rounding keeps below an integer counts as that: 0.2 of 10 are 2.

    Args:
        rate: the forget rate, a float32 scalar.
        num_candidates: m, a scalar.
    """
    count = ops.cast(num_candidates, "float64")
    product = (1.0 - ops.cast(rate, "float64")) * count
    kept = ops.floor(product + (_RATE_ERROR * count + _SLACK))
    return ops.cast(ops.minimum(ops.maximum(kept, 1.0), count), "float32")


def smallest(losses: Tensor, is_candidate: Tensor, count: Tensor) -> Tensor:
    """Which candidates have the smallest losses, bool `(n,)`.

    Of equal losses the first comes first. What is not finite comes last.

    Args:
        losses: `(n,)`.
        is_candidate: bool, `(n,)`.
        count: how many; at most as many as there are candidates.
    """
    is_finite = ops.isfinite(losses)
    keys = ops.where(is_finite, losses, _LARGEST)
    keys = ops.where(is_candidate, keys, float("inf"))
    # TensorFlow's argsort is of its top_k, which leaves equal ones in their order.
    ranks = ops.argsort(ops.argsort(keys))
    return ops.cast(ranks, "float32") < count
