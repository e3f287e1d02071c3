"""Forward correction (Patrini et al. 2017): cross entropy after the labels' noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.losses.label_loss import LabelLoss, Tensor, at_label

LEAST_PROBABILITY = 1e-7
"""Probabilities are clipped to this and 1 less it, as in the authors' code."""

Transition = tuple[tuple[float, ...], ...]

# Rows that were written with four digits still count as rows of sum 1.
_SUM_TOLERANCE = 1e-3
_MOST_CONDITION = float(1 / np.finfo(np.float32).eps)


def forward_cross_entropy(labels: Tensor, log_probs: Tensor, transition: Any) -> Tensor:
    """-log q_y with q = p T, p clipped to [1e-7, 1 - 1e-7] before the product.

    Args:
        labels: one-hot, shape `(..., K)`.
        log_probs: log p, likewise.
        transition: T, shape `(K, K)`, T[i, j] = P(given j | true i).

    Returns:
        Shape `(...)`, in the type of log_probs.
    """
    _, given_probs = _given(log_probs, transition)
    losses = -at_label(ops.cast(labels, "float64"), ops.log(given_probs))
    return ops.cast(losses, log_probs.dtype)


def probability_right(labels: Tensor, log_probs: Tensor, transition: Any) -> Tensor:
    """P(label right | x, label) = p_y T_yy / (p T)_y, by Bayes' rule.

    Args:
        labels: as of `forward_cross_entropy`.
        log_probs: likewise.
        transition: likewise.

    Returns:
        Shape `(...)`, in [0, 1], in the type of log_probs.
    """
    probs, given_probs = _given(log_probs, transition)
    kept = probs * ops.diagonal(ops.cast(transition, "float64"))
    shares = at_label(ops.cast(labels, "float64"), kept / given_probs)
    return ops.cast(shares, log_probs.dtype)


def checked_transition(transition: Any) -> Transition:
    """A transition matrix as rows of floats.

    Args:
        transition: T, shape `(K, K)` with K of at least 2: row i has the probabilities
            with which an example of class i is given each label.

    Raises:
        ValueError: if it is not square, an entry is no probability, a row does not sum
            to 1, or it is singular in float32.
    """
    try:
        matrix = np.asarray(transition, np.float64)
        received = f"shape {matrix.shape}"
    except (TypeError, ValueError):
        matrix, received = np.zeros(0), f"no numbers, {type(transition).__name__}"
    mend = "T[i, j] must be the probability that an example of class i is given j."
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(
            "`transition` must be a matrix of numbers, (num_classes, num_classes). "
            f"Received: {received}. {mend}"
        )
    if not ((matrix >= 0) & (matrix <= 1)).all():  # NaN fails the comparison too
        place = np.argwhere(~((matrix >= 0) & (matrix <= 1)))[0]
        raise ValueError(
            "The entries of `transition` must be in [0, 1]. Received: "
            f"{matrix[tuple(place)]:g} in row {place[0]}, column {place[1]}. {mend}"
        )
    sums = matrix.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > _SUM_TOLERANCE:
        is_turned = np.allclose(matrix.sum(axis=0), 1, atol=_SUM_TOLERANCE)
        hint = " Its columns do: it may be transposed." if is_turned else ""
        raise ValueError(
            "Each row of `transition` must sum to 1. Received: a sum of "
            f"{sums[worst]:g} in row {worst}.{hint} {mend}"
        )
    condition = float(np.linalg.cond(matrix))
    if not condition < _MOST_CONDITION:
        raise ValueError(
            "`transition` is singular: its condition number is "
            f"{condition:.3g}, and float32 tells numbers apart up to "
            f"{_MOST_CONDITION:.2g}. Given labels then do not tell some true classes "
            "apart; mix it with the identity, or estimate it of more examples."
        )
    return tuple(tuple(row) for row in matrix.tolist())


def check_size(transition: Sequence[Any], num_classes: int) -> None:
    """Check a transition matrix against the number of classes.

    Raises:
        ValueError: if it has another size.
    """
    if len(transition) != num_classes:
        raise ValueError(
            f"`transition` must be of shape ({num_classes}, {num_classes}), a row and "
            f"a column a class. Received: shape ({len(transition)}, {len(transition)})."
        )


@keras.saving.register_keras_serializable(package="sop_keras", name="ForwardLoss")
class Forward(LabelLoss):
    """Cross entropy of the given labels, after the noise that made them.

    The network's p is of true classes; labels are drawn of q = p T, and the loss of an
    example is -log q_y. The p that minimises it is that of clean labels, where T is
    right. p is clipped to [1e-7, 1 - 1e-7] before the product, as in the authors' code
    (giorgiop/loss-correction at 15a79de). Predict with p, never with q.

    Args:
        transition: T, shape `(num_classes, num_classes)`, T[i, j] = P(given j | true
            i): rows sum to 1.
        from_logits: whether the model gives logits. Defaults to `False`.
        reduction: as of `keras.losses.Loss`. Defaults to `"sum_over_batch_size"`.
        name: likewise. Defaults to `"forward_correction"`.
        dtype: likewise. Defaults to `None`.

    Labels are class numbers or one-hot; the loss of any other number is NaN.

    Raises:
        ValueError: for a matrix that is not square, singular, or whose rows do not sum
            to 1; in training, for one of another size than the model's outputs.

    Example:
    ```python
    model.compile("sgd", losses.Forward(transition=T, from_logits=True))
    ```

    Reference: Patrini, Rozza, Menon, Nock, Qu, "Making Deep Neural Networks Robust to
    Label Noise: a Loss Correction Approach", CVPR 2017, Theorem 2.
    """

    def __init__(
        self,
        transition: Any,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "forward_correction",
        dtype: Any = None,
    ):
        rows = checked_transition(transition)
        numbers = {"transition": [list(row) for row in rows]}
        super().__init__(numbers, from_logits, reduction, name, dtype)

    def losses(self, labels: Tensor, log_probs: Tensor) -> Tensor:
        """-log (p T)_y of each example."""
        transition = self._numbers["transition"]
        check_size(transition, log_probs.shape[-1])
        return forward_cross_entropy(labels, log_probs, transition)


def _given(log_probs: Tensor, transition: Any) -> tuple[Tensor, Tensor]:
    """The clipped p, and q = p T."""
    probs = ops.exp(log_probs)
    probs = ops.clip(probs, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    # In float64: GPUs round what goes into a float32 product to the 10 bits of TF32.
    probs = ops.cast(probs, "float64")
    return probs, ops.matmul(probs, ops.cast(transition, "float64"))
