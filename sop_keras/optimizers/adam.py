"""Adam by PyTorch's rule, with a first momentum that may change on the way."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from sop_keras.validation import check_integer, check_number


@keras.saving.register_keras_serializable(package="sop_keras")
class Adam(keras.optimizers.Adam):
    """Adam with an L2 term in the gradient, and another beta1 from some step on.

    Its update of a variable `w` with gradient `grad` at step t, from 1, is that of
    `torch.optim.Adam` (PyTorch documentation):

    ```python
    g = grad + l2 * w
    m = beta_1 * m + (1 - beta_1) * g
    v = beta_2 * v + (1 - beta_2) * g**2
    m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
    w = w - learning_rate * m_hat / (sqrt(v_hat) + epsilon)
    ```

    Co-teaching's authors lower beta1 from 0.9 to 0.1 as the rate begins to fall: from
    then on all of the rule is by the new one, the correction of m too, as in PyTorch
    where a parameter group's `betas` are changed. Keras' own Adam has one beta1, adds
    `epsilon` before v is corrected, and its `weight_decay` is decoupled.

    Args:
        learning_rate: A float, a `keras.optimizers.schedules.LearningRateSchedule` or a
            callable without arguments. Defaults to `0.001`.
        beta_1: In [0, 1). Defaults to `0.9`.
        beta_2: In [0, 1). Defaults to `0.999`.
        epsilon: A number >= 0. Defaults to `1e-8`.
        l2: The coefficient of the L2 term, a number >= 0 (PyTorch's `weight_decay`), of
            all but what `exclude_from_weight_decay` names before the first step.
            Defaults to `0.0`.
        late_beta_1: beta1 from `late_from` on, in [0, 1). Defaults to `None`: the same.
        late_from: The first step, from 0, that is by `late_beta_1`; needed with it. As
            in schedules, batches count where gradients accumulate. Defaults to `None`.
        name: The optimizer's name. Defaults to one made from the class.
        **kwargs: Keras' other optimizer arguments (clipping, moving averages of the
            weights, gradient accumulation), except `weight_decay` and `amsgrad`.

    Raises:
        ValueError: if an argument is out of range, `late_beta_1` and `late_from` are
            not given together, or `weight_decay` or `amsgrad` is given.

    Example:
    ```python
    optimizer = Adam(0.001, late_beta_1=0.1, late_from=80 * steps_per_epoch)
    ```
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        l2: float = 0.0,
        late_beta_1: float | None = None,
        late_from: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        weight_decay = kwargs.pop("weight_decay", None)
        if weight_decay is not None:
            raise ValueError(
                "`weight_decay` is Keras' decoupled decay, not the L2 term of "
                f"PyTorch's Adam. Received: weight_decay={weight_decay}. Pass "
                f"l2={weight_decay} for that, or take keras.optimizers.AdamW."
            )
        if kwargs.pop("amsgrad", False):
            raise ValueError(
                "`amsgrad` cannot be had here: take keras.optimizers.Adam for it."
            )
        if (late_beta_1 is None) != (late_from is None):
            raise ValueError(
                "`late_beta_1` and `late_from` go together. Received: late_beta_1="
                f"{late_beta_1}, late_from={late_from}."
            )
        betas = {"beta_1": beta_1, "beta_2": beta_2}
        if late_beta_1 is not None:
            betas["late_beta_1"] = late_beta_1
            check_integer("late_from", late_from, 0)
        for key, beta in betas.items():
            if check_number(key, beta) >= 1:
                raise ValueError(f"`{key}` must be below 1. Received: {key}={beta}.")
        check_number("epsilon", epsilon)
        check_number("l2", l2, meaning="such as 5e-4")
        super().__init__(
            learning_rate=learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            name=name,
            **kwargs,
        )
        self.l2 = l2
        self.late_beta_1 = late_beta_1
        self.late_from = late_from

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable, and its two averages, by one step."""
        learning_rate = ops.cast(learning_rate, variable.dtype)
        step = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        # Keras hands its backend's variables to update_step, which lost their names.
        if self.l2 and self._use_weight_decay(self._trainable_variables[index]):
            step = ops.add(step, ops.multiply(self.l2, variable))
        mean, square = self._momentums[index], self._velocities[index]
        number = ops.cast(self.iterations + 1, variable.dtype)
        # How far the averages move, and what corrects them: 1 - beta, 1 - beta^t.
        move, corrected = 1 - self.beta_1, _one_minus_power(self.beta_1, number)
        if self.late_beta_1 is not None:
            is_late = self._iterations >= self.late_from
            late = _one_minus_power(self.late_beta_1, number)
            move = ops.where(is_late, 1 - self.late_beta_1, move)
            move = ops.cast(move, variable.dtype)
            corrected = ops.where(is_late, late, corrected)
        self.assign_add(mean, ops.multiply(ops.subtract(step, mean), move))
        self.assign_add(
            square,
            ops.multiply(ops.subtract(ops.square(step), square), 1 - self.beta_2),
        )
        scale = ops.sqrt(_one_minus_power(self.beta_2, number))
        size = ops.add(ops.divide(ops.sqrt(square), scale), self.epsilon)
        rate = ops.divide(learning_rate, corrected)
        self.assign_sub(variable, ops.divide(ops.multiply(rate, mean), size))

    def get_config(self) -> dict[str, Any]:
        """The arguments, as Keras serializes them."""
        config = super().get_config()
        del config["amsgrad"]
        late = {"late_beta_1": self.late_beta_1, "late_from": self.late_from}
        return {**config, "l2": self.l2, **late}


def _one_minus_power(beta: float, number: Any) -> Any:
    """1 - beta^t; as a difference, the first ones would be of few right digits."""
    if beta == 0:
        return ops.ones_like(number)
    return -ops.expm1(number * math.log(beta))
