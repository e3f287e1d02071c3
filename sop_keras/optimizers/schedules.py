"""The learning-rate schedules of Table A.1 and of its rivals, in optimizer steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import (
    CosineDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
)

from sop_keras.validation import (
    check_fraction,
    check_integer,
    check_number,
    check_positive,
)


def step_decay(
    learning_rate: float,
    decay_epochs: Sequence[int],
    steps_per_epoch: int,
    factor: float = 0.1,
) -> PiecewiseConstantDecay:
    """Multiply the learning rate by `factor` after given numbers of epochs.

    SOP's schedule: x0.1 after 40 and 80 of 120 epochs on CIFAR-10, 80 and 120 of 150 on
    CIFAR-100 (Table A.1; Section 2.2).

    Args:
        learning_rate: the rate of the first epochs, positive.
        decay_epochs: strictly increasing positive integers. After `decay_epochs[i]`
            full epochs, from the first step of the next one, the rate is
            `learning_rate * factor**(i + 1)`.
        steps_per_epoch: optimizer steps in an epoch (batches, the incomplete last one
            included).
        factor: between 0 and 1, exclusive. Defaults to `0.1`.

    Returns:
        A Keras schedule over optimizer steps, the first of which is step 0.

    Raises:
        ValueError: if an argument is out of range.
    """
    # Keras gives its schedules the type of this number: an integer would round them.
    rate = check_positive("learning_rate", learning_rate, meaning="such as 0.02")
    steps = check_integer("steps_per_epoch", steps_per_epoch, 1)
    epochs = [
        check_integer(f"decay_epochs[{place}]", epoch, 1)
        for place, epoch in enumerate(decay_epochs)
    ]
    if not epochs or epochs != sorted(set(epochs)):
        raise ValueError(
            "`decay_epochs` must be one or more strictly increasing integers, such as "
            f"(40, 80). Received: decay_epochs={decay_epochs}. For a constant rate "
            "pass a float to the optimizer."
        )
    if not 0 < factor < 1:
        raise ValueError(
            f"`factor` must be between 0 and 1, such as 0.1. Received: factor={factor}."
        )
    # Keras keeps the old rate at the boundary itself: name the last step of the epoch.
    boundaries = [epoch * steps - 1 for epoch in epochs]
    rates = [rate * factor**i for i in range(len(epochs) + 1)]
    return PiecewiseConstantDecay(boundaries, rates)


def cosine_decay(
    learning_rate: float,
    epochs: int,
    steps_per_epoch: int,
    final_learning_rate: float,
    warmup_epochs: int = 0,
    warmup_learning_rate: float = 0.0,
) -> CosineDecay:
    """Lower the learning rate along half a cosine, a little at every step.

    SOP+'s schedule on CIFAR: from 0.02 to 2e-4 in 300 epochs (Table A.1). At step
    `t` of `T = epochs * steps_per_epoch` the rate is

        final + (initial - final) * (1 + cos(pi * t / T)) / 2.

    Where an epoch begins, this is the rate of `torch.optim.lr_scheduler
    .CosineAnnealingLR(T_max=epochs, eta_min=final)` stepped once an epoch, which then
    stays put until the next epoch.

    Args:
        learning_rate: the rate of the first step, positive.
        epochs: the number of epochs of the whole training.
        steps_per_epoch: optimizer steps in an epoch (batches, the incomplete last one
            included).
        final_learning_rate: the rate that the training ends at, in
            `[0, learning_rate]`.
        warmup_epochs: the first ones, below `epochs`, in which the rate rises in a line
            to `learning_rate`; half a cosine takes the rest. Defaults to `0`.
        warmup_learning_rate: the rate that these begin with, not negative. Defaults to
            `0.0`.

    Returns:
        A Keras schedule over optimizer steps, the first of which is step 0. It stays at
        the final rate after `T` steps.

    Raises:
        ValueError: if an argument is out of range.
    """
    # Keras gives its schedules the type of this number: an integer would round them.
    rate = check_positive("learning_rate", learning_rate, meaning="such as 0.02")
    steps = check_integer("epochs", epochs, 1) * check_integer(
        "steps_per_epoch", steps_per_epoch, 1
    )
    if not 0 <= final_learning_rate <= learning_rate:
        raise ValueError(
            "`final_learning_rate` must be between 0 and `learning_rate`. Received: "
            f"final_learning_rate={final_learning_rate}, learning_rate={learning_rate}."
        )
    alpha = final_learning_rate / rate
    before = check_integer("warmup_epochs", warmup_epochs, 0, below=epochs)
    before *= steps_per_epoch
    start = check_number("warmup_learning_rate", warmup_learning_rate)
    if not before:
        return CosineDecay(rate, decay_steps=steps, alpha=alpha)
    return CosineDecay(
        start,
        decay_steps=steps - before,
        alpha=alpha,
        warmup_target=rate,
        warmup_steps=before,
    )


@keras.saving.register_keras_serializable(package="sop_keras")
class ScaledByEpoch(LearningRateSchedule):
    """A learning rate times a factor of each epoch.

    CORES2 divides its rate by 1 + beta, which rises from epoch to epoch.

    Args:
        learning_rate: a positive number, or a schedule over optimizer steps.
        factors: one an epoch, not negative, at least one; the last one holds on.
        steps_per_epoch: optimizer steps in an epoch.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self, learning_rate: Any, factors: Sequence[float], steps_per_epoch: int
    ):
        if not isinstance(learning_rate, LearningRateSchedule):
            learning_rate = check_positive("learning_rate", learning_rate)
        self.learning_rate = learning_rate
        self.factors = [check_number("factors", factor) for factor in factors]
        if not self.factors:
            raise ValueError("`factors` must have one number or more. It is empty.")
        self.steps_per_epoch = check_integer("steps_per_epoch", steps_per_epoch, 1)

    def __call__(self, step: Any) -> Any:
        """The rate at an optimizer step, the first of which is 0."""
        rate = self.learning_rate
        rate = rate(step) if callable(rate) else rate
        factors = ops.convert_to_tensor(self.factors, "float32")
        epoch = ops.cast(step, "int32") // self.steps_per_epoch
        factor = ops.take(factors, ops.minimum(epoch, len(self.factors) - 1))
        return ops.cast(rate, "float32") * factor

    def get_config(self) -> dict[str, Any]:
        """The arguments, as Keras serializes them."""
        return {
            "learning_rate": keras.saving.serialize_keras_object(self.learning_rate),
            "factors": self.factors,
            "steps_per_epoch": self.steps_per_epoch,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ScaledByEpoch:
        """A schedule of these arguments."""
        rate = keras.saving.deserialize_keras_object(config["learning_rate"])
        return cls(**{**config, "learning_rate": rate})


def linear_decay(
    learning_rate: float, start_epoch: int, epochs: int, steps_per_epoch: int
) -> ScaledByEpoch:
    """Lower the learning rate in a line to 0, from an epoch on and epoch by epoch.

    Co-teaching's schedule: of E epochs, the rate is whole before epoch s (from 0), and
    in epoch e from there on times (E - e) / (E - s), as in the authors' code
    (bhanML/Co-teaching at 7c7fbe2). The last epoch has 1 / (E - s) of it.

    Args:
        learning_rate: the rate of the first epochs, positive.
        start_epoch: s, at least 1. From the number of epochs on, nothing is lowered.
        epochs: E, of the whole training.
        steps_per_epoch: optimizer steps in an epoch.

    Returns:
        A Keras schedule over optimizer steps, the first of which is step 0.

    Raises:
        ValueError: if an argument is out of range.
    """
    check_integer("start_epoch", start_epoch, 1)
    check_integer("epochs", epochs, 1)
    left = max(epochs - start_epoch, 1)
    factors = [min(1.0, (epochs - epoch) / left) for epoch in range(epochs)]
    if start_epoch >= epochs:
        factors = [1.0]
    return ScaledByEpoch(learning_rate, factors, steps_per_epoch)


@keras.saving.register_keras_serializable(package="sop_keras")
class Triangle(LearningRateSchedule):
    """A learning rate that rises in a line to its peak, and falls in one to the end.

    Of T steps, the first W = int(warmup_share * T) are the rise. At step t the rate is

        start + (peak - start) * t / W              where t < W,
        peak + (final - peak) * (t - W) / (T - W)   from W to T,

    and `final` from T on. K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU"
    (2024, arXiv 2404.00498), has 0.23 for the share, and starts at 0.2 and ends at 0.07
    of the peak.

    Args:
        learning_rate: the peak, positive.
        num_steps: T, optimizer steps of the whole training, at least 1.
        warmup_share: of the steps that the rate rises in, in `[0, 1)`.
        warmup_learning_rate: what it starts at, in `[0, learning_rate]`. Defaults to
            `0.0`.
        final_learning_rate: what it ends at, in `[0, learning_rate]`. Defaults to
            `0.0`.

    Raises:
        ValueError: if an argument is out of range.

    Example:
    ```python
    SGD(Triangle(1.5, epochs * steps_per_epoch, 0.23, 0.3, 0.105), momentum=0.85)
    ```
    """

    def __init__(
        self,
        learning_rate: float,
        num_steps: int,
        warmup_share: float,
        warmup_learning_rate: float = 0.0,
        final_learning_rate: float = 0.0,
    ):
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.num_steps = check_integer("num_steps", num_steps, 1)
        self.warmup_share = check_fraction("warmup_share", warmup_share)
        if self.warmup_share == 1:
            raise ValueError(
                "`warmup_share` must be less than 1, as the rate falls after it. "
                f"Received: warmup_share={warmup_share}."
            )
        ends = {
            "warmup_learning_rate": warmup_learning_rate,
            "final_learning_rate": final_learning_rate,
        }
        for name, rate in ends.items():
            if check_number(name, rate) > self.learning_rate:
                raise ValueError(
                    f"`{name}` must be between 0 and `learning_rate`. Received: "
                    f"{name}={rate}, learning_rate={learning_rate}."
                )
        self.warmup_learning_rate = warmup_learning_rate
        self.final_learning_rate = final_learning_rate

    def __call__(self, step: Any) -> Any:
        """The rate at an optimizer step, the first of which is 0."""
        step = ops.cast(step, "float32")
        peak, num_risen = self.learning_rate, int(self.warmup_share * self.num_steps)
        fallen = (step - num_risen) / (self.num_steps - num_risen)
        falling = peak + (self.final_learning_rate - peak) * ops.minimum(fallen, 1.0)
        start = self.warmup_learning_rate
        rising = start + (peak - start) * (step / max(num_risen, 1))
        return ops.where(step < num_risen, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """The arguments, as Keras serializes them."""
        return {
            "learning_rate": self.learning_rate,
            "num_steps": self.num_steps,
            "warmup_share": self.warmup_share,
            "warmup_learning_rate": self.warmup_learning_rate,
            "final_learning_rate": self.final_learning_rate,
        }
