"""Steps of networks that are taken back where a method does not want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class SkippableStep:
    """The values of some variables before a step, to be given back.

    A branch around the step would be simpler, but optimizers cannot exchange gradients
    between replicas inside of one (TensorFlow 2.21: no merge call in a `tf.cond`).

    Args:
        variables: all that the step may move.
    """

    def __init__(self, variables: Sequence[keras.Variable]):
        self._variables = [one.value for one in variables]
        self._before = [tf.identity(one) for one in self._variables]

    def keep_if(self, is_wanted: Any) -> None:
        """Give the variables their values back unless the step is wanted.

        Args:
            is_wanted: a boolean scalar, the same on all replicas.
        """

        def choose(variable: Any, before: Any, is_wanted: Any) -> Any:
            return variable.assign(tf.where(is_wanted, variable, before))

        def choose_all(strategy: Any, all_before: Any, is_wanted: Any) -> None:
            for variable, before in zip(self._variables, all_before, strict=True):
                strategy.extended.update(
                    variable, choose, args=(before, is_wanted), group=False
                )

        context = tf.distribute.get_replica_context()
        context.merge_call(choose_all, args=(self._before, is_wanted))
