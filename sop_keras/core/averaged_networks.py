"""Averages of the networks' weights over a training, which predict in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from sop_keras.core.averaging import Averaging
from sop_keras.core.weight_copies import WeightCopies

_NOT_BEGUN = -1


class AveragedNetworks(WeightCopies):
    """The mean of each network's weights after its steps, which training never sees.

    With W_n = d W_(n-1) + 1 and W_0 = 0, after a network's n-th step

        avg <- avg + (w - avg) / W_n

    which is the mean that `Averaging` has. All weights of the network are averaged, by
    the same numbers: moving means and variances of BatchNormalization, too, as with
    `use_buffers=True` of PyTorch's `AveragedModel`. They need no pass over the data,
    and nothing that a checkpoint does not hold. What does not change stays as it is to
    the bit; what is no floating-point number is that of the last step. A step that is
    not taken (float16 overflows, gradients accumulate, the method skips it) is none.

    The averages take the bytes of the networks' weights once more.

    Keras' own `use_ema` of an optimizer leaves out BatchNormalization, has no last
    epochs, overwrites the weights that are trained at the end of each call of `fit`,
    and its `SwapEMAWeights` gives them back with other last digits.

    Args:
        model: the `NoisyLabelModel` whose networks they are of.
        averaging: what they are means of.

    Raises:
        ValueError: if a network is not built, and so has no weights yet.
    """

    def __init__(self, model: Any, averaging: Averaging, **kwargs: Any):
        super().__init__(**kwargs)
        networks = model.networks()
        if not all(network.built for network in networks):
            raise ValueError(
                "`weight_average` averages the weights of the backbone, and one that "
                "is not built has none yet. Build it first: "
                "backbone.build(input_shape)."
            )
        self._averaging = averaging
        self.averages = [
            [self._copy(f"average_{place}_{n}", w) for n, w in enumerate(one.weights)]
            for place, one in enumerate(networks)
        ]
        self.totals = [
            self._scalar(f"total_{place}", 0.0, "float32")
            for place in range(len(networks))
        ]
        # The epoch that they began before: an epoch that is resumed goes on with them.
        begun = _NOT_BEGUN if averaging.epochs else 0
        self.begun = self._scalar("begun", begun, "int64")
        self.built = True

    def callback(self, epochs: int, first: int = 0) -> keras.callbacks.Callback:
        """What `fit` calls at epochs, so that the averages are of the right ones.

        Args:
            epochs: of the whole training.
            first: before which epoch networks start anew, if they do. Defaults to `0`.
        """
        return _AtEpochs(self, self._averaging.begin(epochs, first), epochs)

    def begin_epoch(self, begin: int, epoch: int) -> None:
        """Forget what steps before epoch `begin` brought."""
        begun = begin if epoch >= begin else _NOT_BEGUN
        if begun != int(ops.convert_to_numpy(self.begun)) or begun == _NOT_BEGUN:
            self.begun.assign(begun)
            for total in self.totals:
                total.assign(0.0)

    def end_training(self) -> None:
        """Have another training's last epochs begin anew."""
        if self._averaging.epochs is not None:
            self.begun.assign(_NOT_BEGUN)

    def update(self, network: keras.layers.Layer, place: int, is_step: Any) -> None:
        """Take the weights of a network after a batch into account.

        Args:
            network: the network.
            place: its place among the model's.
            is_step: whether it has made a step, a boolean scalar.
        """
        is_counted = ops.logical_and(is_step, self.begun.value > _NOT_BEGUN)
        old_total = self.totals[place].value
        total = self._averaging.decay * old_total + 1.0

        def averaged(average: Any, weight: Any) -> Any:
            if not keras.backend.is_float_dtype(weight.dtype):
                return weight
            mean = average + (weight - average) / ops.cast(total, weight.dtype)
            return ops.where(total > 1.0, mean, weight)

        olds = [one.value for one in self.averages[place]]
        news = [
            ops.where(is_counted, averaged(old, weight.value), old)
            for old, weight in zip(olds, network.weights, strict=True)
        ]
        news.append(ops.where(is_counted, total, old_total))
        variables = [*self.averages[place], self.totals[place]]

        def assign_all(strategy: Any, news: Any) -> None:
            for variable, new in zip(variables, news, strict=True):
                strategy.extended.update(
                    variable.value, lambda one, new: one.assign(new), args=(new,)
                )

        tf.distribute.get_replica_context().merge_call(assign_all, args=(news,))

    def outputs(self, network: keras.layers.Layer, place: int, inputs: Any) -> Any:
        """What the averaged network says; before the first step, the network itself.

        Args:
            network: as of `update`.
            place: likewise.
            inputs: of the network.
        """
        values = self._values(network, place)
        with keras.StatelessScope(zip(network.weights, values, strict=True)):
            return network(inputs)

    def networks(
        self, networks: Sequence[keras.layers.Layer]
    ) -> list[keras.layers.Layer]:
        """The averaged networks as layers of their own.

        Args:
            networks: the first ones of the model's, or all.

        Raises:
            ValueError: for a network that Keras cannot copy.
        """
        copies = []
        for place, network in enumerate(networks):
            copies.append(_copy_of(network))
            values = self._values(network, place)
            copies[-1].set_weights([ops.convert_to_numpy(one) for one in values])
        return copies

    def _values(self, network: keras.layers.Layer, place: int) -> list[Any]:
        has_begun = self.totals[place].value > 0.0
        pairs = zip(self.averages[place], network.weights, strict=True)
        return [
            ops.where(has_begun, average.value, weight.value)
            for average, weight in pairs
        ]

    def _scalar(self, name: str, value: float, dtype: str) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=(),
            dtype=dtype,
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
        )


class _AtEpochs(keras.callbacks.Callback):
    """Tells averages of epochs.

    Args:
        averaged: the averages.
        begin: the first epoch that they are of.
        epochs: of the whole training.
    """

    def __init__(self, averaged: AveragedNetworks, begin: int, epochs: int):
        super().__init__()
        self._averaged, self._begin, self._epochs = averaged, begin, epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin with the first one."""
        self._averaged.begin_epoch(self._begin, epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """End with the last one."""
        if epoch + 1 == self._epochs:
            self._averaged.end_training()


def _copy_of(network: keras.layers.Layer) -> keras.layers.Layer:
    try:
        if isinstance(network, keras.Model):
            copy = keras.models.clone_model(network)
        else:
            copy = type(network).from_config(network.get_config())
        if not copy.built:
            copy.build_from_config(network.get_build_config())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"What is deployed is a copy of the {type(network).__name__} with averaged "
            "weights, and Keras cannot make one: get_config() of its class must have "
            "all that the constructor takes, and the constructor take all of that, "
            "**kwargs too."
        ) from error
    return copy
