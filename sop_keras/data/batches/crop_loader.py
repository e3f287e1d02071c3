"""Batches of crops, cut out of encoded images."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from sop_keras.data.batches.tensors import without_autotuning
from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.crops import NUM_TRIES, Draw, ResizedCrop
from sop_keras.data.images.decoding import UnreadableImageError, decode_crops
from sop_keras.data.images.encoded_images import EncodedImages
from sop_keras.randomness.keyed import random_bits

# The place of a crop is drawn from these many bits.
_HALF = np.uint64(32)

# At the end of the process: how long nobody may have called for it to be quiet, and
# when to stop waiting for that, in seconds.
_QUIET_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 20.0

# The crops of one image, a view each.
_Crops = list[np.ndarray]


@dataclass
class _Batch:
    """A batch that is worked on: positions, and the crops to come of each."""

    epoch: int
    positions: np.ndarray
    crops: list[Future[_Crops | None]]


class _Calls:
    """The calls of Python that tf.data's threads make, ended before Python ends.

    A thread that wants to enter an interpreter on its way out is never heard of again,
    and the destructor of its iterator would wait for it for ever: a process that was
    left with an iterator in use (by an error in `fit`, say) would not end.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._last = 0.0
        self._is_ending = False
        atexit.register(self._end)

    def __enter__(self) -> None:
        with self._changed:
            self._last = time.monotonic()
            if self._is_ending:
                raise RuntimeError("The process is ending.")
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def _end(self) -> None:
        """Refuse calls, until tf.data's buffers are full of refusals and it rests."""
        deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
        with self._changed:
            self._is_ending = True
            while (now := time.monotonic()) < deadline:
                quiet_at = max(self._last, now if self._running else 0) + _QUIET_SECONDS
                if quiet_at <= now:
                    break
                self._changed.wait(quiet_at - now)


_calls = _Calls()


class CropLoader:
    """Reads and decodes the images of batches, and cuts a crop out of each.

    Where a crop lies depends on (seed, epoch, id) alone. Images that cannot be read
    are reported and left out.

    The images of the next batches are worked on ahead, by threads of the loader's own,
    one for each core. `tf.data` would do without them: under TensorFlow's op
    determinism it runs Python functions one after another, and nothing ahead.

    Args:
        examples: with encoded images.
        split: what to call them in reports of bad images, such as `"train"`.
        bad_images: what such images are reported to.
        seeds: for each view, an integer in `[0, 2**64)` that the crops are drawn
            from, or None for the one in the middle.
        positions_of: which batch belongs to a step: its epoch and the places of its
            images among the examples. There may be none; then the batch is empty.
            Where replicas share a batch, the shard of each counts as a batch here.
        never_empty: whether a batch of images none of which is readable gets another
            one: the next of `examples` that can be read. Without, such a batch is
            empty.
        ahead: how many batches are worked on before they are asked for, at least 0.
        is_resized: for each view, whether its crops are drawn in size and shape as
            well (`ResizedCrop`). Defaults to none.
    """

    def __init__(
        self,
        examples: Examples,
        split: str,
        bad_images: BadImages,
        seeds: Sequence[int | None],
        positions_of: Callable[[int], tuple[int, np.ndarray]],
        *,
        never_empty: bool,
        ahead: int,
        is_resized: Sequence[bool] | None = None,
    ):
        assert isinstance(examples.images, EncodedImages)
        self._images = examples.images
        self._ids = examples.ids
        self._split = split
        self._bad_images = bad_images
        self._seeds = tuple(seeds)
        self._is_resized = is_resized or [False] * len(self._seeds)
        self._positions_of = positions_of
        self._never_empty = never_empty
        self._num_ahead = ahead
        self._pool = ThreadPoolExecutor(
            os.cpu_count() or 1, thread_name_prefix="read_images"
        )
        # What is worked on, by step: a future for each position.
        self._ahead: dict[int, _Batch] = {}

    def pipeline(self, first_step: int, end_step: int) -> tf.data.Dataset:
        """The batches of the steps from `first_step` to before `end_step`.

        Returns:
            A data set of (epoch, a tensor for each view, positions): int64, a scalar;
            uint8 `(n, image_size, image_size, 3)`; and the places of these images among
            the examples, int64 `(n,)`.
        """
        shape = (None, *self._images.shape[1:])
        types = [tf.int64, *(tf.uint8 for _ in self._seeds), tf.int64]
        # TensorFlow never lets go of a Python function: the loader, its threads and
        # what they hold should last as long as the data set does.
        reference = weakref.ref(self)

        def load(step: np.ndarray) -> tuple[np.ndarray, ...]:
            with _calls:
                loader = reference()
                if loader is None:
                    raise ValueError("The data set of this iterator is gone.")
                return loader.load(int(step), end_step)

        def batch(step: tf.Tensor) -> Any:
            epoch, *views, positions = tf.numpy_function(load, [step], types)
            views = tuple(tf.ensure_shape(view, shape) for view in views)
            return (
                tf.ensure_shape(epoch, ()),
                views,
                tf.ensure_shape(positions, (None,)),
            )

        pipeline = tf.data.Dataset.range(first_step, end_step).map(batch)
        options = tf.data.Options()
        # One call at a time: what is parallel about it is in the loader.
        options.experimental_optimization.map_parallelization = False
        pipeline = without_autotuning(pipeline.with_options(options))
        pipeline._loader = self  # data sets made of this one refer to it
        return pipeline

    def load(self, step: int, end_step: int) -> tuple[np.ndarray, ...]:
        """The batch of a step as arrays, with the steps after it begun."""
        # Begun ahead or not, a batch is the same: iterators do not disturb each other.
        batch = self._ahead.pop(step, None) or self._begin(step)
        for later in range(step + 1, min(step + 1 + self._num_ahead, end_step)):
            if later not in self._ahead:
                self._ahead[later] = self._begin(later)
        found = [future.result() for future in batch.crops]
        kept = [p for p, views in zip(batch.positions, found, strict=True) if views]
        crops = [views for views in found if views]
        if self._never_empty and len(batch.positions) and not kept:
            kept, crops = self._stand_in(batch)
        positions = np.array(kept, np.int64)
        epoch = np.array(batch.epoch, np.int64)
        if not kept:
            empty = np.empty((0, *self._images.shape[1:]), np.uint8)
            return epoch, *(empty for _ in self._seeds), positions
        views = (np.stack(view) for view in zip(*crops, strict=True))
        return epoch, *views, positions

    def _begin(self, step: int) -> _Batch:
        epoch, positions = self._positions_of(step)
        futures = [
            self._pool.submit(self._crops, int(position), draws)
            for position, draws in zip(
                positions, self._draws(epoch, positions), strict=True
            )
        ]
        return _Batch(epoch, positions, futures)

    def _stand_in(self, batch: _Batch) -> tuple[list[int], list[_Crops]]:
        """The next example that can be read, counted in a circle."""
        num_examples, last = len(self._ids), int(batch.positions[-1])
        for distance in range(1, num_examples):
            position = (last + distance) % num_examples
            (draws,) = self._draws(batch.epoch, np.array([position]))
            if (crops := self._crops(position, draws)) is not None:
                return [position], [crops]
        return self._bad_images.refuse(
            f"None of the {num_examples} images of the {self._split} examples can be "
            "used."
        )

    def _crops(self, position: int, draws: Sequence[Draw]) -> _Crops | None:
        """The crops of one image; None if it cannot be read."""
        images = self._images
        try:
            return decode_crops(
                images.read(position),
                images.resize,
                images.image_size,
                draws,
                images.decoding,
            )
        except (MemoryError, OSError, UnreadableImageError) as error:
            self._bad_images.leave_out(
                self._split,
                int(self._ids[position]),
                images.name(position),
                error,
                len(images),
            )
            return None

    def _draws(self, epoch: int, positions: np.ndarray) -> list[tuple[Draw, ...]]:
        """Where the crops of the images at `positions` lie: a draw for each view."""
        ids = self._ids[positions]
        views: list[Sequence[Draw]] = []
        for seed, is_resized in zip(self._seeds, self._is_resized, strict=True):
            if seed is None:
                views.append([None] * len(ids))
            elif is_resized:
                views.append(_resized_crops(seed, epoch, ids))
            else:
                # Crops were called windows when these streams were named; their
                # names stay, or all crops would be others.
                top = random_bits(seed, "window_top", epoch, ids) >> _HALF
                left = random_bits(seed, "window_left", epoch, ids) >> _HALF
                views.append(list(zip(top.tolist(), left.tolist(), strict=True)))
        return list(zip(*views, strict=True))


def _resized_crops(seed: int, epoch: int, ids: np.ndarray) -> list[ResizedCrop]:
    """A draw for each id."""
    tries = np.arange(NUM_TRIES)
    shapes = random_bits(seed, "resized_crop_shape", epoch, ids[:, None], tries)
    places = random_bits(seed, "resized_crop_place", epoch, ids)
    return [
        ResizedCrop([_halves(bits) for bits in row], _halves(place))
        for row, place in zip(shapes.tolist(), places.tolist(), strict=True)
    ]


def _halves(bits: int) -> tuple[int, int]:
    """The upper and the lower 32 of 64 bits."""
    return bits >> 32, bits & 0xFFFFFFFF
