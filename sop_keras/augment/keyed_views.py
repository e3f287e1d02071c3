"""The views of a batch that are drawn from one seed: one of every image, or a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

from sop_keras.randomness.keyed import random_bits


def view_seeds(seed: SupportsIndex, num_views: int) -> tuple[int, ...]:
    """A seed for each view.

    The first one is `seed` itself, so that the first view of a pair is the view that
    there is without pairs; the second is a seed of its own, so that the two are
    independent of each other even where both are of one kind.

    Args:
        seed: an integer in `[0, 2**64)`.
        num_views: 1 or 2.
    """
    return (int(seed), int(random_bits(seed, "strong_view")))[:num_views]


def keyed_views(
    augmentations: Sequence[Callable[..., Any]],
    originals: Sequence[Any],
    ids: Any,
    epoch: Any,
    seed: SupportsIndex,
) -> tuple[Any, ...]:
    """One view, or the pair `(weak, strong)`, of every image.

    Args:
        augmentations: of each view, a function of `(images, ids, epoch, seed)`, called
            with their names.
        originals: for each view, the images that it is drawn from: the same ones, or
            crops of the same ones.
        ids: of the images, integers of shape `(batch_size,)`.
        epoch: integer, a scalar.
        seed: an integer in `[0, 2**64)`, of all views.

    Returns:
        A view for each of the augmentations, as these give them.
    """
    seeds = view_seeds(seed, len(augmentations))
    return tuple(
        augment(images=images, ids=ids, epoch=epoch, seed=own_seed)
        for augment, images, own_seed in zip(
            augmentations, originals, seeds, strict=True
        )
    )
