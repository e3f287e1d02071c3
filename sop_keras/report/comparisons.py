"""Images to compare one with: those that are most surely right, and similar ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sop_keras.data.datasets.dataset import Examples
from sop_keras.report.gallery import SIDE, picture
from sop_keras.report.run_labels import RunLabels

NUM_RIGHT = 5
"""How many images of a class are shown for right ones."""


class Comparisons:
    """Small pictures of training examples, a few of each class in memory.

    Args:
        labels: of a run.
        train: its training examples.
        folder: as for `gallery_rows`.
        similar: for ids of examples, the ids of others that look like them. Defaults to
            `None`: nobody knows.

    Raises:
        ValueError: for similar ones that are no training examples.
    """

    def __init__(
        self,
        labels: RunLabels,
        train: Examples,
        folder: Path | None,
        similar: Mapping[int, Sequence[int] | np.ndarray] | None = None,
    ):
        self._labels, self._train, self._folder = labels, train, folder
        self._similar = similar or {}
        self._of_class: dict[int, list[dict[str, Any]]] = {}
        self._order = np.argsort(train.ids)
        for some in self._similar.values():
            self._positions(np.asarray(some, np.int64))

    def of_classes(self, classes: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
        """Of each class, the `NUM_RIGHT` labels of the highest quality, no issues.

        Returns:
            By class, the best first: `id`, `given`, `picture` (a data URI), `width` and
            `height`; `text` in place of these where there are no images. What cannot be
            shown is left out.
        """
        for label in set(classes) - self._of_class.keys():
            is_right = self._labels.column("given_label") == label
            is_right &= ~self._labels.column("is_label_issue")
            best = self._labels.positions[is_right][::-1][:NUM_RIGHT]
            self._of_class[label] = self._pictures(best)
        return {label: self._of_class[label] for label in sorted(set(classes))}

    def similar_to(self, example: int) -> list[dict[str, Any]]:
        """What is known to look like an example, as `of_classes` gives it."""
        some = np.asarray(self._similar.get(example, ()), np.int64)
        return self._pictures(self._positions(some))

    def _positions(self, ids: np.ndarray) -> np.ndarray:
        known, order = self._train.ids, self._order
        places = np.searchsorted(known, ids, sorter=order).clip(max=len(known) - 1)
        positions = order[places]
        is_none = known[positions] != ids
        if is_none.any():
            raise ValueError(
                "`similar` must have ids of training examples. Received: "
                f"{ids[is_none.argmax()]}, which is none."
            )
        return positions

    def _pictures(self, positions: np.ndarray) -> list[dict[str, Any]]:
        found = []
        for position in positions.tolist():
            shown = picture(self._train, position, self._folder, SIDE)
            if "image" in shown or "text" in shown:
                if "image" in shown:
                    shown["picture"] = shown.pop("image")
                one = {"id": self._train.ids[position]}
                one["given"] = self._train.labels[position]
                found.append({name: int(value) for name, value in one.items()} | shown)
        return found
