"""What Keras 3.15 needs so that `fit` works on several machines.

Under MultiWorkerMirroredStrategy, Keras' own `fit` fails (keras-team/keras#20585):

1. `_maybe_symbolic_build` reduces a nested batch, which `Strategy.reduce` does not
   take. `DistributedModel` is built before `fit` and leaves it out.
2. The logs of a step, scalars, are averaged over their axis 0. They are given one here.

Both can go when that issue is closed.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from sop_keras.core.strategies import is_multi_worker


def reducible_logs(logs: dict[str, Any]) -> dict[str, Any]:
    """A step's metrics as Keras can average them over the replicas.

    Args:
        logs: scalars by name.

    Returns:
        On several machines, in a step: the same, of shape `(1,)`.
    """
    if tf.distribute.in_cross_replica_context():
        return logs
    if not is_multi_worker(tf.distribute.get_strategy()):
        return logs
    return {name: tf.reshape(value, (1,)) for name, value in logs.items()}
