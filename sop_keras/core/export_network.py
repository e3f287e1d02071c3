"""A network as a file that serves predictions, without what it was trained with."""

from __future__ import annotations

from typing import Any

import keras


def export_network(
    network: keras.layers.Layer, filepath: Any, *args: Any, **kwargs: Any
) -> None:
    """`keras.Model.export` of a network, which may be a layer.

    Args:
        network: built.
        filepath: where to write.
        *args: as of `keras.Model.export`.
        **kwargs: likewise.

    Raises:
        ValueError: as in Keras, for a network that is not built.
    """
    if not isinstance(network, keras.Model):
        if not network.built:
            raise ValueError(
                "The backbone has not been built yet, so that the shape of its inputs "
                "is not known. Call fit() or predict() first."
            )
        (shape,) = network.get_build_config().values()
        network = keras.Sequential(
            [keras.Input(shape[1:], dtype=network.input_dtype), network]
        )
    network.export(filepath, *args, **kwargs)
