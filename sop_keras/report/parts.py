"""The examples of a report: the first ones in its page, the others in files beside it.

A page of a file may not fetch, but it may have scripts: each of the files is one that
hands its examples to the page. They are made and written one after another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sop_keras.data.datasets.dataset import Examples
from sop_keras.files.atomic import explained, replacing
from sop_keras.report.comparisons import Comparisons
from sop_keras.report.gallery import OUTSIDE, rows_at
from sop_keras.report.page import First, json_for_script, shown_row
from sop_keras.report.reasons import Reasons
from sop_keras.report.run_labels import RunLabels

NUM_FIRST = 200
"""How many examples are in the page."""

PART_SIZE = 250
"""How many are in each file beside it; the last one may have fewer."""

_PART = re.compile(r"examples-([1-9][0-9]*)\.js")


@dataclass(frozen=True)
class ReportExamples:
    """Makes the examples of a report.

    Args:
        labels: of the run.
        train: its training examples.
        class_names: one a class, in label order.
        num_examples: how many to show; fewer where there are fewer.
        folder: as for `gallery_rows`.
        comparisons: what each is shown beside.
        section_ids: of the sections' examples, which are in the page whatever their
            quality. Defaults to none.
    """

    labels: RunLabels
    train: Examples
    class_names: Sequence[str]
    num_examples: int
    folder: Path | None
    comparisons: Comparisons
    section_ids: Sequence[int] = ()

    def __len__(self) -> int:
        return min(self.num_examples, len(self.labels))

    @property
    def key(self) -> str:
        """What decisions on these labels are kept under in the browser."""
        digest = hashlib.sha256()
        for name in ("id", "given_label", "suggested_label", "label_quality"):
            digest.update(np.ascontiguousarray(self.labels.column(name)).tobytes())
        for name in self.class_names:
            digest.update(name.encode(errors="backslashreplace") + b"\0")
        return digest.hexdigest()[:32]

    def first(self) -> First:
        """What is in the page."""
        rows = self._rows(np.arange(min(NUM_FIRST, len(self))))
        places = places_of(self.labels, self.section_ids)
        more_rows = self._rows(places[places >= len(rows)])
        return First(
            rows=rows,
            more_rows=more_rows,
            right_ones=self.comparisons.of_classes(_classes([*rows, *more_rows])),
            later_ids=self.labels.column("id")[len(rows) : len(self)].tolist(),
            part_size=PART_SIZE,
            key=self.key,
        )

    def write_others(self, folder: Path, first: First) -> int:
        """Write what is not in the page, and remove what another report left.

        Memory: that of a part, and small pictures of each class.

        Args:
            folder: for the files, `examples-1.js` and so on.
            first: what is in the page.

        Returns:
            How many of their pictures are left out, as they are in another folder.

        Raises:
            OutputError: if something cannot be written.
        """
        reasons = Reasons(self.labels, self.class_names)
        num_left_out = number = 0
        for start in range(len(first.rows), len(self), PART_SIZE):
            number += 1
            stop = min(start + PART_SIZE, len(self))
            rows = self._rows(np.arange(start, stop), reasons)
            classes = _classes(rows) - first.right_ones.keys()
            content = {
                "rows": [shown_row(row) for row in rows],
                "rightOnes": self.comparisons.of_classes(classes),
            }
            call = (
                f'addReportExamples("{first.key}",{number},{json_for_script(content)});'
            )
            with replacing(folder / f"examples-{number}.js") as partial:
                partial.write_bytes(f"{call}\n".encode("ascii"))
            num_left_out += num_outside(rows)
        for path in folder.iterdir():
            found = _PART.fullmatch(path.name)
            if found and int(found[1]) > number:
                with explained(path):
                    path.unlink()
        return num_left_out

    def _rows(
        self, places: np.ndarray, reasons: Reasons | None = None
    ) -> list[dict[str, Any]]:
        reasons = reasons or Reasons(self.labels, self.class_names)
        rows = rows_at(self.labels, self.train, places, self.folder)
        for place, row in zip(places.tolist(), rows, strict=True):
            row["reason"] = reasons.of(row, place)
            if similar := self.comparisons.similar_to(row["id"]):
                row["similar"] = similar
        return rows


def places_of(labels: RunLabels, ids: Sequence[int]) -> np.ndarray:
    """The places of some examples by quality, in their order, int64.

    Those that are not among the labels, as a person has decided on them or the file
    that names them is damaged, are left out; what is named twice is there once.
    """
    wanted = np.array(list(dict.fromkeys(ids)), np.int64)
    known = labels.column("id")
    if not len(known):
        return np.empty(0, np.int64)
    order = np.argsort(known)
    places = order[
        np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)
    ]
    return places[known[places] == wanted]


def num_outside(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many pictures are left out, as their files are in another folder."""
    return sum(row.get("problem") == OUTSIDE for row in rows)


def _classes(rows: Sequence[dict[str, Any]]) -> set[int]:
    return {row[key] for row in rows for key in ("given", "suggested")}
