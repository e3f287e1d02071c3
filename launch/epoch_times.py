"""Table 5: what an epoch of each method costs, all methods taking turns."""

from __future__ import annotations

import csv
import dataclasses
import io
import statistics
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import tensorflow as tf
from paper import BASELINE, Table
from paper_tables import FAILED, OURS, PAPER
from terminal import say

from sop_keras import methods
from sop_keras.data.batches.epoch_size import num_in_epoch
from sop_keras.data.batches.pipelines import steps_per_epoch
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.images.bad_images import BadImages
from sop_keras.files.atomic import replacing, write_atomically
from sop_keras.training.execution import Execution
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import ExperimentData, load_data
from sop_keras.training.fit_calls import fit_calls
from sop_keras.training.network import compile_model, make_backbone
from sop_keras.training.progress import Progress

Turn = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Training:
    """A training that runs consist of: that of the method, or the one before it.

    Args:
        experiment: its settings.
        turn: trains an epoch of it.
    """

    experiment: Experiment
    turn: Turn


@dataclasses.dataclass
class Times:
    """What was measured of a method.

    Args:
        trainings: those of its run. Empty where one could not be made.
        seconds: of an epoch of each training, a list a turn.
        error: what ended it. Defaults to `None`: nothing did.
    """

    trainings: list[Training]
    seconds: list[list[float]] = dataclasses.field(default_factory=list)
    error: str | None = None

    def epoch(self, turn: int) -> float:
        """Seconds of an epoch of the method's own training, in one of the turns."""
        return self.seconds[turn][-1]

    def run(self, turn: int) -> float:
        """Seconds of a whole run, all of its trainings, by what one turn says."""
        of_each = zip(self.trainings, self.seconds[turn], strict=True)
        return sum(one.experiment.total_epochs * seconds for one, seconds in of_each)


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        title: the method, as the paper has it.
        epoch: seconds of an epoch, the median of turns. None where it was not timed, as
            are the next three.
        epoch_ratio: by that of cross entropy in the same turn, the median.
        hours: of a whole run of so many epochs.
        run_ratio: as `epoch_ratio`, of whole runs.
        paper_hours: the paper's. None where it has none.
        paper_ratio: by those of cross entropy.
        error: what ended it.
    """

    title: str
    epoch: float | None = None
    epoch_ratio: float | None = None
    hours: float | None = None
    run_ratio: float | None = None
    paper_hours: float | None = None
    paper_ratio: float | None = None
    error: str | None = None


def time_epochs(
    experiments: Mapping[str, Experiment],
    files: DataFiles,
    execution: Execution,
    rounds: int,
    folder: Path,
    after: Callable[[Mapping[str, Times]], None],
) -> dict[str, Times]:
    """Time epochs of all methods, which take turns, so that a slow spell hits all.

    The order turns round every time. A first turn, with the making of graphs, is not
    counted.

    Args:
        experiments: by method; all on the same data.
        files: where the data set is.
        execution: how it is computed.
        rounds: how many turns are counted.
        folder: where images that cannot be read are listed.
        after: called after each turn that is counted.
    """
    data = load_data(next(iter(experiments.values())), files)
    bad_images = BadImages(folder / "bad_images.csv", files.max_bad_fraction)
    found = {}
    for method, experiment in experiments.items():
        found[method] = Times([])
        with _kept(found[method]):
            found[method].trainings = trainings_of(
                experiment, data, execution, bad_images
            )
    for turn in range(rounds + 1):
        names = list(found) if turn % 2 else list(reversed(found))
        for method in names:
            times = found[method]
            if times.error is not None:
                continue
            seconds = []
            with _kept(times):
                for training in times.trainings:
                    started = time.perf_counter()
                    training.turn()
                    seconds.append(time.perf_counter() - started)
                shown = " + ".join(f"{one:.2f}" for one in seconds)
                say(f"turn {turn} of {rounds}: {method}: {shown} s")
                if turn:
                    times.seconds.append(seconds)
        if turn:
            after(found)
    return found


class _kept:  # noqa: N801 (used as a function)
    """Keeps what ends a method, so that the others go on."""

    def __init__(self, times: Times):
        self._times = times

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, *_: object) -> bool:
        if not isinstance(error, Exception):
            return False
        text = " ".join(str(error).split())
        is_plain = isinstance(error, (ValueError, OSError, ImportError))
        self._times.error = text if is_plain else f"{type(error).__name__}: {text}"
        say(f"error: {self._times.error}")
        return True


def trainings_of(
    experiment: Experiment,
    data: ExperimentData,
    execution: Execution,
    bad_images: BadImages,
) -> list[Training]:
    """The trainings of a run: the method's, after the one that it needs before.

    To have something to hand on, that one is trained on its first batch alone, in as
    many epochs as it has.
    """
    changes = experiment.method.first_run()
    before: list[Training] = []
    first = None
    if changes is not None:
        earlier = dataclasses.replace(experiment, **changes)
        first, turn = _prepared(earlier, data, execution, bad_images, None)
        before = [Training(earlier, turn)]
        some = dataclasses.replace(
            data, train=data.train.take(np.arange(len(data.train)) < earlier.batch_size)
        )
        start = Progress(earlier.seed)
        for call in fit_calls(first, earlier, execution, some, start, 1, bad_images):
            first.fit(**call, verbose=0)
    _, turn = _prepared(experiment, data, execution, bad_images, first)
    return [*before, Training(experiment, turn)]


def _prepared(
    experiment: Experiment,
    data: ExperimentData,
    execution: Execution,
    bad_images: BadImages,
    first: Any,
) -> tuple[Any, Turn]:
    """A model, and what trains an epoch of it three quarters into the training.

    Methods that begin otherwise than they go on are as they go on there.
    """
    num_examples = num_in_epoch(
        data.train.labels, data.dataset.num_classes, experiment.examples_per_class
    )
    steps = steps_per_epoch(num_examples, experiment.batch_size)
    backbone = make_backbone(experiment, data)
    model = compile_model(experiment, backbone, data, steps, execution, first)
    if model.method.in_turn:
        steps = model.method.most_batches(num_examples, experiment.batch_size)
    epoch = 3 * experiment.total_epochs // 4
    progress = Progress(experiment.seed, epoch)

    def turn() -> None:
        calls = fit_calls(
            model, experiment, execution, data, progress, steps, bad_images
        )
        model.fit(**{**next(calls), "epochs": epoch + 1}, verbose=0)

    return model, turn


def rows_of(table: Table, found: Mapping[str, Times]) -> list[Row]:
    """The paper's rows, in its order, and those of further methods."""
    published = {
        row.name: figure.mean for row in table.rows if (figure := row.figures[0])
    }
    names = {row.name: row.method for row in table.rows}
    for method in found:
        names.setdefault(methods.record(method).title, method)
    plain = methods.record(BASELINE).title
    rows = []
    for title, method in names.items():
        row = Row(title)
        if title in published:
            hours = published[title]
            row = dataclasses.replace(
                row, paper_hours=hours, paper_ratio=hours / published[plain]
            )
        if method in found:
            row = dataclasses.replace(row, **_measured(found, str(method)))
        rows.append(row)
    return rows


def _measured(found: Mapping[str, Times], method: str) -> dict[str, Any]:
    times = found[method]
    turns = range(len(times.seconds))
    if not turns:
        return {"error": times.error}
    measured: dict[str, Any] = {
        "epoch": statistics.median(map(times.epoch, turns)),
        "hours": statistics.median(map(times.run, turns)) / 3600,
        "error": times.error,
    }
    if (plain := found.get(BASELINE)) is not None and plain.seconds:
        both = range(min(len(times.seconds), len(plain.seconds)))
        measured["epoch_ratio"] = statistics.median(
            times.epoch(turn) / plain.epoch(turn) for turn in both
        )
        measured["run_ratio"] = statistics.median(
            times.run(turn) / plain.run(turn) for turn in both
        )
    return measured


def write(folder: Path, title: str, rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Write table.md, table.csv and table.png."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "table.md", markdown(title, rows, notes))
    write_atomically(folder / "table.csv", csv_text(rows))
    with replacing(folder / "table.png") as partial:
        draw(title, rows, notes, partial)


def markdown(title: str, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table as Markdown."""
    head = ["method", "epoch, s", "epoch / CE", "run, h", "run / CE"]
    head += ["paper, h", "paper / CE"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        ours = (row.epoch, row.epoch_ratio, row.hours, row.run_ratio)
        texts = ["failed" if row.error else _text(one) for one in ours]
        paper = [_text(row.paper_hours, ".1f"), _text(row.paper_ratio, ".1f")]
        lines.append([row.title, *texts, *paper])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    failed = [f"Failed: {row.title}: {row.error}" for row in rows if row.error]
    return "\n\n".join([f"# {title}", table, *notes, *failed]) + "\n"


def _text(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else f"{value:{form}}"


def csv_text(rows: Sequence[Row]) -> str:
    """A line a method."""
    text = io.StringIO()
    names = [field.name for field in dataclasses.fields(Row)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(dataclasses.asdict, rows))
    return text.getvalue()


def draw(title: str, rows: Sequence[Row], notes: Sequence[str], path: Path) -> None:
    """The cost of a run of each method, cross entropy's being 1, beside the paper's."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(
        figsize=(6.8, 1.7 + 0.32 * len(rows)), layout="constrained"
    )
    for line, row in enumerate(rows):
        if row.paper_ratio is not None:
            axis.errorbar(row.paper_ratio, line - 0.14, **PAPER)
        if row.run_ratio is not None:
            axis.errorbar(row.run_ratio, line + 0.14, **OURS)
        if row.error:
            where = {"transform": axis.get_yaxis_transform(), "ha": "right"}
            axis.text(0.98, line + 0.2, "failed", color=FAILED, fontsize=8, **where)
    for label, style in (("paper", PAPER), ("ours", OURS)):
        axis.errorbar([], [], xerr=[], label=label, **style)
    axis.set_yticks(range(len(rows)), [row.title for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
    axis.set_xlim(left=0)
    axis.set_xlabel("time of a whole run, cross entropy = 1")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize=9)
    figure.suptitle(title, fontsize=10)
    caption = "\n".join(textwrap.fill(note, 100) for note in notes)
    figure.supxlabel(caption, fontsize=8, ha="left", x=0.01)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def device() -> str:
    """What computes, as the table says it."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU"
    return str(tf.config.experimental.get_device_details(gpus[0])["device_name"])
