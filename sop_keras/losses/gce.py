"""Generalised cross entropy, GCE (Zhang and Sabuncu 2018): L_q, of logits."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from sop_keras.losses.label_loss import LabelLoss, Tensor, at_label
from sop_keras.validation import check_fraction


def generalized_cross_entropy(labels: Tensor, log_probs: Tensor, q: float) -> Tensor:
    """L_q = (1 - p_y^q) / q of each example; for q = 0, -log p_y.

    It is taken of log p, so that neither it nor its gradient, p_y^q (p - e_y), is NaN
    where p_y underflows.

    Args:
        labels: one-hot, shape `(..., num_classes)`.
        log_probs: log p, likewise.
        q: in [0, 1].

    Returns:
        Shape `(...)`, in [0, 1 / q].
    """
    if q == 0:
        return -at_label(labels, log_probs)
    return at_label(labels, -ops.expm1(q * log_probs) / q)


@keras.saving.register_keras_serializable(package="sop_keras", name="GCELoss")
class GCE(LabelLoss):
    """L_q = (1 - p_y^q) / q, between cross entropy (q = 0) and 1 - p_y (q = 1).

    Its gradient is that of cross entropy times p_y^q: examples that the network does
    not believe in move it less.

    Args:
        q: in [0, 1]. Defaults to `0.7`, the paper's; Keras' own
            `CategoricalGeneralizedCrossEntropy` has 0.5.
        from_logits: whether the model gives logits. Defaults to `False`.
        reduction: as of `keras.losses.Loss`. Defaults to `"sum_over_batch_size"`.
        name: likewise. Defaults to `"generalized_cross_entropy"`.
        dtype: likewise. Defaults to `None`.

    Labels are class numbers or one-hot; the loss of any other number is NaN.

    Raises:
        ValueError: if q is not in [0, 1].

    Example:
    ```python
    model.compile("sgd", losses.GCE(q=0.7, from_logits=True))
    ```

    Reference: Zhang, Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural
    Networks with Noisy Labels", NeurIPS 2018, eq. 6.
    """

    def __init__(
        self,
        q: float = 0.7,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "generalized_cross_entropy",
        dtype: Any = None,
    ):
        numbers = {"q": check_fraction("q", q)}
        super().__init__(numbers, from_logits, reduction, name, dtype)

    def losses(self, labels: Tensor, log_probs: Tensor) -> Tensor:
        """L_q of each example."""
        return generalized_cross_entropy(labels, log_probs, **self._numbers)
