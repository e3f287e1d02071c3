"""What losses of given labels share: labels as rows, logarithms, Keras' class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

# A backend tensor, or anything that keras.ops turns into one.
Tensor = Any


def at_label(labels: Tensor, values: Tensor) -> Tensor:
    """The values at the labels: the sum over classes of labels times values.

    Args:
        labels: one-hot or soft, not negative, shape `(..., num_classes)`.
        values: likewise; of classes where the label is 0 they may be infinite, as the
            logarithms of logits of -inf are.
    """
    return ops.sum(labels * ops.where(labels > 0, values, 0.0), axis=-1)


class LabelLoss(keras.losses.Loss):
    """A loss of labels and log probabilities, for `compile` of any Keras model.

    Args:
        numbers: the hyper-parameters, by name, as its config has them.
        from_logits: whether the model gives logits (True) or probabilities.
        reduction: as of `keras.losses.Loss`.
        name: likewise.
        dtype: likewise.
    """

    def __init__(
        self,
        numbers: Mapping[str, Any],
        from_logits: bool,
        reduction: str | None,
        name: str | None,
        dtype: Any,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.from_logits = bool(from_logits)
        self._numbers = dict(numbers)

    def losses(self, labels: Tensor, log_probs: Tensor) -> Tensor:
        """The loss of each example.

        Args:
            labels: one-hot, shape `(..., num_classes)`.
            log_probs: likewise.

        Returns:
            Shape `(...)`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no losses.")

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of each example.

        Args:
            y_true: class numbers, of y_pred's shape without its last axis (or 1
                there), or one-hot of its shape. The loss of what is no class number,
                2.7 or num_classes, is NaN.
            y_pred: shape `(..., num_classes)`.

        Raises:
            ValueError: for a model of one output.
        """
        if y_pred.shape[-1] == 1:
            raise ValueError(
                f"{type(self).__name__} takes an output for each class. Received: "
                f"y_pred of shape {tuple(y_pred.shape)}, whose only class always has "
                "the probability 1. What a sigmoid says of two classes takes two "
                "outputs here: Dense(2) without an activation, from_logits=True and "
                "labels 0 and 1."
            )
        log_probs = _log_probabilities(y_pred, self.from_logits)
        return self.losses(_rows_of(y_true, y_pred), log_probs)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            **self._numbers,
            "from_logits": self.from_logits,
        }


def _log_probabilities(outputs: Tensor, from_logits: bool) -> Tensor:
    """Logarithms of the probabilities in a network's outputs, finite and at most 0.

    Args:
        outputs: shape `(..., num_classes)`.
        from_logits: whether they are logits. Probabilities are divided by their sum,
            and those below `keras.config.epsilon()` count as that.
    """
    if from_logits:
        return ops.log_softmax(outputs, axis=-1)
    probs = outputs / ops.sum(outputs, axis=-1, keepdims=True)
    return ops.log(ops.clip(probs, keras.config.epsilon(), 1.0))


def _rows_of(labels: Tensor, outputs: Tensor) -> Tensor:
    num_classes = outputs.shape[-1]
    if len(labels.shape) == len(outputs.shape) and labels.shape[-1] == num_classes:
        return labels
    labels = ops.reshape(ops.cast(labels, "float32"), ops.shape(outputs)[:-1])
    numbers = ops.cast(labels, "int32")
    rows = ops.one_hot(numbers, num_classes, dtype=outputs.dtype)
    # Others would have rows of zeros, of which the loss is 0; a compiled step cannot
    # refuse them.
    is_class = (labels >= 0) & (labels < num_classes)
    is_class = is_class & (labels == ops.cast(numbers, "float32"))
    return ops.where(is_class[..., None], rows, float("nan"))
