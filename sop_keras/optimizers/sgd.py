"""Stochastic gradient descent by PyTorch's rule."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from sop_keras.validation import check_number, check_positive


@keras.saving.register_keras_serializable(package="sop_keras")
class SGD(keras.optimizers.SGD):
    """SGD with an L2 term in the gradient and a momentum free of the learning rate.

    The paper's networks were trained with `torch.optim.SGD`, whose update of a variable
    `w` with gradient `grad` is (PyTorch documentation, dampening 0):

    ```python
    g = grad + l2 * w
    buffer = momentum * buffer + g
    w = w - learning_rate * (g + momentum * buffer if nesterov else buffer)
    ```

    Keras' own SGD differs in two ways. Its `weight_decay` is decoupled: it shrinks `w`
    by `learning_rate * weight_decay` beside the momentum, not through it. And its
    velocity sums `learning_rate * g`, so that after a drop of the learning rate the
    old, larger steps go on for about `1 / (1 - momentum)` updates, where here the
    whole step shrinks at once. At a constant learning rate and without L2 both rules
    agree.

    BatchNormalization's offsets (its weights named `beta`) may move at a rate of their
    own: `offset_rate_factor` times the others', and with the L2 term divided by it, so
    that they shrink as fast as all else. K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on
    a Single GPU" (2024, arXiv 2404.00498), takes 64, after hlb-CIFAR10.

    Every variable that the optimizer is given decays, BatchNorm's scales and offsets
    and all biases included, as in the authors' code, but for what
    `exclude_from_weight_decay` names before the first step. Gradient clipping acts
    before the L2 term is added, as `torch.nn.utils.clip_grad_norm_` does; under
    `tf.distribute` Keras clips each replica's gradients before it sums them.

    Args:
        learning_rate: A float, a `keras.optimizers.schedules.LearningRateSchedule` or a
            callable without arguments. Defaults to `0.01`.
        momentum: A float in [0, 1]. Defaults to `0.0`.
        nesterov: Whether to look ahead along the buffer; needs a momentum. Defaults to
            `False`.
        l2: The coefficient of the L2 term, a number >= 0 (PyTorch's `weight_decay`).
            Defaults to `0.0`.
        offset_rate_factor: The learning rate of BatchNormalization's offsets over that
            of all else, a positive number. Defaults to `1.0`.
        name: The optimizer's name. Defaults to one made from the class.
        **kwargs: Keras' other optimizer arguments (clipping, moving averages of the
            weights, gradient accumulation), except `weight_decay`.

    Raises:
        ValueError: if an argument is out of range, or `weight_decay` is given.

    Example:
    ```python
    optimizer = SGD(learning_rate=0.02, momentum=0.9, l2=5e-4)
    ```
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        l2: float = 0.0,
        name: str | None = None,
        *,
        offset_rate_factor: float = 1.0,
        **kwargs: Any,
    ) -> None:
        weight_decay = kwargs.pop("weight_decay", None)
        if weight_decay is not None:
            raise ValueError(
                "`weight_decay` is Keras' decoupled decay, not the L2 term of the "
                f"paper's experiments. Received: weight_decay={weight_decay}. Pass "
                f"l2={weight_decay} for PyTorch's weight decay, or take "
                "keras.optimizers.SGD for the decoupled one."
            )
        check_number("l2", l2, meaning="such as 5e-4")
        check_positive("offset_rate_factor", offset_rate_factor, meaning="such as 64")
        if nesterov and not momentum:
            raise ValueError(
                "`nesterov=True` looks ahead along the momentum buffer and so needs a "
                f"momentum above 0. Received: momentum={momentum}. Pass one, such as "
                "0.9, or nesterov=False."
            )
        super().__init__(
            learning_rate=learning_rate,
            momentum=momentum,
            nesterov=nesterov,
            name=name,
            **kwargs,
        )
        self.l2 = l2
        self.offset_rate_factor = offset_rate_factor

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable, and its momentum buffer, by one step."""
        learning_rate = ops.cast(learning_rate, variable.dtype)
        step = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        factor = self._rate_factor(index)
        if self.l2 and self._use_weight_decay(self._trainable_variables[index]):
            step = ops.add(step, ops.multiply(self.l2 / factor, variable))
        if self.momentum:
            buffer = self.momentums[index]
            updated = ops.add(ops.multiply(self.momentum, buffer), step)
            self.assign(buffer, updated)
            if self.nesterov:
                step = ops.add(step, ops.multiply(self.momentum, updated))
            else:
                step = updated
        if factor != 1:
            learning_rate = ops.multiply(learning_rate, factor)
        self.assign_sub(variable, ops.multiply(learning_rate, step))

    def _rate_factor(self, index: int) -> float:
        # Keras hands its backend's variables to update_step, which lost their names.
        is_offset = self._trainable_variables[index].name == "beta"
        return self.offset_rate_factor if is_offset else 1.0

    def get_config(self) -> dict[str, Any]:
        """The arguments, as Keras serializes them."""
        own = {"l2": self.l2, "offset_rate_factor": self.offset_rate_factor}
        return {**super().get_config(), **own}
