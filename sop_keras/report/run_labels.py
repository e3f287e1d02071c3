"""The label issues of a run beside what is known of its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sop_keras.drawing.cells import MOST_CLASSES
from sop_keras.label_issues.corrected import match_examples
from sop_keras.label_issues.decisions import DECISION
from sop_keras.label_issues.noise_matrix import noise_matrix, transition_rates
from sop_keras.training.run_folder import LABEL_ISSUES, RunFolderError
from sop_keras.training.saved_run import SavedRun

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunLabels:
    """The labels that a run judged, from the lowest `label_quality` on.

    Those without a quality are not among them, but in `whole`: of examples that were
    never trained on, and of an audit those that people had decided to be wrong.

    Args:
        issues: their rows of the table of label issues, n of them.
        positions: their places in the run's training examples, shape `(n,)`.
        clean: their clean labels, shape `(n,)`; None where these are not known.
        num_classes: K.
        everything: the same of all rows of the table. Defaults to `None`: these are
            all.
    """

    issues: pd.DataFrame
    positions: np.ndarray
    clean: np.ndarray | None
    num_classes: int
    everything: RunLabels | None = None

    @classmethod
    def of_table(
        cls,
        issues: pd.DataFrame,
        positions: np.ndarray,
        clean: np.ndarray | None,
        num_classes: int,
    ) -> RunLabels:
        """The labels of a whole table, in any order.

        Args:
            issues: the table of label issues.
            positions: the places of its rows in the training examples, `(n,)`.
            clean: the clean labels of its rows, `(n,)`, or None.
            num_classes: K.
        """
        quality = issues["label_quality"].to_numpy()
        order = np.lexsort((issues["id"], quality))  # NaN comes last
        clean = None if clean is None else clean[order]
        whole = cls(issues.iloc[order], positions[order], clean, num_classes)
        count = int(np.isfinite(quality).sum())
        return cls(
            whole.issues.iloc[:count],
            whole.positions[:count],
            None if clean is None else clean[:count],
            num_classes,
            whole,
        )

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def whole(self) -> RunLabels:
        """All labels of the table, those without a quality last."""
        return self if self.everything is None else self.everything

    def column(self, name: str) -> np.ndarray:
        """A column of the table, shape `(n,)`."""
        return self.issues[name].to_numpy()

    @property
    def is_wrong(self) -> np.ndarray | None:
        """Which labels are wrong, bool `(n,)`; None where nobody knows."""
        return None if self.clean is None else self.column("given_label") != self.clean

    @property
    def is_decided_wrong(self) -> np.ndarray:
        """Which labels people had decided to be wrong before an audit, bool `(n,)`."""
        if DECISION not in self.issues:
            return np.zeros(len(self), bool)
        return ~self.issues[DECISION].isin(["", "given"]).to_numpy()

    @property
    def is_known(self) -> np.ndarray:
        """Of which labels something is known, bool `(n,)`."""
        return np.isfinite(self.column("label_quality")) | self.is_decided_wrong

    @property
    def estimated(self) -> np.ndarray:
        """The labels with those suggested for issues, or decided; else as given."""
        return np.where(
            self.column("is_label_issue") | self.is_decided_wrong,
            self.column("suggested_label"),
            self.column("given_label"),
        )

    def matrices(self) -> dict[str, np.ndarray]:
        """P(given label | true label), shape `(K, K)` each, estimated and as it is.

        They are of the whole table, the estimated one without what nothing is known of.
        Where the clean labels are not known, the estimated one alone; none of more than
        `MOST_CLASSES`.
        """
        if self.num_classes > MOST_CLASSES:
            return {}
        whole = self.whole
        given, known = whole.column("given_label"), whole.is_known
        pairs = {"estimated": (whole.estimated[known], given[known])}
        if whole.clean is not None:
            pairs["true"] = whole.clean, given
        return {
            name: transition_rates(noise_matrix(*labels, self.num_classes))
            for name, labels in pairs.items()
        }

    def frequent_changes(self, count: int) -> list[tuple[int, int, int]]:
        """The most frequent issues: given label, suggested label, how many, at most."""
        is_issue = self.column("is_label_issue")
        given = self.column("given_label")[is_issue].astype(np.int64)
        pairs = given * self.num_classes + self.column("suggested_label")[is_issue]
        kinds, counts = np.unique(pairs, return_counts=True)
        first = np.argsort(-counts, kind="stable")[:count]
        return [
            (int(kinds[i]) // self.num_classes, int(kinds[i]) % self.num_classes, n)
            for i, n in zip(first, counts[first].tolist(), strict=True)
        ]


def labels_of(run: SavedRun) -> RunLabels:
    """The labels of a run, with the verdicts in its label_issues.csv.

    Raises:
        FileNotFoundError: if the run has no such file.
        ValueError: if that file is damaged, or that of other data.
    """
    issues = run.label_issues()
    train, num_classes = run.data.train, run.data.dataset.num_classes
    try:
        positions = match_examples(train, issues, num_classes)
    except ValueError as error:
        raise RunFolderError(
            f"{run.folder / LABEL_ISSUES} is not of this run. {error}"
        ) from None
    clean = train.clean_labels
    clean = None if clean is None else clean[positions]
    return RunLabels.of_table(issues, positions, clean, num_classes)
