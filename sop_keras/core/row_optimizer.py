"""Which optimizers may drive the rows of a table along a gradient."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import keras

from sop_keras.validation import check_number

AUTO = "auto"
"""In place of a learning rate: the method sets it, as it trains."""


def row_optimizers(rates: Mapping[str, Any]) -> dict[str, Any]:
    """As `row_optimizer`, for each table by name; `"auto"` stays."""
    return {
        name: rate if is_auto(rate) else row_optimizer(rate, f"{name}_optimizer")
        for name, rate in rates.items()
    }


def is_auto(rate: Any) -> bool:
    """Whether a rate is `"auto"`."""
    return isinstance(rate, str) and rate == AUTO


def check_distinct(optimizers: Mapping[str, Any]) -> None:
    """Check that no optimizer is given for two things.

    Args:
        optimizers: the network's under `"optimizer"`, those of tables under their
            names; None counts for nothing.

    Raises:
        ValueError: if one is.
    """
    optimizers = {name: one for name, one in optimizers.items() if one is not None}
    if len({id(one) for one in optimizers.values()}) == len(optimizers):
        return
    first, *others = optimizers
    names = [f"`{first}`", *(f"`{name}_optimizer`" for name in others)]
    count = {2: "two", 3: "three"}.get(len(names), len(names))
    raise ValueError(
        f"{', '.join(names[:-1])} and {names[-1]} must be {count} objects: a shared "
        "one would count its steps more than once."
    )


def row_optimizer(optimizer: Any, name: str) -> keras.optimizers.SGD:
    """Turn what `compile` was given for u or v into plain SGD, or refuse it by name.

    The table changes a few rows a step. Plain gradient descent (paper, Algorithm 1)
    has no state a row and changes nothing else; anything that would sweep the table is
    refused instead of being dropped silently.

    Args:
        optimizer: a `keras.optimizers.SGD`, or a float or a
            `keras.optimizers.schedules.LearningRateSchedule`, which mean SGD with that
            learning rate.
        name: the argument's name, for error messages.

    Returns:
        The optimizer; its learning rate and its step counter are what the table uses.

    Raises:
        ValueError: for other optimizers, for options that need all rows or all
            gradients, and for a rate that is negative or not finite.
    """
    if isinstance(optimizer, keras.optimizers.schedules.LearningRateSchedule):
        return keras.optimizers.SGD(optimizer, name=name)
    if isinstance(optimizer, numbers.Real) and not isinstance(optimizer, bool):
        rate = check_number(name, optimizer)
        return keras.optimizers.SGD(rate, name=name)
    if type(optimizer) is not keras.optimizers.SGD:
        raise ValueError(
            f"`{name}` moves a few rows of the noise table a step, which only plain "
            "`keras.optimizers.SGD` (with or without a schedule), a float or a "
            "LearningRateSchedule can do: other optimizers keep state for every row "
            "and sweep it. Pass a learning rate, such as 10.0, or "
            f"keras.optimizers.SGD(10.0). Received: {optimizer!r}"
        )
    reasons = {
        "momentum": "its velocity would move all rows every step",
        "weight_decay": "it would shrink all rows every step",
        "use_ema": "its average would pass over all rows every step",
        "clipnorm": "the paper's step is not clipped, only projected to [-1, 1]",
        "clipvalue": "the paper's step is not clipped, only projected to [-1, 1]",
        "global_clipnorm": "the paper's step is not clipped, only projected to [-1, 1]",
        "gradient_accumulation_steps": "its accumulator would be as large as the table",
        "loss_scale_factor": "the gradients of u and v are never scaled",
    }
    for option, reason in reasons.items():
        value = getattr(optimizer, option)
        if value:
            raise ValueError(
                f"`{option}={value}` on `{name}` cannot be honoured: {reason}. Use "
                "keras.optimizers.SGD(learning_rate) alone."
            )
    return optimizer
