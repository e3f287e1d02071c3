"""Trains runs that were planned, and shows what came out."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from absl import flags
from data_flags import limits_of_run
from planned_run import PlannedRun
from printed_command import launch_command, program, shell_line
from terminal import say

from sop_keras.core.strategies import is_chief, make_strategy
from sop_keras.files.shown_text import shown
from sop_keras.training.run_folder import LABEL_ISSUES

if TYPE_CHECKING:
    from sop_keras.training.run import Run


def train_all(
    planned: dict[str, PlannedRun], values: flags.FlagValues, folder: Path
) -> None:
    """Train one run after another, and show the results.

    Args:
        planned: the runs, by method.
        values: flags of launch/train.py.
        folder: the folder that has them all.
    """
    is_complete = all(one.result is not None for one in planned.values())
    # What is complete is shown without waiting for other machines.
    strategy = tf.distribute.get_strategy() if is_complete else prepare(values)
    runs = {method: one.make(strategy) for method, one in planned.items()}
    if not is_chief(strategy):
        worker = strategy.cluster_resolver.task_id
        say(f"Worker {worker} trains along; worker 0 shows the results.")
        for run in runs.values():
            run.train(verbose=0, flags=shlex.join(sys.argv[1:]))
        return
    results = {}
    for method, run in runs.items():
        say(f"\n{method}: {run.folder}")
        results[method] = run.train(
            verbose=1 if sys.stdout.isatty() else 2, flags=shlex.join(sys.argv[1:])
        )
    say(table(results))
    # The report is of a method that finds wrong labels, whichever comes first.
    found = [one for one in runs.values() if (one.folder / LABEL_ISSUES).exists()]
    first = (found or list(runs.values()))[0]
    say(next_commands(folder, first.folder, report_flags(first)))


def prepare(values: flags.FlagValues) -> tf.distribute.Strategy:
    """Set TensorFlow up as the flags say, before anything is computed.

    Args:
        values: flags of launch/train.py.

    Returns:
        The strategy, for all runs: several in one process would collide.

    Raises:
        ValueError: if `TF_CONFIG` is needed, and says nothing usable.
    """
    if values.deterministic:
        tf.config.experimental.enable_op_determinism()
    if values.logical_cpus:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * values.logical_cpus,
        )
    strategy = make_strategy(values.strategy)
    if values.strategy == "multi_worker":
        # TensorFlow now takes SIGTERM for itself, and goes on. While a run trains, it
        # saves and stops; at other times SIGTERM should end the process as ever.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return strategy


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as text, a row a method; accuracies in percent."""
    first = next(iter(results.values()))  # all have the settings of one command
    views = first.get("settings", {}).get("test_views")
    keys = {
        "test": "final_test_accuracy",
        "test views": f"final_test_accuracy_{views}",
        "best test": "best_test_accuracy",
        "ilsvrc12": "final_ilsvrc12_accuracy",
        "validation": "final_validation_accuracy",
        "given labels": "train_accuracy_given_labels",
        "clean labels": "train_accuracy_clean_labels",
    }
    # Not every data set has test examples or clean labels.
    known = {
        name: key
        for name, key in keys.items()
        if any(result.get(key) is not None for result in results.values())
    }
    if "test" in known:  # there, the validation split is of noisy labels
        known.pop("validation", None)
    columns = ("method", *known, "AUROC", "seconds")
    rows = [columns]
    for method, result in results.items():
        # Of what label_issues.csv is ranked by; cross entropy has its loss alone.
        auroc = (result.get("detection") or {}).get("auroc", result.get("noise_auroc"))
        rows.append(
            (
                method,
                *(_text(result.get(key), "{:.2f}", 100) for key in known.values()),
                _text(auroc, "{:.4f}"),
                _text(result.get("seconds"), "{:.0f}"),
            )
        )
    lines = ["", "accuracy in % on the test set and on the training set's labels;"]
    lines += ["AUROC of ranking the wrong labels first", ""]
    lines += ["".join(f"{cell:>13}" for cell in row) for row in rows]
    bad = sum(
        sum(result.get("num_bad_images", {}).values()) for result in results.values()
    )
    if bad:
        lines += ["", f"{bad} images left out: bad_images.csv in the runs' folders"]
    for method, result in results.items():
        for doubt in result.get("doubts", []):
            lines += ["", f"{method}: WARNING: {doubt}"]
    return "\n".join(lines)


def _text(value: float | None, form: str, factor: float = 1) -> str:
    return "-" if value is None else form.format(factor * value)


def report_flags(run: Run) -> list[str]:
    """What launch/report.py is to be told of a run beside its folder."""
    words = limits_of_run(run.files, run.experiment.dataset)
    if run.picture_folder is not None:
        words.append(f"--picture_folder={run.picture_folder}")
    return words


def next_commands(folder: Path, first: Path, report: Sequence[str] = ()) -> str:
    """What to do with the results.

    Args:
        folder: the folder that has all runs.
        first: that of the one to look at.
        report: flags that its report needs. Defaults to none.
    """
    tensorboard = program("tensorboard", Path(sys.executable).with_name("tensorboard"))
    lines = [
        "",
        f"curves:  {shell_line([tensorboard, f'--logdir={folder}'])}",
        shown(f"figures: {first / 'result.json'}"),
    ]
    if (first / LABEL_ISSUES).exists():
        lines.append(shown(f"wrong labels: {first / LABEL_ISSUES}"))
        line = launch_command("report.py", [first, *report])
        lines.append(f"report:  {line}")
    lines.append(f"network: keras.saving.load_model({str(first / 'backbone.keras')!r})")
    return "\n".join(lines)
