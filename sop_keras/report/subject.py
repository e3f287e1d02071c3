"""What a report is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sop_keras.data.datasets.dataset import Examples
from sop_keras.report.headline import Statistic
from sop_keras.report.page import Section
from sop_keras.report.run_labels import RunLabels


@dataclass(frozen=True)
class Subject:
    """Labels that were judged, and what is said of all of them.

    Args:
        title: of the page.
        summary: the line below it.
        doubts: why the labels' verdicts are not to be trusted; none if they are.
        labels: the labels.
        train: the examples that have them.
        class_names: one a class, in label order.
        statistics: the numbers at the page's head.
        settings: by name.
        history: a dict an epoch, as of `SavedRun`.
        views: as of `draw_all`.
        sections: what is found beside wrong labels.
    """

    title: str
    summary: str
    doubts: Sequence[str]
    labels: RunLabels
    train: Examples
    class_names: Sequence[str]
    statistics: Sequence[Statistic]
    settings: Mapping[str, str]
    history: Sequence[Mapping[str, float]]
    views: str
    sections: Sequence[Section]
