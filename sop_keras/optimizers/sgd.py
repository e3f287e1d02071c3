"""Stochastic gradient descent by PyTorch's rule."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from sop_keras.validation import check_number


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

    Every variable that the optimizer is given decays, BatchNorm's scales and offsets
    and all biases included, as in the authors' code. Gradient clipping acts before the
    L2 term is added, as `torch.nn.utils.clip_grad_norm_` does; under `tf.distribute`
    Keras clips each replica's gradients before it sums them.

    Args:
        learning_rate: A float, a `keras.optimizers.schedules.LearningRateSchedule` or a
            callable without arguments. Defaults to `0.01`.
        momentum: A float in [0, 1]. Defaults to `0.0`.
        nesterov: Whether to look ahead along the buffer; needs a momentum. Defaults to
            `False`.
        l2: The coefficient of the L2 term, a number >= 0 (PyTorch's `weight_decay`).
            Defaults to `0.0`.
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

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable, and its momentum buffer, by one step."""
        learning_rate = ops.cast(learning_rate, variable.dtype)
        step = ops.cast(gradient, variable.dtype)
        if self.l2:
            step = ops.add(step, ops.multiply(self.l2, variable))
        if self.momentum:
            buffer = self.momentums[self._get_variable_index(variable)]
            updated = ops.add(ops.multiply(self.momentum, buffer), step)
            self.assign(buffer, updated)
            if self.nesterov:
                step = ops.add(step, ops.multiply(self.momentum, updated))
            else:
                step = updated
        self.assign_sub(variable, ops.multiply(learning_rate, step))

    def get_config(self) -> dict[str, Any]:
        """The arguments, as Keras serializes them."""
        return {**super().get_config(), "l2": self.l2}
