"""The paper's Figure 1: accuracy per epoch, SOP against cross entropy.

    python launch/figure1.py --flagfile=fig1_cpu.flags --data_dir=DATA
    python launch/figure1.py --flagfile=fig1_40_sop.flags --method=sop,ce

Runs, or resumes, the flagfile's experiment for every method, noise rate and seed, each
in a folder of its own, then writes figure1.png and figure1.csv (all epochs of all
runs). Complete runs are not run again: several processes may do a part of the seeds or
rates each, and a last one draw them all.
"""

from __future__ import annotations

import environment  # isort: skip  # noqa: F401

import csv
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import train
from absl import flags

from sop_keras.training.run import Run

FLAGS = flags.FLAGS

flags.DEFINE_list("noise_rates", ["0", "0.2", "0.4"], "Columns of the figure.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Runs of each curve.")
flags.DEFINE_string("figure", None, "Where figure1.png goes; --output_dir if unset.")

COLORS = {"sop_plus": "#1e8449", "sop": "#1f5fbf", "ce": "#c0392b"}
LABELS = {"sop_plus": "SOP+", "sop": "SOP", "ce": "cross entropy"}
LINES = {"sop_plus": "-.", "sop": "-", "ce": "--"}


def figure1(name: str) -> None:
    """Run what is missing, then draw."""
    strategy = train.prepare()
    folder = Path(FLAGS.output_dir or f"runs/{name}-figure1")
    runs = {}
    for seed in map(int, FLAGS.seeds):
        for rate in map(float, FLAGS.noise_rates):
            for method in FLAGS.method:
                FLAGS.seed, FLAGS.noise_rate = seed, rate
                runs[method, rate, seed] = Run(
                    train.experiment_from_flags(FLAGS, method),
                    folder / f"{method}-noise{100 * rate:.0f}-seed{seed}",
                    train.files_from_flags(FLAGS),
                    train.execution_from_flags(FLAGS),
                    strategy,
                )
    for run in runs.values():
        print(f"\n{run.folder}")
        run.train(verbose=2)
    rows = [
        {"method": method, "noise_rate": rate, "seed": seed, **row}
        for (method, rate, seed), run in runs.items()
        for row in _history(run.folder)
    ]
    target = Path(FLAGS.figure or folder / "figure1.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    _write_csv(rows, target.with_suffix(".csv"))
    draw(rows, target)
    print(f"\n{target}\n{target.with_suffix('.csv')}\n")
    print(final_table(rows))


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Training accuracy above, test accuracy below, a column for each noise rate.

    A line is the mean over seeds, its band their range.
    """
    mpl.use("agg")
    import matplotlib.pyplot as plt

    rates = sorted({float(row["noise_rate"]) for row in rows})
    figure, axes = plt.subplots(
        2, len(rates), figsize=(3.6 * len(rates), 5.6), sharex=True, squeeze=False
    )
    panels = [("accuracy", "training (given labels)"), ("test_accuracy", "test")]
    for column, rate in enumerate(rates):
        for line, (key, title) in enumerate(panels):
            axis = axes[line][column]
            for method in _methods(rows, rate):
                curves = _curves(rows, method, rate, key)
                epochs = np.arange(1, curves.shape[1] + 1)
                axis.plot(
                    epochs,
                    curves.mean(axis=0),
                    LINES[method],
                    color=COLORS[method],
                    label=LABELS[method],
                )
                axis.fill_between(
                    epochs,
                    curves.min(axis=0),
                    curves.max(axis=0),
                    color=COLORS[method],
                    alpha=0.15,
                    linewidth=0,
                )
            axis.grid(alpha=0.3)
            if line == 0:
                axis.set_title(f"{100 * rate:.0f}% label noise")
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
    figure.savefig(path, dpi=110)
    plt.close(figure)


def final_table(rows: list[dict[str, Any]]) -> str:
    """Markdown: final test accuracy, and how far it is below its last third's best."""
    lines = [
        "| noise | method | runs | final test, % | best test, % | last third's best "
        "- final | final training, % |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rate in sorted({float(row["noise_rate"]) for row in rows}):
        for method in _methods(rows, rate):
            test = _curves(rows, method, rate, "test_accuracy")
            training = _curves(rows, method, rate, "accuracy")[:, -1]
            late = test[:, -(test.shape[1] // 3) :].max(axis=1) - test[:, -1]
            lines.append(
                f"| {100 * rate:.0f}% | {LABELS[method]} | {len(test)} | "
                f"{_mean_std(test[:, -1])} | {_mean_std(test.max(axis=1))} | "
                f"{late.mean():.2f} (largest {late.max():.2f}) | "
                f"{_mean_std(training)} |"
            )
    return "\n".join(lines)


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


def _history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    fields = ["method", "noise_rate", "seed", "epoch", "learning_rate", "loss"]
    fields += ["accuracy", "val_accuracy", "test_loss", "test_accuracy"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, fields, extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    train.main(figure1)
