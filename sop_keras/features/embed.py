"""Images to features, each of them once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sop_keras.data.batches.pipeline_parts import BATCHES_AHEAD
from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.encoded_images import EncodedImages
from sop_keras.features.contents import Contents, contents_of, digest_of_file
from sop_keras.features.network import FeatureNetwork
from sop_keras.features.store import FeatureStore, StoredRows
from sop_keras.files.mapped import take_rows
from sop_keras.files.shown_text import shown
from sop_keras.validation import check_integer

Progress = Callable[[int, int, float], None]
"""Called with the images done, the images to do, and the seconds since the first."""

_SPLIT = "given"
_CHANGED = "its file was changed while the features were made"


@dataclass(frozen=True)
class Counts:
    """What became of some images. `reused`, `changed`, `added` and bad ones are all.

    Args:
        embedded: images that the network saw, one for each new content.
        reused: images whose features were there.
        changed: new contents of files that were known with another one. Whoever is
            killed and goes on finds those that it had looked at among `added`.
        added: other images with new contents.
        gone: rows of the store whose content none of these images has.
    """

    embedded: int
    reused: int
    changed: int
    added: int
    gone: int


@dataclass(frozen=True)
class Embedded:
    """The features of some examples, in their order; in a file until they are taken.

    Args:
        stored: float32, shape `(num_rows, num_features)`: all rows of the store, mapped
            from its file. Not to be written to.
        rows: int64, shape `(n,)`: the row of each example; -1 for bad ones.
        bad_images: name and reason of each image that has none, in no order.
        counts: what became of the images.
    """

    stored: np.ndarray
    rows: np.ndarray
    bad_images: list[tuple[str, str]]
    counts: Counts

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_features(self) -> int:
        """D, the number of features of an image."""
        return self.stored.shape[1]

    @property
    def is_bad(self) -> np.ndarray:
        """Whether an image cannot be used, bool of shape `(n,)`."""
        return self.rows < 0

    def take(self, positions: np.ndarray) -> np.ndarray:
        """The features of some examples, read from the file.

        Args:
            positions: integers, shape `(m,)`, places among the examples.

        Returns:
            float32, shape `(m, num_features)`.

        Raises:
            ValueError: if one is that of a bad image.
        """
        rows = self.rows[positions]
        if len(rows) and rows.min() < 0:
            place = int(np.asarray(positions)[rows.argmin()])
            raise ValueError(
                f"The image at place {place} has no features, as it cannot be used. "
                "Leave out those of which `is_bad` is true."
            )
        return take_rows(self.stored, rows)


def embed(
    examples: Examples,
    network: FeatureNetwork,
    store: FeatureStore,
    *,
    batch_size: int = 64,
    max_bad_fraction: float = 0.0,
    progress: Progress | None = None,
) -> Embedded:
    """The features of all examples; made of those images that the store does not know.

    Images are told by their content. Those in files are decoded as for evaluation: the
    shorter side is made `network.resize` pixels long and `network.image_size` pixels
    are cut out of the centre, whatever sizes `examples` was made with. Arrays are taken
    whole (`FeatureNetwork` says how).

    Batches have one shape, are filled up with images that can be read, in the order of
    the examples, and are counted from those that the store lacks: a process that was
    killed goes on to the same bits, on CPUs and wherever else the network gives the
    same bits twice.

    Args:
        examples: the images. Labels are not looked at.
        network: what makes the features.
        store: where they are kept.
        batch_size: how many images the network sees at a time. Defaults to `64`.
        max_bad_fraction: how many of the images may be bad, in [0, 1]; they are left
            out. Defaults to `0.0`.
        progress: called after each batch. Defaults to `None`.

    Raises:
        TooManyBadImagesError: if more are bad.
        ValueError: if an argument is invalid, or the images have other channels than
            the network takes, or it gives features that are not finite.
        RunLockedError: if another process adds to the store.
        FeatureStoreError: if the store's folder holds something else.
        OutputError: if the features cannot be written.
        MemoryError: if there is too little memory for an image.

    Example:
    ```python
    network = feature_network("efficientnet_b0")
    embedded = embed(dataset.train, network, FeatureStore("features"))
    embedded.take(np.arange(8))  # (8, 1280)
    ```
    """
    batch_size = check_integer("batch_size", batch_size, 1)
    bad = _BadImages(max_fraction=max_bad_fraction)
    network.check_channels(examples.images.shape[-1])
    with store.opened(network.record(), network.num_features) as rows:
        contents = contents_of(examples, rows.known_files, bad, _SPLIT)
        rows.known_files.keep()
        before = rows.find(contents.digests)
        is_new = contents.can_read & (before < 0)
        pending = _first_of_each(contents.digests, is_new)
        if len(pending):
            rows.check_room(len(pending))
        batches = _batches(examples, contents, network, pending, batch_size, bad)
        _make(batches, network, rows, contents, batch_size, len(pending), progress)
        found = np.where(contents.can_read, rows.find(contents.digests), -1)
        _report_copies(examples, contents, found, bad)
        is_new &= found >= 0
        num_changed = int((is_new & contents.was_other).sum())
        counts = Counts(
            embedded=len(np.unique(found[is_new])),
            reused=int((before[contents.can_read] >= 0).sum()),
            changed=num_changed,
            added=int(is_new.sum()) - num_changed,
            gone=rows.num_good - len(np.unique(found[found >= 0])),
        )
        return Embedded(rows.features(), found, list(bad.found.values()), counts)


class _BadImages(BadImages):
    """Keeps name and reason of each as well, by id."""

    def __init__(self, max_fraction: float):
        super().__init__(max_fraction=max_fraction)
        self.found: dict[int, tuple[str, str]] = {}

    def report(
        self, split: str, identity: int, image: str, reason: str, num_images: int
    ) -> None:
        self.found[identity] = shown(image), shown(reason)
        super().report(split, identity, image, reason, num_images)


class _KnownContents(EncodedImages):
    """Encoded images whose digests were taken: they must still have that content."""

    def __init__(
        self, images: EncodedImages, digests: np.ndarray, resize: int, image_size: int
    ):
        super().__init__(resize, image_size)
        self._images = images
        self._digests = digests

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, positions: np.ndarray) -> EncodedImages:
        return _KnownContents(
            self._images[positions],
            self._digests[positions],
            self.resize,
            self.image_size,
        )

    def read(self, position: int) -> bytes:
        content = self._images.read(position)
        digest = np.array(digest_of_file(content), self._digests.dtype)
        if digest != self._digests[position]:
            raise OSError(_CHANGED)
        return content

    def name(self, position: int) -> str:
        return self._images.name(position)


def _first_of_each(digests: np.ndarray, is_wanted: np.ndarray) -> np.ndarray:
    """The place of the first image of each content that is wanted, in their order."""
    (wanted,) = np.nonzero(is_wanted)
    _, first = np.unique(digests[wanted], return_index=True)
    return wanted[np.sort(first)]


# Images of one shape, their places, and how many images were looked at by then.
_Batches = Iterator[tuple[np.ndarray, np.ndarray, int]]


def _batches(
    examples: Examples,
    contents: Contents,
    network: FeatureNetwork,
    pending: np.ndarray,
    batch_size: int,
    bad: BadImages,
) -> _Batches:
    """The images at some places, `batch_size` at a time but for the last ones."""
    images = examples.images
    if isinstance(images, EncodedImages):
        known = _KnownContents(
            images, contents.digests, network.resize, network.image_size
        )
        examples = Examples(examples.ids, known, examples.labels)
        yield from _decoded_batches(examples, pending, batch_size, bad)
        return
    for start in range(0, len(pending), batch_size):
        places = pending[start : start + batch_size]
        yield images[places], places, start + len(places)


def _decoded_batches(
    examples: Examples, pending: np.ndarray, batch_size: int, bad: BadImages
) -> _Batches:
    """Batches are full whatever images are bad, and so the same after a kill."""
    # Its decoder is an extra, which arrays do without.
    from sop_keras.data.batches.crop_loader import CropLoader

    loader = CropLoader(
        examples,
        _SPLIT,
        bad,
        [None],
        lambda step: (0, pending[step * batch_size : (step + 1) * batch_size]),
        never_empty=False,
        ahead=BATCHES_AHEAD,
    )
    steps = -(-len(pending) // batch_size)
    crops = np.empty((0, *examples.image_shape), np.uint8)
    places = np.empty(0, np.int64)
    for step in range(steps):
        _, more_crops, more_places = loader.load(step, steps)
        crops = np.concatenate([crops, more_crops])
        places = np.concatenate([places, more_places])
        num_looked = min((step + 1) * batch_size, len(pending))
        if len(places) >= batch_size:
            left = len(places) - batch_size
            yield crops[:batch_size], places[:batch_size], num_looked - left
            crops, places = crops[batch_size:], places[batch_size:]
    if len(places):
        yield crops, places, len(pending)


def _make(
    batches: _Batches,
    network: FeatureNetwork,
    rows: StoredRows,
    contents: Contents,
    batch_size: int,
    num_pending: int,
    progress: Progress | None,
) -> None:
    """Add a row for each image of the batches."""
    begun = time.monotonic()
    for images, places, num_looked in batches:
        batch = np.zeros((batch_size, *images.shape[1:]), np.uint8)
        batch[: len(images)] = images
        features = network.features(batch)[: len(images)]
        _check_finite(features, places)
        rows.append(features, contents.digests[places])
        if progress is not None:
            progress(num_looked, num_pending, time.monotonic() - begun)
    rows.commit()


def _check_finite(features: np.ndarray, places: np.ndarray) -> None:
    is_finite = np.isfinite(features).all(axis=1)
    if not is_finite.all():
        raise ValueError(
            "The network gives features that are not finite, first for the image at "
            f"place {places[is_finite.argmin()]}. No image does that to a sound "
            "network: are its weights, and `mean` and `std`, those that it was trained "
            "with, and is its precision enough?"
        )


def _report_copies(
    examples: Examples, contents: Contents, rows: np.ndarray, bad: _BadImages
) -> None:
    """Report the images that have the content of a bad one, too."""
    images = examples.images
    (places,) = np.nonzero(contents.can_read & (rows < 0))
    if not len(places):
        return
    assert isinstance(images, EncodedImages)
    ids = {int(place): int(examples.ids[place]) for place in places}
    reasons = {
        contents.digests[place]: bad.found[identity][1]
        for place, identity in ids.items()
        if identity in bad.found
    }
    for place, identity in ids.items():
        if identity not in bad.found:
            reason = reasons[contents.digests[place]]
            bad.report(_SPLIT, identity, images.name(place), reason, len(images))
