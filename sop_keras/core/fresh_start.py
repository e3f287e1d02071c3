"""Networks that start anew after a first training, and what is kept for that."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core.optimizer_like import optimizer_like, set_rate
from sop_keras.core.weight_copies import WeightCopies

# Finite: what is not, in a model's weights, is a training that diverged.
_NONE_YET = float(np.finfo(np.float32).max)
_NO_RATE = -1.0


class FreshStart(WeightCopies):
    """The networks' first weights, and those of a first training's best epoch.

    And the learning rates that the training began with, where they are numbers, which
    callbacks may lower. They are variables, saved with the model: a training that is
    resumed before its fresh start, or after it, ends as if it had never stopped. They
    take twice the bytes of the networks' weights.

    Args:
        model: the `NoisyLabelModel` whose networks they are.

    Raises:
        ValueError: if a network is not built, and so has no weights yet.
    """

    def __init__(self, model: Any, **kwargs: Any):
        super().__init__(**kwargs)
        if not all(network.built for network in model.networks()):
            raise ValueError(
                f"{type(model.method).__name__} starts its network anew after a first "
                "training, and a backbone that is not built has no weights to keep. "
                "Build it first: backbone.build(input_shape)."
            )
        weights = list(enumerate(_weights(model)))
        self.first = [self._copy(f"first_{place}", one) for place, one in weights]
        self.best = [self._copy(f"best_{place}", one) for place, one in weights]
        self.best_loss = self.add_weight(
            name="best_loss",
            shape=(),
            initializer=keras.initializers.Constant(_NONE_YET),
            trainable=False,
            autocast=False,
        )
        self.first_rates = self.add_weight(
            name="first_rates",
            shape=(len(model.networks()),),
            initializer=keras.initializers.Constant(_NO_RATE),
            trainable=False,
            autocast=False,
        )
        self.built = True

    def keep_first(self, model: Any) -> None:
        """Keep the weights and the learning rates that a training begins with."""
        for optimizer in model.network_optimizers():
            optimizer_like(optimizer)  # fails now, not in `start`
        _assign(self.first, _weights(model))
        rates = [set_rate(optimizer) for optimizer in model.network_optimizers()]
        self.first_rates.assign([_NO_RATE if r is None else r for r in rates])
        self.best_loss.assign(_NONE_YET)

    def keep_best(self, model: Any, loss: float | None) -> None:
        """Keep the weights as they are if no epoch had a lower validation loss.

        Args:
            model: as of the constructor.
            loss: of the epoch that is over; None without validation data.
        """
        if loss is None or not loss < float(ops.convert_to_numpy(self.best_loss)):
            return
        self.best_loss.assign(loss)
        _assign(self.best, _weights(model))

    def recall_best(self, model: Any) -> None:
        """Give the networks the best epoch's weights, where there was validation."""
        if float(ops.convert_to_numpy(self.best_loss)) < _NONE_YET:
            _assign(_weights(model), self.best)

    def start(self, model: Any) -> None:
        """Give the networks their first weights, and their optimizers first states."""
        _assign(_weights(model), self.first)
        rates = ops.convert_to_numpy(self.first_rates)
        with model.distribute_strategy.scope():
            for network, optimizer, rate in zip(
                model.networks(), model.network_optimizers(), rates, strict=True
            ):
                fresh = optimizer_like(optimizer)
                fresh.build(network.trainable_variables)
                _assign(optimizer.variables, fresh.variables)
                if rate != _NO_RATE:
                    optimizer.learning_rate = rate


def _weights(model: Any) -> list[keras.Variable]:
    return [one for network in model.networks() for one in network.weights]


def _assign(variables: Any, values: Any) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(ops.convert_to_numpy(value))
