"""Trains an image classifier on wrongly labelled data.

    python launch/train.py                                   # digits, in a minute
    python launch/train.py --flagfile=cifar10_sym40.flags --data_dir=DATA
    python launch/train.py --flagfile=cifar10_sym40 --method=ce --epochs=60
    python launch/train.py --flagfile=cifar10_plus_sym50 --method=sop_plus,sop,ce
    python launch/train.py --flagfile=webvision.flags --data_dir=DATA
    python launch/train.py --dataset=image_folder --data_dir=PHOTOS --noise=none \
        --backbone=resnet50 --pretrained=imagenet --num_validation=500
    python launch/train.py --flagfile=webvision.flags --data_dir=D --strategy=mirrored

One flagfile is one experiment (launch/flags/); flags beside it win. Interrupted, the
same command resumes. Results: result.json, history.csv, model.keras, tensorboard/ in
--output_dir.

On several machines, the same command with --strategy=multi_worker runs on each of them,
with a TF_CONFIG of its own and a shared --output_dir; worker 0 shows the results.

Exit codes: 0, the end is reached; 75, stopped by SIGTERM, or by the loss of another
machine: the same command (on all machines) goes on from the last checkpoint; 1, an
error, in one line; 78, one on one of several machines.
"""

from __future__ import annotations

import environment  # isort: skip  # noqa: F401

import logging
import re
import shlex
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flagfiles
import tensorflow as tf
import train_flags
from absl import app, flags
from flag_settings import (
    execution_from_flags,
    experiment_from_flags,
    files_from_flags,
)

from sop_keras.core.strategies import is_chief, make_strategy
from sop_keras.training.preemption import Preempted
from sop_keras.training.run import LABEL_ISSUES, Run

FLAGS = flags.FLAGS

# Their names are this launcher's: --helpshort and launch/reproduce.py ask it for them.
flags.adopt_module_key_flags(train_flags)

# EX_TEMPFAIL of sysexits.h, which job managers can be told to start again on.
CONTINUE = 75
# EX_CONFIG: of several machines, the others end with 75 when one has an error; its own
# is told from that by a code above it.
ERROR_OF_ONE_MACHINE = 78


def train(name: str) -> None:
    """Run every method asked for and show what came out."""
    folder = Path(FLAGS.output_dir or f"runs/{name}-seed{FLAGS.seed}")
    # A folder each, unless one was asked for by name for one method alone.
    together = FLAGS.output_dir is None or len(FLAGS.method) > 1
    folders = {
        method: folder / method if together else folder for method in FLAGS.method
    }
    is_complete = all((one / "result.json").exists() for one in folders.values())
    # What is complete is shown without waiting for other machines.
    strategy = tf.distribute.get_strategy() if is_complete else prepare()
    # All folders are looked at before the first hour is spent.
    runs = {
        method: Run(
            experiment_from_flags(FLAGS, method),
            folders[method],
            files_from_flags(FLAGS),
            execution_from_flags(FLAGS),
            strategy,
        )
        for method in FLAGS.method
    }
    if not is_chief(strategy):
        worker = strategy.cluster_resolver.task_id
        print(f"Worker {worker} trains along; worker 0 shows the results.", flush=True)
        for run in runs.values():
            run.train(verbose=0, flags=shlex.join(sys.argv[1:]))
        return
    results = {}
    for method, run in runs.items():
        print(f"\n{method}: {run.folder}")
        results[method] = run.train(
            verbose=1 if sys.stdout.isatty() else 2, flags=shlex.join(sys.argv[1:])
        )
    print(table(results))
    print(next_commands(folder, next(iter(runs.values())).folder))


def prepare() -> tf.distribute.Strategy:
    """Set TensorFlow up as the flags say, before anything is computed.

    Returns:
        The strategy, for all runs: several in one process would collide.

    Raises:
        ValueError: if `TF_CONFIG` is needed, and says nothing usable.
    """
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
    if FLAGS.logical_cpus:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * FLAGS.logical_cpus,
        )
    strategy = make_strategy(FLAGS.strategy)
    if FLAGS.strategy == "multi_worker":
        # TensorFlow now takes SIGTERM for itself, and goes on. While a run trains, it
        # saves and stops; at other times SIGTERM should end the process as ever.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return strategy


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as text, a row a method; accuracies in percent."""
    keys = {
        "test": "final_test_accuracy",
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
    if "test" in known:  # there, the validation part is of noisy labels
        known.pop("validation", None)
    columns = ("method", *known, "AUROC", "seconds")
    rows = [columns]
    for method, result in results.items():
        # Of what label_issues.csv is ranked by; cross entropy has its loss alone.
        auroc = (result.get("detection") or {}).get("auroc", result["noise_auroc"])
        rows.append(
            (
                method,
                *(f"{100 * result[key]:.2f}" for key in known.values()),
                "-" if auroc is None else f"{auroc:.4f}",
                f"{result['seconds']:.0f}",
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
    return "\n".join(lines)


def next_commands(folder: Path, first: Path) -> str:
    """What to do with the results, the first run's being in `first`."""
    lines = [
        "",
        f"curves:  tensorboard --logdir={folder}",
        f"figures: {first}/result.json",
    ]
    if (first / LABEL_ISSUES).exists():
        lines.append(f"wrong labels: {first / LABEL_ISSUES}")
        lines.append(f"report:  python launch/report.py {first}")
    lines.append(f"network: keras.saving.load_model({str(first / 'backbone.keras')!r})")
    return "\n".join(lines)


def main(
    command: Callable[..., None] = train,
    default_flagfile: str | None = flagfiles.DEFAULT,
    argument: str | None = None,
) -> None:
    """Parse the command line, run the command, and show its errors as one line.

    Args:
        command: what to do once the flags are known, given the flagfile's name, or the
            data set's where there is none.
        default_flagfile: the flagfile where none is given; None for none. Defaults to
            the digits'.
        argument: what the one argument that is no flag is called; the command is given
            it after the name. Defaults to `None`: there is none.
    """
    show_messages()
    FLAGS.set_gnu_getopt(argument is not None)  # flags may come after it
    try:
        argv, name = flagfiles.resolve(sys.argv, default_flagfile)
    except ValueError as error:
        sys.exit(f"error: {error}")

    def run(rest: list[str]) -> None:
        try:
            if argument is not None and len(rest) == 1:
                raise ValueError(f"Say what it is about: {rest[0]} {argument}")
            extra = rest[1 if argument is None else 2 :]
            if extra:
                raise ValueError(f"arguments that are no flags: {' '.join(extra)}")
            command(name or re.sub(r"\W", "_", FLAGS.dataset), *rest[1:])
        except Preempted as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(CONTINUE)
        except Exception as error:
            if (reason := lost_machine(error)) is not None:
                if FLAGS.traceback:
                    traceback.print_exc()
                print(
                    "A machine was lost: start the same command on all machines again; "
                    f"it goes on from the last checkpoint. TensorFlow says: {reason}",
                    file=sys.stderr,
                )
                sys.exit(CONTINUE)
            is_plain = isinstance(error, (ValueError, OSError, ImportError))
            text = f"error: {error}" if is_plain and not FLAGS.traceback else None
            if FLAGS.strategy == "multi_worker":
                print(text or traceback.format_exc(), file=sys.stderr)
                sys.exit(ERROR_OF_ONE_MACHINE)
            if text is None:
                raise
            sys.exit(text)

    app.run(run, argv=argv)


def lost_machine(error: Exception) -> str | None:
    """What TensorFlow says of a machine that was lost; None if none was."""
    if FLAGS.strategy != "multi_worker" or not isinstance(error, tf.errors.OpError):
        return None
    # The text before it is a traceback.
    found = re.search(r"(?s)Collective ops is aborted by: (.+)|NCCL: .+", error.message)
    lost = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.DeadlineExceededError,
    )
    if found is None and not isinstance(error, lost):
        return None
    reason = (found[1] or found[0]) if found else error.message
    return textwrap.shorten(reason, 200, placeholder=" ...")


def show_messages() -> None:
    """Show the messages of this library, plainly, and no others."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("sop_keras")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # Under a strategy it tells of every exchange between devices.
    tf.get_logger().setLevel(logging.WARNING)
    # TensorFlow counts the traces of all methods' networks as those of one function.
    tf.get_logger().addFilter(
        lambda record: "triggered tf.function retracing" not in record.getMessage()
    )


if __name__ == "__main__":
    main()
