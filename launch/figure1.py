"""The paper's Figure 1: accuracy per epoch, SOP against cross entropy.

    python launch/figure1.py --flagfile=fig1_cpu.flags --data_dir=DATA
    python launch/figure1.py --flagfile=fig1_40_sop.flags --method=sop,ce

Runs, or resumes, the flagfile's experiment for every method, noise rate and seed, each
in a folder of its own, then writes figure1.png and figure1.csv (all epochs of all
runs). Complete runs are not run again: several processes may do a part of the seeds or
rates each, and a last one draw them all.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import command
import flagfiles
import numpy as np
import train_flags
from absl import flags
from planned_run import PlannedRun
from terminal import say

from sop_keras import methods
from sop_keras.files.atomic import replacing

# What the columns and the runs of a curve say instead of these flags.
INSTEAD = {"seed": "seeds", "noise_rate": "noise_rates"}

# Of the methods in their order, the default's first; after the last one from the start.
COLORS = ("#1f5fbf", "#c0392b", "#1e8449", "#8e44ad", "#d68910", "#117a8b", "#555555")
LINES = ("-", "--", "-.", ":")


def define_flags() -> flags.FlagValues:
    """New flags of this command: those of launch/train.py, and its own."""
    values = train_flags.define()
    for name, default, text in (
        ("noise_rates", ["0", "0.2", "0.4"], "Columns of the figure."),
        ("seeds", ["0", "1", "2"], "Runs of each curve."),
    ):
        flags.DEFINE_list(name, default, text, **command.own(values))
    flags.DEFINE_string(
        "figure",
        None,
        "The picture's file; figure1.png in --output_dir if unset.",
        **command.own(values),
    )
    for name, are_right, expected in (
        (
            "noise_rates",
            lambda given: _are_different(given, float, 1),
            "must be different numbers from 0 to 1, like 0,0.2,0.4",
        ),
        (
            "seeds",
            lambda given: _are_different(given, int, 2**32 - 1),
            "must be different integers, at least 0 and below 2**32, like 0,1,2",
        ),
        (
            "noise",
            lambda given: given != "none",
            "the runs of all --noise_rates would be the same; draw noise, as "
            "--noise=symmetric does (--noise_rates=0: none of it)",
        ),
    ):
        flags.register_validator(name, are_right, expected, values)
    return values


def _are_different(texts: list[str], number: Callable[[str], float], most: int) -> bool:
    """Whether there are numbers, all different, from 0 to `most`."""
    try:
        numbers = [number(text) for text in texts]
    except ValueError:
        return False
    are_within = all(0 <= one <= most for one in numbers)
    return bool(numbers) and are_within and len(set(numbers)) == len(numbers)


def planned_runs(line: command.CommandLine) -> dict[tuple[str, float, int], PlannedRun]:
    """All runs, by method, noise rate and seed.

    Raises:
        ValueError: for a seed or noise rate given as train.py takes it, or a folder of
            other settings.
    """
    for name in flagfiles.given(line.words, INSTEAD):
        raise ValueError(
            f"--{name} is not for Figure 1, whose runs differ in it. Give "
            f"--{INSTEAD[name]}, one or several with commas between them."
        )
    values = line.flags
    folder = folder_of(line)
    return {
        (method, rate, seed): PlannedRun(
            dataclasses.replace(
                train_flags.experiment(values, method), noise_rate=rate, seed=seed
            ),
            folder / f"{method}-noise{percent(rate)}-seed{seed}",
            train_flags.files(values),
            train_flags.execution(values),
        )
        for seed in map(int, values.seeds)
        for rate in map(float, values.noise_rates)
        for method in values.method
    }


def folder_of(line: command.CommandLine) -> Path:
    """Where all runs go."""
    name = line.flagfile or line.flags.dataset
    return Path(line.flags.output_dir or f"runs/{name}-figure1")


def figure_of(line: command.CommandLine) -> Path:
    """The file of the picture.

    Raises:
        ValueError: for a name that is no picture's.
    """
    figure = line.flags.figure
    if figure is None:
        return folder_of(line) / "figure1.png"
    if Path(figure).is_dir() or Path(figure).suffix.lower() != ".png":
        raise ValueError(
            f"--figure is the file of a picture, such as figure1.png; the numbers go "
            f"beside it, as CSV. Received: --figure={figure}."
        )
    return Path(figure)


def flags_of_run(
    line: command.CommandLine, method: str, rate: float, seed: int, folder: Path
) -> str:
    """The flags of launch/train.py for one run, as its result records them."""
    own = ("seeds", "noise_rates", "figure", "method", "output_dir")
    run = [f"--method={method}", f"--noise_rate={rate}", f"--seed={seed}"]
    return shlex.join(
        [*flagfiles.without(line.words, own), *run, f"--output_dir={folder}"]
    )


def percent(rate: float) -> str:
    """A noise rate as folders and titles have it."""
    return f"{100 * rate:g}"


def figure1(line: command.CommandLine) -> None:
    """Run what is missing, then draw."""
    planned = planned_runs(line)
    figure_of(line)  # what is wrong with it is said before hours of training
    train_flags.say_what_is_not_used(line.words, line.flags.method)
    import train_runs

    from sop_keras.core.strategies import is_chief

    strategy = train_runs.prepare(line.flags)
    writes = is_chief(strategy)
    if not writes:
        worker = strategy.cluster_resolver.task_id
        say(f"Worker {worker} trains along; worker 0 draws the figure.")
    for key, one in planned.items():
        if writes:
            say(f"\n{one.folder}")
        one.make(strategy).train(
            verbose=2 if writes else 0, flags=flags_of_run(line, *key, one.folder)
        )
    if writes:
        _write(line, planned)


def _write(
    line: command.CommandLine, planned: dict[tuple[str, float, int], PlannedRun]
) -> None:
    """Write the figure and its numbers, and show the last ones."""
    rows = [
        {"method": method, "noise_rate": rate, "seed": seed, **row}
        for (method, rate, seed), one in planned.items()
        for row in one.history()
    ]
    target = figure_of(line)
    target.parent.mkdir(parents=True, exist_ok=True)
    _write_csv(rows, target.with_suffix(".csv"))
    with replacing(target) as partial:
        draw(rows, partial)
    say(f"\n{target}\n{target.with_suffix('.csv')}\n")
    say(final_table(rows))


def looks_of_methods() -> dict[str, tuple[str, str]]:
    """A colour and a style of lines for each method."""
    looks = zip(itertools.cycle(COLORS), itertools.cycle(LINES), strict=False)
    return dict(zip(methods.names(), looks, strict=False))


def title_of(method: str) -> str:
    """A method as readers know it."""
    return methods.record(method).title


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Training accuracy above, test accuracy below, a column for each noise rate.

    A line is the mean over seeds, its band their range.
    """
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    looks = looks_of_methods()
    rates = sorted({float(row["noise_rate"]) for row in rows})
    figure, axes = plt.subplots(
        2, len(rates), figsize=(3.6 * len(rates), 5.6), sharex=True, squeeze=False
    )
    key, split = measured_on(rows)
    panels = [("accuracy", "training (given labels)"), (key, split)]
    for column, rate in enumerate(rates):
        for line, (key, title) in enumerate(panels):
            axis = axes[line][column]
            for method in _methods(rows, rate):
                curves = _curves(rows, method, rate, key)
                color, line_style = looks[method]
                epochs = np.arange(1, curves.shape[1] + 1)
                axis.plot(
                    epochs,
                    curves.mean(axis=0),
                    line_style,
                    color=color,
                    label=title_of(method),
                )
                axis.fill_between(
                    epochs,
                    curves.min(axis=0),
                    curves.max(axis=0),
                    color=color,
                    alpha=0.15,
                    linewidth=0,
                )
            axis.grid(alpha=0.3)
            if line == 0:
                axis.set_title(f"{percent(rate)}% label noise")
            else:
                axis.set_xlabel("epoch")
            if column == 0:
                axis.set_ylabel(f"{title} accuracy, %")
    for line in axes:  # one scale a line, so that columns compare
        low = min(axis.get_ylim()[0] for axis in line)
        high = max(axis.get_ylim()[1] for axis in line)
        for axis in line:
            axis.set_ylim(low, high)
    axes[0][0].legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110, format="png")
    plt.close(figure)


def final_table(rows: list[dict[str, Any]]) -> str:
    """Markdown: final test accuracy, and how far it is below its last third's best."""
    key, split = measured_on(rows)
    lines = [
        f"| noise | method | runs | final {split}, % | best {split}, % | last third's "
        "best - final | final training, % |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rate in sorted({float(row["noise_rate"]) for row in rows}):
        for method in _methods(rows, rate):
            test = _curves(rows, method, rate, key)
            training = _curves(rows, method, rate, "accuracy")[:, -1]
            late = test[:, -(test.shape[1] // 3) :].max(axis=1) - test[:, -1]
            lines.append(
                f"| {percent(rate)}% | {title_of(method)} | {len(test)} | "
                f"{_mean_std(test[:, -1])} | {_mean_std(test.max(axis=1))} | "
                f"{late.mean():.2f} (largest {late.max():.2f}) | "
                f"{_mean_std(training)} |"
            )
    return "\n".join(lines)


def measured_on(rows: list[dict[str, Any]]) -> tuple[str, str]:
    """The column that methods are compared by, and the split that it is of.

    Raises:
        ValueError: for data with neither a test nor a validation split.
    """
    for key, split in (("test_accuracy", "test"), ("val_accuracy", "validation")):
        if all(row.get(key) not in (None, "") for row in rows):
            return key, split
    raise ValueError(
        "The data have no test set and no validation split to compare methods on. Set "
        "some of the training examples aside: --num_validation=500, say."
    )


def _methods(rows: list[dict[str, Any]], rate: float) -> list[str]:
    here = (row["method"] for row in rows if float(row["noise_rate"]) == rate)
    return list(dict.fromkeys(here))


def _curves(
    rows: list[dict[str, Any]], method: str, rate: float, key: str
) -> np.ndarray:
    """Percent, `(seeds, epochs)`."""
    curves: dict[Any, list[float]] = {}
    for row in rows:
        if row["method"] == method and float(row["noise_rate"]) == rate:
            curves.setdefault(row["seed"], []).append(100 * float(row[key]))
    return np.array(list(curves.values()))


def _mean_std(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{values.mean():.2f} +- {values.std(ddof=1):.2f}"


def _write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    fields = ["method", "noise_rate", "seed", "epoch", "learning_rate", "loss"]
    fields += ["accuracy", "val_accuracy", "test_loss", "test_accuracy"]
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, fields, extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and draw what the command line asks for."""
    command.run(figure1, define_flags(), __doc__, arguments, flagfiles.DEFAULT)


if __name__ == "__main__":
    main()
