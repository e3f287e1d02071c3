"""Why a label looks wrong, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sop_keras.files.shown_text import shown
from sop_keras.report.run_labels import RunLabels

# Before the sign for per cent, so that it does not begin a line.
_NO_BREAK = "\N{NO-BREAK SPACE}"


class Reasons:
    """Says what the columns of the table of label issues say of single labels.

    Args:
        labels: of a run.
        class_names: one a class, in label order.
    """

    def __init__(self, labels: RunLabels, class_names: Sequence[str]):
        self._names = [f"“{shown(name)}”" for name in class_names]
        self._num_labels = len(labels)
        noise = labels.column("noise_score")
        self._noise = np.sort(noise[np.isfinite(noise)])

    def of(self, row: Mapping[str, Any], place: int) -> str:
        """Two or three sentences.

        Args:
            row: of the gallery.
            place: of the label, from the lowest quality on; the first is 0.
        """
        given, suggested = (self._names[row[key]] for key in ("given", "suggested"))
        texts = [
            f"The network gives the label {given} {_percent(row['givenProb'])} and "
            f"suggests {suggested} with {_percent(row['suggestedProb'])}.",
            f"By quality, {row['quality']:.3f}, the label has rank {place + 1:,} of "
            f"{self._num_labels:,} from below: "
            + ("an issue." if row["isIssue"] else "no issue."),
        ]
        if (noise := row["noise"]) is not None:
            below = np.searchsorted(self._noise, noise) / len(self._noise)
            texts.append(
                f"Its noise score, {noise:.2f}, is above that of {_percent(below)} of "
                "the labels."
            )
        return " ".join(texts)


def _percent(share: float) -> str:
    """A share in [0, 1] as text, with more digits where it is small."""
    if 0 < share < 0.0001:
        return f"less than 0.01{_NO_BREAK}%"
    return f"{100 * share:.{2 if share < 0.1 else 1}f}{_NO_BREAK}%"
