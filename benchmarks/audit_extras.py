"""What features tell beside wrong labels: how well, and what it costs.

    python benchmarks/audit_extras.py --features=FILE.npy --labels=FILE.npy \
        --data_dir=DATA

The features are those of CIFAR-10's 50,000 training images in their original order, by
`feature_network("efficientnet_lite0", image_size=128)`, and the labels their own ones.
Images of no class (digits, noise of pixels, blots of colour, blank ones) and changed
copies of 1,000 images are made and embedded here, with Pillow and scikit-learn.

Without `--data_dir`, any features and labels will do; then images of no class are
examples of classes that are left out in turn, and no copies are made.

Times are those of the processor, over all cores.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from PIL import Image

from sop_keras.auditing.alike_classes import AlikeClasses, alike_classes
from sop_keras.auditing.class_pairs import cross_validated
from sop_keras.auditing.feature_rows import FeatureRows, sample, scale_of, unit
from sop_keras.auditing.near_duplicates import contradictory_groups, duplicate_groups
from sop_keras.auditing.neighbours import nearest
from sop_keras.auditing.outliers import find_outliers
from sop_keras.data.datasets.cifar import load_cifar10
from sop_keras.features.network import feature_network

COPIES, OUTLIERS, QUERIES = 1000, 100, 1000
NOISE = 0.4


@dataclass
class Rows:
    """Features in an array."""

    array: np.ndarray

    @property
    def num_features(self) -> int:
        """D."""
        return self.array.shape[1]

    def __len__(self) -> int:
        return len(self.array)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Some of them."""
        return self.array[positions]


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print the processor's seconds."""
    start = time.process_time()
    yield
    print(f"{what}: {time.process_time() - start:.1f} s", flush=True)


def area(above: np.ndarray, below: np.ndarray) -> float:
    """Under the ROC curve: how often one of `above` is above one of `below`."""
    below = np.sort(below)
    places = np.searchsorted(below, above) + np.searchsorted(below, above, "right")
    return float(places.mean()) / 2 / len(below)


def with_noise(
    labels: np.ndarray, noise: float, draw: np.random.Generator
) -> np.ndarray:
    """Some of the labels drawn evenly anew."""
    is_drawn = draw.random(len(labels)) < noise
    drawn = draw.integers(0, labels.max() + 1, len(labels))
    return np.where(is_drawn, drawn, labels)


def outliers(
    features: np.ndarray, labels: np.ndarray, others: dict[str, np.ndarray]
) -> None:
    """Clean data; images of no class among them; classes left out."""
    with timed("outliers"):
        found = find_outliers(Rows(features), labels)
    print(f"  marked of clean data: {found.is_outlier.mean():.2%}")
    for noise in (0.0, NOISE):
        draw = np.random.default_rng(0)
        if others:
            planted = np.concatenate([features, *others.values()])
            more = draw.integers(0, labels.max() + 1, len(planted) - len(features))
            given = with_noise(np.append(labels, more), noise, draw)
            found = find_outliers(Rows(planted), given)
            clean = found.outlier_score[: len(labels)]
            marked = found.is_outlier[: len(labels)].mean()
            print(f"  noise {noise}: {marked:.2%} of photographs marked")
            start = len(labels)
            for name, rows in others.items():
                there = slice(start, start + len(rows))
                start += len(rows)
                auroc = area(found.outlier_score[there], clean)
                marked = found.is_outlier[there].mean()
                print(f"    {name}: AUROC {auroc:.3f}, marked {marked:.0%}")
        areas = [left_out(features, labels, one, noise, draw) for one in range(10)]
        print(f"  noise {noise}: 100 of a class left out, AUROC {np.mean(areas):.3f}")


def left_out(
    features: np.ndarray,
    labels: np.ndarray,
    one: int,
    noise: float,
    draw: np.random.Generator,
) -> float:
    """AUROC of some examples of a class that no label knows; on a fifth of the data."""
    others = np.flatnonzero(labels != one)[::5]
    chosen = draw.choice(np.flatnonzero(labels == one), OUTLIERS, replace=False)
    given = labels[others] - (labels[others] > one)
    given = np.append(given, draw.integers(0, labels.max(), OUTLIERS))
    rows = Rows(features[np.append(others, chosen)])
    found = find_outliers(rows, with_noise(given, noise, draw))
    return area(found.outlier_score[-OUTLIERS:], found.outlier_score[:-OUTLIERS])


def duplicates(
    features: np.ndarray,
    labels: np.ndarray,
    copied: np.ndarray,
    copies: dict[str, np.ndarray],
) -> None:
    """Groups of the data; pairs that were missed; changed copies that were found."""
    with timed("near duplicates"):
        groups = duplicate_groups(Rows(features))
    different = contradictory_groups(groups, labels)
    print(f"  {(groups >= 0).sum()} examples in {groups.max() + 1} groups,")
    print(f"  {len(different)} of them with different labels")
    scale = scale_of(features[sample(Rows(features))])
    directions = unit(scale.standardised(features))
    there = found = 0
    for start in range(0, len(features), 5000):
        queries = np.arange(start, min(start + 500, len(features)))
        one, other = np.nonzero(directions[queries] @ directions.T >= 0.9)
        is_pair = queries[one] != other
        same = groups[queries[one]] == groups[other]
        there += is_pair.sum()
        found += (is_pair & same & (groups[other] >= 0)).sum()
    print(f"  of {there} ordered pairs at 0.9, {found} are in one group")
    for name, rows in copies.items():
        groups = duplicate_groups(Rows(np.concatenate([features, rows])))
        own = groups[copied]
        is_found = (own >= 0) & (groups[len(features) :] == own)
        print(f"  {name}: {is_found.mean():.1%} found")


def compared(features: np.ndarray, labels: np.ndarray) -> AlikeClasses:
    """All classes of some labels, as an audit compares them."""
    num_classes = int(labels.max()) + 1
    probabilities = cross_validated(Rows(features), labels, num_classes)
    return alike_classes(probabilities, labels)


def alike(features: np.ndarray, labels: np.ndarray) -> None:
    """The most alike classes: as they are, with noise, and with each class split."""
    draw = np.random.default_rng(1)
    largest = 0.0
    for noise in (0.0, NOISE):
        given = with_noise(labels, noise, draw)
        with timed("alike classes"):
            found = compared(features, given)
        print(f"  noise {noise}: most alike {found.pairs[0]}, {found.shares[0]:.3f}")
        smallest = 1.0
        for one in range(0, labels.max() + 1, 3):
            split = given.copy()
            is_half = (given == one) & (draw.random(len(given)) < 0.5)
            split[is_half] = labels.max() + 1
            found = compared(features, split)
            is_split = (found.pairs == [one, labels.max() + 1]).all(axis=1)
            smallest = min(smallest, float(found.shares[is_split][0]))
            largest = max(largest, float(found.shares[~is_split].max()))
        print(f"  noise {noise}: halves of a class, {smallest:.3f} at least")
    print(f"  any two other classes: {largest:.3f} at most")


Embed = Callable[[np.ndarray], np.ndarray]


def images_of_no_class(embed: Embed) -> dict[str, np.ndarray]:
    """Features of drawings and noise, by name."""
    from sklearn.datasets import load_digits

    draw = np.random.default_rng(2)
    digits = (load_digits().images[:OUTLIERS] * (255 / 16)).astype(np.uint8)
    digits = digits.repeat(4, axis=1).repeat(4, axis=2)[..., None].repeat(3, axis=3)
    noise = draw.integers(0, 256, (OUTLIERS, 32, 32, 3), dtype=np.uint8)
    blots = [
        np.asarray(
            Image.fromarray(one[:4, :4]).resize((32, 32), Image.Resampling.BICUBIC)
        )
        for one in noise[::-1]
    ]
    blank = noise[:, :1, :1].repeat(32, axis=1).repeat(32, axis=2)
    drawn = {"digits": digits, "noise": noise, "blots": np.stack(blots), "blank": blank}
    return {name: embed(images) for name, images in drawn.items()}


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """An image that was packed and unpacked."""
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=quality)
    return np.asarray(Image.open(packed))


def changed_copies(images: np.ndarray, embed: Embed) -> dict[str, np.ndarray]:
    """Features of changed copies, by what was changed."""
    shifted = np.concatenate([images[:, :, :1], images[:, :, :-1]], axis=2)
    changed = {
        "JPEG, quality 90": np.stack([jpeg(image, 90) for image in images]),
        "JPEG, quality 75": np.stack([jpeg(image, 75) for image in images]),
        "one pixel to the right": shifted,
        "8% brighter": np.clip(images * 1.08, 0, 255).astype(np.uint8),
        "mirrored": images[:, :, ::-1],
    }
    return {name: embed(copies) for name, copies in changed.items()}


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--features", required=True, help=".npy, shape (n, D)")
    parser.add_argument("--labels", required=True, help=".npy, shape (n,)")
    parser.add_argument("--data_dir", help="of tensorflow-datasets, with CIFAR-10")
    args = parser.parse_args()
    features = np.load(args.features).astype(np.float32, copy=False)
    labels = np.load(args.labels).astype(np.int64)
    rows: FeatureRows = Rows(features)
    copied = np.sort(np.random.default_rng(3).choice(len(rows), COPIES, replace=False))
    copies: dict[str, np.ndarray] = {}
    others: dict[str, np.ndarray] = {}
    if args.data_dir:
        network = feature_network("efficientnet_lite0", image_size=128)
        images = load_cifar10(args.data_dir).train.images

        def embed(some: np.ndarray) -> np.ndarray:
            return np.concatenate(
                [network.features(some[i : i + 50]) for i in range(0, len(some), 50)]
            )

        error = np.abs(embed(images[copied[:50]]) - features[copied[:50]]).max()
        print(
            f"features differ from those made here by {error:.1e} at most", flush=True
        )
        others, copies = (
            images_of_no_class(embed),
            changed_copies(images[copied], embed),
        )
    with timed(f"the 20 nearest of {QUERIES} examples"):
        nearest(rows, copied, 20)
    outliers(features, labels, others)
    duplicates(features, labels, copied, copies)
    alike(features, labels)


if __name__ == "__main__":
    main()
