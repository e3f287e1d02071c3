"""Batches of examples that are chosen by their places, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
import tensorflow as tf

from sop_keras.augment.keyed_views import view_seeds
from sop_keras.data.batches.crop_loader import CropLoader
from sop_keras.data.batches.pipeline_parts import (
    BATCHES_AHEAD,
    DECODED_AHEAD,
    resized_crops,
    trained_on,
)
from sop_keras.data.batches.tensors import (
    in_parallel,
    numbered_places,
    with_cardinality,
)
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.encoded_images import EncodedImages


class PlannedBatches:
    """Makes augmented, standardised batches of examples, in any order.

    An example's view depends on the seed, the number of the batch's pass and the
    example's id alone.

    Args:
        examples: what there is to train on.
        dataset: the data set that they are from.
        seed: of augmentation, an integer in `[0, 2**64)`.
        augment: a key of `sop_keras.augment.names.AUGMENTATIONS`.
        second_augment: another one, for pairs of views; None for single ones.
        bad_images: what images that cannot be read are reported to.

    Raises:
        ValueError: if an id or a label is out of the data set's range.
    """

    def __init__(
        self,
        examples: Examples,
        dataset: Dataset,
        seed: SupportsIndex,
        augment: str,
        second_augment: str | None,
        bad_images: BadImages,
    ):
        names = [augment] if second_augment is None else [augment, second_augment]
        self._batch = trained_on(examples, dataset, names, seed, by_pass=True)
        self._examples = examples
        self._seeds = view_seeds(seed, len(names))
        self._is_resized = resized_crops(names)
        self._bad_images = bad_images
        self._images: tf.Tensor | None = None
        if not isinstance(examples.images, EncodedImages):
            with tf.device("CPU"):
                self._images = tf.constant(examples.images)

    def pipeline(
        self, numbers: Sequence[int], places: Sequence[np.ndarray]
    ) -> tf.data.Dataset:
        """The batches.

        Args:
            numbers: of each, that of its pass, `2 * epoch + network`.
            places: of the examples of each, integers `(n,)`.

        Returns:
            A data set as of `training_batches`. Images that cannot be read are left out
            of their batch; one of nothing else gets an example from elsewhere.
        """
        if self._images is None:
            pipeline = self._loader(numbers, places).pipeline(0, len(numbers))
            pipeline = pipeline.map(self._batch).prefetch(DECODED_AHEAD)
        else:
            pipeline = in_parallel(self._of_array(numbers, places), self._batch)
        return with_cardinality(pipeline, len(numbers))

    def _loader(
        self, numbers: Sequence[int], places: Sequence[np.ndarray]
    ) -> CropLoader:
        return CropLoader(
            self._examples,
            "train",
            self._bad_images,
            self._seeds,
            lambda step: (numbers[step], places[step]),
            never_empty=True,
            ahead=BATCHES_AHEAD,
            is_resized=self._is_resized,
        )

    def _of_array(
        self, numbers: Sequence[int], places: Sequence[np.ndarray]
    ) -> tf.data.Dataset:
        images, num_views = self._images, len(self._seeds)

        def originals(number: tf.Tensor, some: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return number, (tf.gather(images, some),) * num_views, some

        return in_parallel(numbered_places(numbers, places), originals)
