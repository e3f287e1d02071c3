"""The table of a comparison: a row for each method and noise; Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from cells import Cell, num_networks
from paper import BASELINE, Figure
from published import published

from sop_keras import methods

# The columns of a history that methods are compared by: the first that there is.
_SPLITS = {"test_accuracy": "test", "val_accuracy": "validation"}


@dataclass(frozen=True)
class Row:
    """What came out of the runs of one method, setting and noise.

    Accuracies are in percent, and over seeds; deviations are those of a sample, None
    for fewer than two runs.

    Args:
        noise: what was compared under, as readers know it.
        method: its name.
        title: the method and its setting, as readers know them.
        networks: how many networks it trains.
        epochs: of a training.
        seeds: complete runs.
        split: what accuracies are measured on: `"test"`, or `"validation"` where there
            is no test set. None of no complete run.
        last: accuracy after the last epoch of each, on that split.
        best: after the epoch where it was best.
        validation: after the last epoch, on the validation split, whose labels are the
            given ones where it is a part of the training examples.
        auroc, average_precision: of ranking the wrong labels first.
        seconds: of an epoch, the median: an epoch in which a process began, and made
            its graphs, takes longer. The first of each run is left out. Of runs of this
            comparison alone, as those of another may be of another machine.
        run_seconds: of a whole run, likewise.
        ratio, run_ratio: those by cross entropy's; None where it is not compared.
        paper: the paper's figure in these settings. None where it has none.
        error: what ended runs that failed. None where none did.
    """

    noise: str
    method: str
    title: str
    networks: int
    epochs: int
    seeds: int
    split: str | None
    last: tuple[float, ...]
    best: tuple[float, ...]
    validation: tuple[float, ...]
    auroc: tuple[float, ...]
    average_precision: tuple[float, ...]
    seconds: float | None
    run_seconds: float | None
    ratio: float | None = None
    run_ratio: float | None = None
    paper: Figure | None = None
    error: str | None = None


def rows_of(cells: Sequence[Cell], errors: Mapping[str, str]) -> list[Row]:
    """A row for each noise and setting, in the order of the cells.

    Args:
        cells: complete or not.
        errors: what ended those that failed, by their names.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        key = (cell.noise.title, cell.setting.title)
        groups.setdefault(key, []).append(cell)
    noises = list(dict.fromkeys(noise for noise, _ in groups))
    rows = [
        _row(group, errors)
        for noise in noises
        for (of, _), group in groups.items()
        if of == noise
    ]
    return [row for noise in noises for row in _with_ratios(rows, noise)]


def _row(cells: Sequence[Cell], errors: Mapping[str, str]) -> Row:
    first = cells[0]
    done, timed = [], []
    for cell in cells:
        result, history = cell.run.result, cell.run.history()
        if result is None or not history:
            continue
        done.append((result, history))
        if not cell.is_joined:
            timed.append((result, history))
    ends = [known for _, history in done if (known := accuracies(history))]
    splits = {_SPLITS[key] for _, rows in done if (key := accuracy_key(rows[-1]))}
    detection = [_detection(result) for result, _ in done]
    epochs = [row["seconds"] for _, rows in timed for row in rows[1:] or rows]
    return Row(
        noise=first.noise.title,
        method=first.setting.method,
        title=first.setting.title,
        networks=num_networks(first.setting.method),
        epochs=first.run.experiment.epochs,
        seeds=len(done),
        split=" or ".join(sorted(splits)) or None,
        last=tuple(one[-1] for one in ends),
        best=tuple(max(one) for one in ends),
        validation=tuple(
            100 * rows[-1]["val_accuracy"]
            for _, rows in done
            if "val_accuracy" in rows[-1]
        ),
        auroc=tuple(one for one, _ in detection if one is not None),
        average_precision=tuple(one for _, one in detection if one is not None),
        seconds=float(np.median(epochs)) if epochs else None,
        run_seconds=mean([result["seconds"] for result, _ in timed]),
        paper=published(first.run.experiment),
        error=_error(cells, errors),
    )


def _error(cells: Sequence[Cell], errors: Mapping[str, str]) -> str | None:
    """What ended the runs that failed, each reason once."""
    seeds: dict[str, list[str]] = {}
    for cell in cells:
        if cell.name in errors:
            seeds.setdefault(errors[cell.name], []).append(str(cell.seed))
    texts = [f"seed {', '.join(some)}: {reason}" for reason, some in seeds.items()]
    return " ".join(texts) or None


def accuracies(history: Sequence[Mapping[str, float]]) -> list[float]:
    """Percent, an epoch each: on the test set, or what there is in place of it."""
    return [100 * row[key] for row in history if (key := accuracy_key(row))]


def accuracy_key(row: Mapping[str, float]) -> str | None:
    """The column of the history that methods are compared by."""
    return next((key for key in _SPLITS if key in row), None)


def split_of(rows: Sequence[Row]) -> str:
    """What accuracies are measured on; the test set where no run is complete."""
    return " or ".join(sorted({row.split for row in rows if row.split})) or "test"


def split_notes(rows: Sequence[Row]) -> list[str]:
    """What must be known of what accuracies are measured on; nothing of a test set."""
    if split_of(rows) == "test":
        return []
    return [
        "Without a test set, accuracy is that on the validation split. Where that is a "
        "part of the training examples, its labels are the given ones, wrong ones too."
    ]


def _detection(result: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """AUROC and average precision; methods that tell nothing have their loss' AUROC."""
    found = result.get("detection") or {}
    auroc = found.get("auroc", result.get("noise_auroc"))
    return auroc, found.get("average_precision")


def _with_ratios(rows: Sequence[Row], noise: str) -> list[Row]:
    here = [row for row in rows if row.noise == noise]
    plain = next((row for row in here if row.method == BASELINE and row.seeds), None)
    return [
        replace(
            row,
            ratio=_ratio(row.seconds, plain and plain.seconds),
            run_ratio=_ratio(row.run_seconds, plain and plain.run_seconds),
        )
        for row in here
    ]


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def mean(values: Sequence[float]) -> float | None:
    """None of none."""
    return float(np.mean(values)) if values else None


def std(values: Sequence[float]) -> float | None:
    """Of a sample; None of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean_and_std(values: Sequence[float], form: str = ".2f") -> str:
    """As a table has it; a dash for none."""
    middle, spread = mean(values), std(values)
    if middle is None:
        return "-"
    return f"{middle:{form}}" + ("" if spread is None else f" +- {spread:{form}}")


def markdown(rows: Sequence[Row], title: str, notes: Sequence[str]) -> str:
    """A table for each noise, the highest mean of the last epoch in bold."""
    parts = [f"# {title}"]
    head = ["method", "runs", "last epoch, %", "best epoch, %", "validation, %"]
    head += ["epoch, s", "epoch / CE", "run / CE", "AUROC", "average precision"]
    head += ["paper, %"]
    for noise in dict.fromkeys(row.noise for row in rows):
        here = [row for row in rows if row.noise == noise]
        highest = max((row for row in here if row.last), key=_last, default=None)
        lines = [head, ["---"] * len(head)]
        for row in here:
            last = mean_and_std(row.last)
            lines.append(
                [
                    row.title,
                    ", ".join(
                        [str(row.seeds)] * bool(row.seeds or not row.error)
                        + ["failed"] * bool(row.error)
                    ),
                    f"**{last}**" if row is highest else last,
                    mean_and_std(row.best),
                    mean_and_std(row.validation),
                    _number(row.seconds),
                    _number(row.ratio),
                    _number(row.run_ratio),
                    mean_and_std(row.auroc, ".3f"),
                    mean_and_std(row.average_precision, ".3f"),
                    row.paper.text if row.paper else "-",
                ]
            )
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts += [f"## {noise[0].upper()}{noise[1:]}", text]
    parts += _chosen(rows)
    parts += [*notes, *split_notes(rows), *paper_notes(rows)]
    parts += _failed(rows)
    return "\n\n".join(parts) + "\n"


def paper_notes(rows: Sequence[Row]) -> list[str]:
    """What must be known of the paper's figures in these rows, each note once."""
    figures = [row.paper for row in rows if row.paper]
    return list(dict.fromkeys(figure.note for figure in figures if figure.note))


def _failed(rows: Sequence[Row]) -> list[str]:
    """What failed, methods of one reason together."""
    titles: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.error:
            titles.setdefault((row.noise, row.error), []).append(row.title)
    return [
        f"Failed under {noise}: {', '.join(some)}: {error}"
        for (noise, error), some in titles.items()
    ]


def _last(row: Row) -> float:
    return float(np.mean(row.last))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _chosen(rows: Sequence[Row]) -> list[str]:
    """Of methods with several settings, which one the validation split would choose."""
    texts = []
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.noise, row.method), []).append(row)
    for (noise, method), group in groups.items():
        known = [row for row in group if row.validation]
        if len(group) > 1 and len(known) == len(group):
            best = max(known, key=lambda row: float(np.mean(row.validation)))
            texts.append(
                f"Of {len(group)} settings of {methods.record(method).title} under "
                f"{noise}, the validation split chooses: {best.title}."
            )
    return texts


def csv_text(rows: Sequence[Row]) -> str:
    """A line a row; of what is over seeds, mean and deviation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    lines = [_cells(row) for row in rows]
    writer.writerow(lines[0])
    writer.writerows(line.values() for line in lines)
    return text.getvalue()


def _cells(row: Row) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if isinstance(value, tuple):
            cells[f"{field.name}_mean"] = mean(value)
            cells[f"{field.name}_std"] = std(value)
        elif field.name == "paper":
            cells["paper_mean"] = value and value.mean
            cells["paper_std"] = value and value.std
            cells["paper_note"] = value and value.note
        else:
            cells[field.name] = value
    return cells


def epochs_text(cells: Sequence[Cell]) -> str:
    """Every epoch of every run, as CSV."""
    text = io.StringIO()
    own = ("noise", "method", "setting", "seed")
    columns = ("epoch", "seconds", "loss", "accuracy", "val_accuracy", "test_accuracy")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*own, *columns])
    for cell in cells:
        setting = cell.setting
        names = [cell.noise.name, setting.method, " ".join(setting.texts), cell.seed]
        for row in cell.run.history():
            writer.writerow([*names, *(row.get(column) for column in columns)])
    return text.getvalue()
