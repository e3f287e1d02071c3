"""What all machines must know at the same step, because all take part in what follows.

Each function is a collective operation where there are several machines: all of them
must call it, in the same order. On one machine it is nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from sop_keras.core.strategies import is_multi_worker


def on_any_worker(strategy: tf.distribute.Strategy, condition: bool) -> bool:
    """Whether a condition holds on any of the machines."""
    if not is_multi_worker(strategy):
        return condition
    return _sum(strategy, float(condition)) > 0


def is_common(strategy: tf.distribute.Strategy, value: int) -> bool:
    """Whether all machines have the same value, of at most 40 bits; all are told."""
    if not is_multi_worker(strategy):
        return True
    mean = _sum(strategy, float(value)) / strategy.num_replicas_in_sync
    return not on_any_worker(strategy, mean != value)


def _sum(strategy: tf.distribute.Strategy, value: float) -> float:
    return float(_sum_function(strategy)(tf.constant(value, tf.float64)))


@functools.cache
def _sum_function(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    # Compiled: TensorFlow warns of collective operations that are not.
    @tf.function
    def total(value: tf.Tensor) -> tf.Tensor:
        values = strategy.run(tf.identity, args=(value,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

    return total
