"""What all machines must know at the same step, because all take part in what follows.

Each function is a collective operation where there are several machines: all of them
must call it, in the same order. On one machine it is nothing.
"""

from __future__ import annotations

import tensorflow as tf

from sop_keras.distribution.strategies import is_multi_worker


def on_any_worker(strategy: tf.distribute.Strategy, condition: bool) -> bool:
    """Whether a condition holds on any of the machines."""
    if not is_multi_worker(strategy):
        return condition
    return _sum(strategy, float(condition)) > 0


def on_all_workers(strategy: tf.distribute.Strategy, value: int) -> bool:
    """Whether all machines have the same value; told to one of the others at least."""
    if not is_multi_worker(strategy):
        return True
    return _sum(strategy, float(value)) == value * strategy.num_replicas_in_sync


def _sum(strategy: tf.distribute.Strategy, value: float) -> float:
    values = strategy.run(lambda: tf.constant(value, tf.float64))
    return float(strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None))
