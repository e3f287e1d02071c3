"""Pairs of views of every image, as SOP+ trains on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from sop_keras.augment.keyed_views import keyed_views
from sop_keras.augment.layers import (
    UDA,
    AugmentationLayer,
    CropAndFlip,
    RandomLayer,
    checked_keys,
)


@keras.saving.register_keras_serializable(package="sop_keras")
class TwoViews(RandomLayer):
    """Turns images into pairs `(weak view, strong view)`, for `tf.data.Dataset.map`.

    An `SOPModel` with a `consistency_weight` compares its predictions on both views.
    The elements are those of `with_index`, batched or not, with or without the epoch
    that `with_epoch` adds:

    - with it, a view depends on (seed, epoch, id) alone: the same whatever batch,
      order, worker or restart an image is met in;
    - without it, views are drawn anew whenever an element passes.

    The two views draw independently of each other, even where both are of one kind.
    They are uint8, as the images are: scale them in the backbone, as here, or in a map
    that follows. Two `TwoViews` of equal seed draw the same pairs.

    Args:
        strong: a layer of this package, a `KerasAugmentation`, or any other function of
            `(images, ids, epoch, seed)`, called with their names. Defaults to `None`:
            `UDA()`.
        weak: likewise. Defaults to `None`: `CropAndFlip()`.
        seed: an integer in `[0, 2**64)`, of both views: it takes the place of seeds
            that layers were made with. Defaults to `0`.
        **kwargs: `name`, `dtype`, as in Keras.

    Raises:
        ValueError: if `strong` or `weak` cannot be called so: a class, a name, a layer
            of Keras.

    Example:
    ```python
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    dataset = with_epoch(with_index(dataset).shuffle(len(images)).batch(64))
    dataset = dataset.map(TwoViews(UDA()), num_parallel_calls=tf.data.AUTOTUNE)

    backbone = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    model = SOPModel(backbone, len(images), 10, consistency_weight=0.9)
    model.compile(optimizer=keras.optimizers.SGD(0.02, momentum=0.9))
    model.fit(dataset.prefetch(tf.data.AUTOTUNE), epochs=2)
    ```
    """

    def __init__(
        self,
        strong: Callable[..., Any] | None = None,
        weak: Callable[..., Any] | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(seed, **kwargs)
        self.strong = UDA() if strong is None else checked_view("strong", strong)
        self.weak = CropAndFlip() if weak is None else checked_view("weak", weak)

    def call(
        self, images: Any, y: Any, sample_weight: Any = None
    ) -> tuple[tuple[Any, Any], Any] | tuple[tuple[Any, Any], Any, Any]:
        """A pair in place of the images of an element.

        Args:
            images: uint8, shape `(batch_size, height, width, channels)`, or of a single
                image `(height, width, channels)`.
            y: a dict with the entry `"index"`, ids of shape `(batch_size,)`, and maybe
                `"epoch"`, one integer.
            sample_weight: of any kind. Defaults to `None`.

        Returns:
            `((weak, strong), y[, sample_weight])`, views of the shape of `images`, the
            rest as it came.

        Raises:
            ValueError: if y is no dict with an index, or its index or epoch are of
                another type or shape.
        """
        if not isinstance(y, Mapping) or "index" not in y:
            received = sorted(y) if isinstance(y, Mapping) else type(y).__name__
            raise ValueError(
                'TwoViews needs elements (x, {"label": y, "index": i}[, '
                "sample_weight]). Use with_index(dataset).batch(...).map(TwoViews()), "
                f"in this order. Received y: {received}"
            )
        epoch = y["epoch"] if "epoch" in y else self.fresh_epoch()
        ids, epoch = checked_keys(y["index"], epoch, tf.TensorShape(None))
        weak, strong = keyed_views(
            (self.weak, self.strong), (images, images), ids, epoch, self.seed
        )
        views = (weak, strong)
        return (views, y) if sample_weight is None else (views, y, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "strong": keras.saving.serialize_keras_object(self.strong),
            "weak": keras.saving.serialize_keras_object(self.weak),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A layer of these arguments."""
        config = dict(config)
        for name in ("strong", "weak"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def checked_view(name: str, view: Callable[..., Any]) -> Callable[..., Any]:
    """`view`, if it can be called with images, ids, an epoch and a seed.

    Args:
        name: of the argument.
        view: a layer of this package or a function.

    Raises:
        ValueError: if it is something else.
    """
    if isinstance(view, type):
        raise ValueError(
            f"`{name}` must be a layer, not its class. Received: {view.__name__}. Pass "
            f"{view.__name__}(...)."
        )
    if not callable(view):
        raise ValueError(
            f"`{name}` must be a view of sop_keras, such as UDA(), or a "
            f"function of (images, ids, epoch, seed). Received: {view!r}."
        )
    if isinstance(view, keras.layers.Layer) and not isinstance(view, AugmentationLayer):
        raise ValueError(
            f"`{name}` must draw by ids and epoch, which layers of Keras do not. "
            f"Received: {type(view).__name__}. Wrap it: KerasAugmentation(layer)."
        )
    return view
