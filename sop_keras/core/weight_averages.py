"""Running averages of the networks' weights, which are asked but never trained."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core.weight_copies import WeightCopies

logger = logging.getLogger(__name__)


class WeightAverages(WeightCopies):
    """A running average of each network's weights: avg <- d avg + (1 - d) w.

    They are variables, saved with the model, and take the bytes of the networks'
    trainable weights once more.

    Args:
        model: the `NoisyLabelModel` whose networks they are of.

    Raises:
        ValueError: if a network is not built, and so has no weights yet.
    """

    def __init__(self, model: Any, **kwargs: Any):
        super().__init__(**kwargs)
        if not all(network.built for network in model.networks()):
            raise ValueError(
                f"{type(model.method).__name__} keeps averages of its networks' "
                "weights, and a network that is not built has none yet. Build it "
                "first: backbone.build(input_shape)."
            )
        self.averages = [
            [self._copy(f"average_{place}_{n}", one) for n, one in enumerate(weights)]
            for place, weights in enumerate(_trainable(model))
        ]
        self.built = True

    def start(self, model: Any) -> None:
        """Begin with the networks' weights as they are, and log what they take."""
        logger.info(
            "The averages of the networks' weights take %s bytes.",
            f"{sum(4 * int(np.prod(one.shape)) for one in self.weights):,}",
        )
        for averages, weights in zip(self.averages, _trainable(model), strict=True):
            for average, weight in zip(averages, weights, strict=True):
                average.assign(weight)

    def check(self, model: Any) -> None:
        """Check that the networks' trainable weights are those that it began with.

        Raises:
            ValueError: if layers were frozen, or unfrozen.
        """
        for averages, weights in zip(self.averages, _trainable(model), strict=True):
            if [one.shape for one in averages] != [one.shape for one in weights]:
                raise ValueError(
                    f"{type(model.method).__name__} averages {len(averages)} weights "
                    f"of a network that now has {len(weights)} trainable ones: were "
                    "layers frozen, or unfrozen? Make the model anew."
                )

    def update(self, network: keras.layers.Layer, place: int, decay: Any) -> None:
        """Take the weights of a network after its step into account.

        Args:
            network: the network.
            place: its place among the model's.
            decay: d, a scalar in [0, 1].
        """
        decay = ops.cast(decay, "float32")
        pairs = zip(self.averages[place], network.trainable_variables, strict=True)
        for average, weight in pairs:
            average.assign(decay * average + (1.0 - decay) * weight)

    def outputs(self, network: keras.layers.Layer, place: int, inputs: Any) -> Any:
        """What the network says with its averaged weights, in the mode of training.

        BatchNormalization takes the statistics of the batch; the network's own running
        ones stay as they are. Of its variables, the seeds of dropout alone move.

        Args:
            network: as of `update`.
            place: likewise.
            inputs: of the network.
        """
        weights = network.trainable_variables
        averages = [average.value for average in self.averages[place]]
        with keras.StatelessScope(zip(weights, averages, strict=True)) as scope:
            # Called as ever: layers within learn of `training` from the call.
            outputs = network(inputs, training=True)
        saved = {id(weight) for weight in network.weights}
        for seed in (one for one in network.variables if id(one) not in saved):
            if (moved := scope.get_current_value(seed)) is not None:
                seed.assign(moved)
        return outputs


def _trainable(model: Any) -> list[list[keras.Variable]]:
    return [network.trainable_variables for network in model.networks()]
