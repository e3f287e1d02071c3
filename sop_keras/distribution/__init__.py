"""Training on several devices and machines, through tf.distribute."""

from sop_keras.distribution.strategies import (
    STRATEGIES,
    check_strategy,
    is_chief,
    make_strategy,
)

__all__ = ["STRATEGIES", "check_strategy", "is_chief", "make_strategy"]
