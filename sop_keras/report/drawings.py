"""Which plots the report of a run has, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from sop_keras.report import plots
from sop_keras.report.page import Plot
from sop_keras.report.run_labels import RunLabels


@dataclass(frozen=True)
class _Drawing:
    name: str
    caption: str
    draw: Callable[[plots.Theme], Figure]


def draw_all(
    labels: RunLabels,
    class_names: Sequence[str],
    history: Sequence[Mapping[str, float]],
    views: str = "",
) -> list[Plot]:
    """The plots of a run; those that need clean labels, where they are known.

    Args:
        labels: of the run.
        class_names: one a class, in label order.
        history: a dict an epoch, as of `SavedRun`.
        views: of what the training accuracy is, as a part of a sentence. Defaults to
            `""`: of the examples as they are.
    """
    drawings = [
        *_of_training(labels, history, views),
        *_of_noise(labels, class_names),
        *_of(labels),
    ]
    return [
        Plot(
            one.name,
            one.caption,
            plots.png(one.draw(plots.LIGHT)),
            plots.png(one.draw(plots.DARK)),
        )
        for one in drawings
    ]


def _of_training(
    labels: RunLabels, history: Sequence[Mapping[str, float]], views: str
) -> Iterator[_Drawing]:
    is_wrong = labels.whole.is_wrong
    noise_rate = None if is_wrong is None else float(is_wrong.mean())
    yield _Drawing(
        "training_accuracy",
        f"Training accuracy by epoch,{views} under the given labels. A network that "
        "fits right labels alone ends at their share.",
        lambda theme: plots.draw_training(history, noise_rate, theme),
    )
    if any(name.endswith("_accuracy") for name in history[-1]):
        yield _Drawing(
            "test_accuracy",
            "Accuracy by epoch on examples that are not trained on.",
            lambda theme: plots.draw_tests(history, theme),
        )


def _of_noise(labels: RunLabels, class_names: Sequence[str]) -> Iterator[_Drawing]:
    bases = {
        "estimated": "if the class of each label issue is the suggested one",
        "true": "by the clean labels",
    }
    for kind, matrix in labels.matrices().items():
        yield _Drawing(
            f"noise_matrix_{kind}",
            f"How often each class (columns) was given for a class (rows), in %, "
            f"{bases[kind]}. Colours follow the root of the share.",
            lambda theme, kind=kind, matrix=matrix: plots.draw_matrix(  # type: ignore[misc]
                matrix, class_names, kind, theme
            ),
        )


def _of(labels: RunLabels) -> Iterator[_Drawing]:
    is_wrong = labels.is_wrong
    apart = "" if is_wrong is None else ", apart for right and for wrong labels"
    logarithmic = "The axis of counts is logarithmic."
    yield _Drawing(
        "label_quality",
        f"How many labels have which quality{apart}; below 0.5 a label is an issue. "
        f"{logarithmic}",
        lambda theme: plots.draw_histogram(labels, "label_quality", theme),
    )
    yield _Drawing(
        "noise_score",
        f"How many labels have how much estimated noise{apart}. {logarithmic}",
        lambda theme: plots.draw_histogram(labels, "noise_score", theme),
    )
    if is_wrong is not None and is_wrong.any():
        yield _Drawing(
            "precision_recall",
            "Wrong labels found when labels are looked at from the lowest quality on.",
            lambda theme: plots.draw_precision_recall(labels, theme),
        )
