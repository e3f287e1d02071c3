"""The augmentations as Keras layers, for input pipelines of one's own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.augment.autoaugment import autoaugment
from sop_keras.augment.crop_and_flip import pad_crop_flip
from sop_keras.augment.cutout import FILL
from sop_keras.augment.uda import uda
from sop_keras.randomness.keyed import random_bits
from sop_keras.validation import check_integer, is_integer


class RandomLayer(keras.layers.Layer):
    """A layer of an input pipeline that may draw anew at every call.

    Args:
        seed: an integer in `[0, 2**64)`.
        **kwargs: `name`, `dtype`, as in Keras.
    """

    def __init__(self, seed: int, **kwargs: Any):
        # Keras would cast what is of a floating type, weights and labels included.
        super().__init__(autocast=False, **kwargs)
        self.built = True
        self.supports_jit = False  # its state stays on the CPU, see below
        self.seed = seed
        # Input pipelines run on the CPU, and cannot reach what is on a GPU.
        with tf.device("CPU"):
            self._generator = tf.random.Generator.from_seed(
                int(random_bits(seed, "fresh_epochs")) >> 1
            )

    def fresh_epoch(self) -> tf.Tensor:
        """A random number to draw by where there is no epoch: a uint64 scalar.

        No two calls get the same one, parallel calls included: the generator moves on
        in one step with the reading of its state, which a counter that is added to and
        then read does not.
        """
        return self._generator.uniform_full_int((), tf.uint64)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "seed": self.seed}


class AugmentationLayer(RandomLayer):
    """An augmentation of this package as a layer; see `UDA` for how it is called.

    It augments whenever it is called, at inference too.

    Args:
        augmentation: a function of `(images, ids, epoch, seed)` with its options, which
            are the constructor's other arguments.
        seed: an integer in `[0, 2**64)`.
        **kwargs: `name`, `dtype`, as in Keras.
    """

    def __init__(self, augmentation: functools.partial, seed: int, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self._augmentation = augmentation

    def call(
        self,
        images: Any,
        *,
        ids: Any = None,
        epoch: Any = None,
        seed: int | None = None,
    ) -> tf.Tensor:
        """A view of each image.

        Args:
            images: uint8, shape `(batch_size, height, width, channels)`, or of a single
                image `(height, width, channels)`.
            ids: integers, shape `(batch_size,)`, or the id of the single image, none
                negative. Defaults to `None`: draw anew at every call.
            epoch: integer, a scalar, not negative; goes with `ids`.
            seed: takes the place of the layer's. Defaults to `None`.

        Returns:
            uint8 tensor of the shape of `images`.

        Raises:
            ValueError: if `images` or `ids` are of another type or shape, or of `ids`
                and `epoch` one is missing.
        """
        images = tf.convert_to_tensor(images)
        if images.dtype != tf.uint8 or images.shape.rank not in (3, 4):
            raise ValueError(
                f"{type(self).__name__} needs uint8 images of shape (batch_size, "
                "height, width, channels) or (height, width, channels). Received: "
                f"{images.dtype.name} of shape {images.shape}. Scale and standardise "
                "after augmenting."
            )
        is_single = images.shape.rank == 3
        batch = images[None] if is_single else images
        if ids is None and epoch is None:
            ids, epoch = tf.range(tf.shape(batch)[0]), self.fresh_epoch()
        else:
            ids, epoch = checked_keys(ids, epoch, images.shape[:-3])
            ids = ids[None] if is_single else ids
        seed = self.seed if seed is None else seed
        views = self._augmentation(batch, ids, epoch, seed)
        return views[0] if is_single else views

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), **self._augmentation.keywords}


@keras.saving.register_keras_serializable(package="sop_keras")
class CropAndFlip(AugmentationLayer):
    """Pad, crop at random, flip at random: the weak view. See `pad_crop_flip`.

    It is called as `UDA` is, and belongs in the input pipeline as well.

    Args:
        seed: an integer in `[0, 2**64)`. Defaults to `0`.
        padding: how many black pixels on each side. Defaults to `None`: an eighth of
            the shorter side, 4 at 32 pixels, as published.
        flip: whether to flip at all; False for digits and text. Defaults to `True`.
        **kwargs: `name`, `dtype`, as in Keras.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        seed: int = 0,
        padding: int | None = None,
        flip: bool = True,
        **kwargs: Any,
    ):
        augmentation = functools.partial(
            pad_crop_flip, padding=checked_size("padding", padding), flip=flip
        )
        super().__init__(augmentation, seed, **kwargs)


@keras.saving.register_keras_serializable(package="sop_keras")
class UDA(AugmentationLayer):
    """UDA's RandAugment, then crop, flip and Cutout: a strong view. See `uda`.

    `layer(images)` draws anew at every call, as Keras' own preprocessing layers do.
    `layer(images, ids=ids, epoch=epoch)` gives the view of (seed, epoch, id): the same
    whatever batch, order, worker or restart an image is met in. Both work eagerly, in a
    `tf.function` and in `tf.data.Dataset.map`; where such a map runs calls in parallel,
    it is chance which call gets which of the fresh draws.

    Layers of equal seed draw the same, of equal ids in equal epochs or at equal calls;
    `TwoViews` keeps its two views apart.

    Images are uint8, batched or single, and so are views: scale them after. The layer
    augments whenever it is called, at inference too: it belongs in the input pipeline,
    not in the model.

    Args:
        seed: an integer in `[0, 2**64)`. Defaults to `0`.
        padding: how far the crop may shift, in pixels. Defaults to `None`: an eighth of
            the shorter side, 4 at 32 pixels, as published.
        flip: whether half the views are mirrored. Defaults to `True`.
        cutout_size: the side of the last step's square, in pixels; an odd side is
            rounded down to an even one; 0 for none. Defaults to `None`: half of the
            shorter side, 16 at 32 pixels, as published.
        fill: the colour of Cutout, 0 to 255. Defaults to CIFAR-10's mean, which is
            (almost) 0 once it is standardised.
        **kwargs: `name`, `dtype`, as in Keras.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    layer = UDA(seed=1)
    views = layer(images)
    same_views = layer(images, ids=ids, epoch=3)
    dataset = dataset.map(lambda x, y: (layer(x), y))
    ```
    """

    def __init__(
        self,
        seed: int = 0,
        padding: int | None = None,
        flip: bool = True,
        cutout_size: int | None = None,
        fill: Sequence[int] = FILL,
        **kwargs: Any,
    ):
        augmentation = functools.partial(
            uda,
            padding=checked_size("padding", padding),
            flip=flip,
            cutout_size=checked_size("cutout_size", cutout_size),
            fill=checked_fill(fill),
        )
        super().__init__(augmentation, seed, **kwargs)


@keras.saving.register_keras_serializable(package="sop_keras")
class AutoAugment(AugmentationLayer):
    """AutoAugment's CIFAR-10 policy, then crop, flip and Cutout: a strong view.

    See `autoaugment`. The layer is called as `UDA` is.

    Args:
        seed: an integer in `[0, 2**64)`. Defaults to `0`.
        padding: how far the crop may shift, in pixels. Defaults to `None`: an eighth of
            the shorter side, 4 at 32 pixels, as published.
        flip: whether half the views are mirrored. Defaults to `True`.
        cutout_size: the side of the last step's square, in pixels; an odd side is
            rounded down to an even one; 0 for none. Defaults to `None`: half of the
            shorter side, 16 at 32 pixels, as published.
        fill: the colour of Cutout, 0 to 255. Defaults to CIFAR-10's mean, which is
            (almost) 0 once it is standardised.
        **kwargs: `name`, `dtype`, as in Keras.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        seed: int = 0,
        padding: int | None = None,
        flip: bool = True,
        cutout_size: int | None = None,
        fill: Sequence[int] = FILL,
        **kwargs: Any,
    ):
        augmentation = functools.partial(
            autoaugment,
            padding=checked_size("padding", padding),
            flip=flip,
            cutout_size=checked_size("cutout_size", cutout_size),
            fill=checked_fill(fill),
        )
        super().__init__(augmentation, seed, **kwargs)


def checked_size(name: str, size: int | None) -> int | None:
    """A size in pixels as Python's integer, or None for that which fits the images.

    Args:
        name: of the argument.
        size: an integer from 0 on, or None.

    Raises:
        ValueError: if it is none of these.
    """
    if size is None:
        return None
    meaning = "the number of pixels, or None for what fits the images"
    return check_integer(name, size, 0, meaning=meaning)


def checked_fill(fill: Sequence[int]) -> tuple[int, ...]:
    """A colour as Python's integers.

    Args:
        fill: one integer, for grey images, or three, each from 0 to 255.

    Raises:
        ValueError: if it is something else.
    """
    color = tuple(fill) if np.iterable(fill) else ()
    valid = all(is_integer(value) and 0 <= value <= 255 for value in color)
    if len(color) not in (1, 3) or not valid:
        raise ValueError(
            "`fill` must be three integers from 0 to 255, such as (125, 122, 113), or "
            f"one for grey images, such as (128,). Received: fill={fill!r}."
        )
    return tuple(int(value) for value in color)


def checked_keys(
    ids: Any, epoch: Any, expected_shape: tf.TensorShape
) -> tuple[tf.Tensor, tf.Tensor]:
    """`ids` and `epoch` as tensors, if both are there and can key a batch's draws.

    Args:
        ids: integers of the expected shape.
        epoch: integer, a scalar.
        expected_shape: of `ids`: that of the batch, `()` for a single image.

    Raises:
        ValueError: if one is missing, or of another type or shape.
    """
    if ids is None or epoch is None:
        missing, given = ("ids", "epoch") if ids is None else ("epoch", "ids")
        raise ValueError(
            f"`{given}` came without `{missing}`. A view that can be repeated needs "
            "both: layer(images, ids=ids, epoch=epoch). Leave both out to draw anew."
        )
    ids, epoch = tf.convert_to_tensor(ids), tf.convert_to_tensor(epoch)
    if not ids.dtype.is_integer or not ids.shape.is_compatible_with(expected_shape):
        raise ValueError(
            f"`ids` must be integers of shape {expected_shape}, one for each image. "
            f"Received: {ids.dtype.name} of shape {ids.shape}."
        )
    if not epoch.dtype.is_integer or not epoch.shape.is_compatible_with(()):
        raise ValueError(
            "`epoch` must be one integer for all images. Received: "
            f"{epoch.dtype.name} of shape {epoch.shape}. In a pipeline, batch before "
            "with_epoch: with_epoch(dataset.batch(128))."
        )
    return ids, epoch
