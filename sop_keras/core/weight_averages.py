"""Running averages of the networks' weights, which are asked but never trained."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
from keras import ops

logger = logging.getLogger(__name__)


class WeightAverages(keras.layers.Layer):
    """A running average of each network's weights: avg <- d avg + (1 - d) w.

    They are variables, saved with the model, and take the bytes of the networks'
    trainable weights once more.

    Args:
        model: the `NoisyLabelModel` whose networks they are of.

    Raises:
        ValueError: if a network is not built, and so has no weights yet.
    """

    def __init__(self, model: Any, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
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
        ones, and the seeds of its dropout, stay as they are.

        Args:
            network: as of `update`.
            place: likewise.
            inputs: of the network.
        """
        outputs, _ = network.stateless_call(
            [average.value for average in self.averages[place]],
            [variable.value for variable in network.non_trainable_variables],
            inputs,
            training=True,
        )
        return outputs

    def _copy(self, name: str, variable: keras.Variable) -> keras.Variable:
        value = ops.convert_to_numpy(variable)
        return self.add_weight(
            name=name,
            shape=variable.shape,
            dtype=variable.dtype,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(value),
            trainable=False,
            autocast=False,
        )


def _trainable(model: Any) -> list[list[keras.Variable]]:
    return [network.trainable_variables for network in model.networks()]
