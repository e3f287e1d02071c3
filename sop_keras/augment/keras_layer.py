"""Any image layer of Keras or keras-cv as an augmentation of this package."""

from __future__ import annotations

from typing import Any, SupportsIndex

import keras
import numpy as np
import tensorflow as tf

from sop_keras.augment.images import check_ids, check_images
from sop_keras.augment.keyed_draws import keyed_draws, trace
from sop_keras.randomness.keyed_tensors import random_bits_tensor


@keras.saving.register_keras_serializable(package="sop_keras")
class KerasAugmentation:
    """A preprocessing layer whose views depend on (seed, epoch, id) alone.

    Layers like `keras.layers.RandAugment` draw for a whole batch from generators that
    move on at every call. Here each image goes through the layer alone, and generators
    start, for this image, from bits of (seed, epoch, id). What follows:

    - An image's view is the same whatever batch, order, worker or restart it is met in,
      in parallel calls too: the generators' own states are neither read nor moved. The
      layer's own `seed` plays no part.
    - What the layer would draw once for a batch, as `keras.layers.RandAugment` draws
      its operations, is drawn for every image.
    - Layers that mix the images of a batch (MixUp, CutMix) find nothing to mix.
    - The numbers are the layer's: another version of Keras or of TensorFlow may give
      other views. Between eager calls and `tf.data`, which compute in other orders, a
      value near a half may be rounded to the other side.

    A layer is called on single images `(height, width, channels)`, a `keras.Model` such
    as a `keras.Sequential` of layers on batches of one; both with `training=True`, on
    float values from 0 to 255.

    Args:
        layer: a Keras layer without weights that takes images and gives images of the
            same shape, both with values from 0 to 255. Outputs are rounded and clipped:
            after `keras.layers.Rescaling(1 / 255)` they would be black or nearly so.

    Raises:
        ValueError: for what is no layer, or where it or a layer in it has another
            `value_range` or weights. On the first call: if the layer gives other
            shapes, makes weights, or draws random numbers that cannot be keyed (AugMix
            does, Keras' and keras-cv's).

    Example:
    ```python
    strong = KerasAugmentation(keras.layers.RandAugment(factor=0.3))
    views = strong(images, ids, epoch=3, seed=0)
    dataset = dataset.map(TwoViews(strong), num_parallel_calls=tf.data.AUTOTUNE)
    ```
    """

    def __init__(self, layer: keras.layers.Layer):
        if not isinstance(layer, keras.layers.Layer):
            raise ValueError(
                "`layer` must be a Keras layer, such as keras.layers.RandAugment(). "
                f"Received: {layer!r}. A function of (images, ids, epoch, seed) needs "
                "no wrapping."
            )
        _check_value_ranges(layer)
        _check_weights(layer)
        self.layer = layer
        self._states = layer.variables  # of its generators: there are no weights
        self._views: dict[tuple[int, ...], Any] = {}

    def __call__(
        self, images: Any, ids: Any, epoch: Any, seed: SupportsIndex
    ) -> tf.Tensor:
        """A view of each image.

        Args:
            images: uint8, shape `(batch_size, height, width, channels)`; height, width
                and channels must be known when the graph is built.
            ids: integers, shape `(batch_size,)`, none negative.
            epoch: integer, a scalar, not negative.
            seed: a Python integer in `[0, 2**64)`.

        Returns:
            uint8 tensor of the shape of `images`: the layer's outputs, rounded and
            clipped to 0 to 255.

        Raises:
            ValueError: as the class says, for images or ids of another type or shape,
                or if there is not one id for each image.
        """
        images = check_images(images)
        ids = check_ids(ids, images)[:, None]
        view = self._view_of(tuple(images.shape[1:]))
        numbers = np.arange(len(self._states) + 1)
        bits = random_bits_tensor(seed, "keras_layer", epoch, ids, numbers)
        # 31 bits each: TensorFlow's stateless draws take seeds modulo 2**31 - 2.
        keys = tf.cast(tf.bitwise.right_shift(bits, np.uint64(33)), tf.int64)
        return tf.map_fn(
            lambda image_and_keys: view(*image_and_keys),
            (images, keys),
            fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8),
        )

    def get_config(self) -> dict[str, Any]:
        """The argument of the constructor."""
        return {"layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> KerasAugmentation:
        """An augmentation by this layer."""
        return cls(keras.saving.deserialize_keras_object(config["layer"]))

    def _view_of(self, image_shape: tuple[int, ...]) -> Any:
        """The layer as a function of an image of this shape and keys, traced once."""
        if image_shape not in self._views:
            view, others = self._traced(image_shape)
            if len(self.layer.variables) > len(self._states):
                # It made generators as it was built, by this call.
                self._states = self.layer.variables
                view, others = self._traced(image_shape)
            if others:
                raise ValueError(
                    f"{type(self.layer).__name__} draws outside of its generators, by "
                    f"{', '.join(others)}: its views could not be repeated. Take "
                    "another layer, or wrap it in a function of (images, ids, epoch, "
                    "seed) of your own if views need not be the same after a restart."
                )
            self._views[image_shape] = view
        return self._views[image_shape]

    def _traced(self, image_shape: tuple[int, ...]) -> tuple[Any, list[str]]:
        """What `trace` gives for an image of this shape and a key for each state."""
        signature = (
            tf.TensorSpec(image_shape, tf.uint8),
            tf.TensorSpec((len(self._states) + 1,), tf.int64),
        )
        return trace(self._view, signature)

    def _view(self, image: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        states = [(s, tf.stack([keys[k], 0])) for k, s in enumerate(self._states)]
        pixels = tf.cast(image, tf.float32)
        with keras.StatelessScope(states), keyed_draws(self.layer, keys[-1]):
            if isinstance(self.layer, keras.Model):
                view = self.layer(pixels[None], training=True)[0]
            else:
                view = self.layer(pixels, training=True)
        _check_weights(self.layer)  # of layers that were built by this call
        if not view.shape.is_compatible_with(image.shape):
            raise ValueError(
                "A view must have the shape of its image. Received: "
                f"{view.shape} from {type(self.layer).__name__} for an image of shape "
                f"{image.shape}. Resize and crop images before, for all views alike."
            )
        view = tf.clip_by_value(tf.round(tf.cast(view, tf.float32)), 0.0, 255.0)
        return tf.ensure_shape(tf.cast(view, tf.uint8), image.shape)


def _check_value_ranges(layer: keras.layers.Layer) -> None:
    for part in layer._flatten_layers():
        value_range = tuple(getattr(part, "value_range", (0, 255)))
        if value_range != (0, 255):
            raise ValueError(
                "The layer must work on values from 0 to 255, as images are uint8. "
                f"Received: a {type(part).__name__} for values in {value_range}. Make "
                "it with value_range=(0, 255)."
            )


def _check_weights(layer: keras.layers.Layer) -> None:
    if layer.weights:
        owners = {
            type(part).__name__: None
            for part in layer._flatten_layers()
            if part._trainable_variables or part._non_trainable_variables
        }
        raise ValueError(
            "An augmentation must have no weights: nothing here would train or save "
            f"them. Received: {', '.join(owners)} in `layer`. Leave it to the backbone."
        )


def keras_randaugment() -> KerasAugmentation:
    """Keras' own RandAugment, with its defaults: two operations of factor 0.5.

    Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced
    Search Space" (CVPR Workshops 2020), as `keras.layers.RandAugment` has it; every
    image gets its own two operations.
    """
    return KerasAugmentation(keras.layers.RandAugment(value_range=(0, 255)))


def keras_cv_randaugment() -> KerasAugmentation:
    """keras-cv's RandAugment, with its defaults.

    Three of ten operations an image, each applied with probability 10/11: AutoContrast,
    Equalize, Solarize, Color, Contrast, Brightness, shears and shifts both ways; the
    magnitudes from N(0.5, 0.15^2), clipped to [0, 1]. Other settings, and other layers
    of keras-cv, go in as `KerasAugmentation(keras_cv.layers.RandAugment(...))`.

    Raises:
        ImportError: if keras-cv is not installed.
    """
    try:
        import keras_cv
    except ImportError as error:
        raise ImportError(
            "keras_cv_randaugment needs keras-cv, which is an extra of this package: "
            'pip install ".[keras-cv]", or pip install keras-cv.'
        ) from error
    try:
        tf.random.get_global_generator()
    except RuntimeError:
        # Under op determinism there is none until one is set. keras-cv's layers ask for
        # it when they are made; here they draw by keys instead.
        tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    return KerasAugmentation(keras_cv.layers.RandAugment(value_range=(0, 255)))
