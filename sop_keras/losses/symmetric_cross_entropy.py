"""Symmetric cross entropy, SL (Wang et al. 2019): cross entropy and its reverse."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from sop_keras.losses.label_loss import LabelLoss, Tensor, at_label
from sop_keras.validation import check_number

LOG_OF_ZERO = math.log(1e-4)
"""A, what stands for log 0 in the reverse: the authors' code clips labels at 1e-4.

The paper's text has A = -4; its figures are of this one, -9.21.
"""


def symmetric_cross_entropy(
    labels: Tensor, log_probs: Tensor, alpha: float, beta: float
) -> Tensor:
    """CE and RCE of each example, -alpha log p_y - beta A (1 - p_y).

    Of soft labels, the mean of both by the label.

    Args:
        labels: one-hot or soft, shape `(..., num_classes)`.
        log_probs: log p, likewise; cross entropy has no clip, as in the co-author's
            port (HanxunH/SCELoss-Reproduce at c81fb33).
        alpha: the weight of cross entropy.
        beta: the weight of its reverse.

    Returns:
        Shape `(...)`, not negative.
    """
    reverse = at_label(labels, LOG_OF_ZERO * ops.expm1(log_probs))
    return -alpha * at_label(labels, log_probs) + beta * reverse


@keras.saving.register_keras_serializable(
    package="sop_keras", name="SymmetricCrossEntropyLoss"
)
class SymmetricCrossEntropy(LabelLoss):
    """SL: cross entropy, and cross entropy with labels and predictions in turn.

    The loss of an example is alpha CE + beta RCE with RCE = -A (1 - p_y), and A = log
    1e-4 in place of log 0, as in the authors' code.

    Args:
        alpha: the weight of cross entropy, not negative. Defaults to `0.1`, the paper's
            for CIFAR-10; 6.0 for CIFAR-100.
        beta: the weight of its reverse, not negative. Defaults to `1.0`, likewise; 0.1
            for CIFAR-100.
        from_logits: whether the model gives logits. Defaults to `False`.
        reduction: as of `keras.losses.Loss`. Defaults to `"sum_over_batch_size"`.
        name: likewise. Defaults to `"symmetric_cross_entropy"`.
        dtype: likewise. Defaults to `None`.

    Labels are class numbers or one-hot; the loss of any other number is NaN.

    Raises:
        ValueError: if a weight is negative or not finite.

    Example:
    ```python
    model.compile("sgd", losses.SymmetricCrossEntropy(from_logits=True))
    ```

    Reference: Wang, Ma, Chen, Luo, Yi, Bailey, "Symmetric Cross Entropy for Robust
    Learning with Noisy Labels", ICCV 2019, eqs. 7 and 8.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        beta: float = 1.0,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "symmetric_cross_entropy",
        dtype: Any = None,
    ):
        numbers = {
            "alpha": check_number("alpha", alpha),
            "beta": check_number("beta", beta),
        }
        super().__init__(numbers, from_logits, reduction, name, dtype)

    def losses(self, labels: Tensor, log_probs: Tensor) -> Tensor:
        """The weighted sum of both, of each example."""
        return symmetric_cross_entropy(labels, log_probs, **self._numbers)
