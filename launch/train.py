"""Trains an image classifier on wrongly labelled data.

    python launch/train.py                                   # digits, in a minute
    python launch/train.py --flagfile=cifar10_sym40.flags --data_dir=DATA
    python launch/train.py --flagfile=cifar10_sym40 --method=ce --epochs=60
    python launch/train.py --flagfile=cifar10_plus_sym50 --method=sop_plus,sop,ce

One flagfile is one experiment (launch/flags/); flags beside it win. Interrupted, the
same command resumes. Results: result.json, history.csv, model.keras, tensorboard/ in
--output_dir.
"""

from __future__ import annotations

import environment  # isort: skip  # noqa: F401

import logging
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flagfiles
import tensorflow as tf
from absl import app, flags

from sop_keras.augment.named import AUGMENTATIONS
from sop_keras.backbones import BACKBONES
from sop_keras.data.sources import SOURCES
from sop_keras.sop.objective import VARIANTS
from sop_keras.training import (
    METHODS,
    NOISES,
    SCHEDULES,
    Experiment,
    Run,
)

FLAGS = flags.FLAGS

# Data
flags.DEFINE_enum("dataset", "digits", sorted(SOURCES), "The data set.")
flags.DEFINE_string(
    "data_dir",
    None,
    "Where tensorflow-datasets keeps its data; its own default if unset.",
)
flags.DEFINE_enum("noise", "symmetric", NOISES, "The kind of label noise.")
flags.DEFINE_float(
    "noise_rate", 0.4, "The share of labels redrawn.", lower_bound=0, upper_bound=1
)
flags.DEFINE_bool(
    "include_true_class", True, "Whether symmetric noise may draw the true class again."
)
flags.DEFINE_enum(
    "cifar100_structure",
    "superclass",
    ["superclass", "blocks"],
    "Where asymmetric noise on CIFAR-100 goes.",
)
flags.DEFINE_integer(
    "num_validation", 0, "Training examples kept for validation.", lower_bound=0
)
flags.DEFINE_integer(
    "max_train_examples", 0, "Train on this many only; 0: on all.", lower_bound=0
)
flags.DEFINE_enum(
    "augment",
    "weak",
    sorted(AUGMENTATIONS),
    "The augmentation of what is trained on; of pairs, of the first view.",
)

# Method
flags.DEFINE_list(
    "method",
    ["sop"],
    f"One of {', '.join(METHODS)}, or several, run one after another.",
)
flags.DEFINE_float("u_lr", 10.0, "alpha_u, the rate of u.", lower_bound=0)
flags.DEFINE_float("v_lr", 10.0, "alpha_v, the rate of v.", lower_bound=0)
flags.DEFINE_float("init_std", 1e-8, "Standard deviation u, v start at.", lower_bound=0)
flags.DEFINE_enum(
    "variant", "paper", VARIANTS, "The paper's text or the authors' code."
)

# SOP+ alone: sop and ce in the same --method are left as they are.
flags.DEFINE_float(
    "consistency_weight",
    0.9,
    "sop_plus: lambda_C, the weight of the consistency loss. 0: no pairs of views.",
    lower_bound=0,
)
flags.DEFINE_enum(
    "strong_augment",
    "uda",
    sorted(AUGMENTATIONS),
    "sop_plus: the augmentation of the second view. uda is what the paper's A.3 names; "
    "the authors' code takes autoaugment, a policy that was searched on clean labels.",
)
flags.DEFINE_float(
    "balance_weight",
    0.1,
    "sop_plus: lambda_B, the weight of the class-balance loss.",
    lower_bound=0,
)
flags.DEFINE_enum(
    "class_prior",
    "uniform",
    ["uniform", "empirical"],
    "sop_plus: of the class-balance loss; empirical: the noisy labels' frequencies.",
)

# Network and its training
flags.DEFINE_enum("backbone", "mlp", sorted(BACKBONES), "The network.")
flags.DEFINE_integer("epochs", 60, "Passes over the data.", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "Examples a step.", lower_bound=1)
flags.DEFINE_float("lr", 0.02, "The network's first learning rate.", lower_bound=0)
flags.DEFINE_float("momentum", 0.9, "The network's.", lower_bound=0, upper_bound=1)
flags.DEFINE_float(
    "weight_decay", 5e-4, "L2 term in the network's gradient.", lower_bound=0
)
flags.DEFINE_enum("schedule", "constant", SCHEDULES, "Of the network's learning rate.")
flags.DEFINE_list("decay_epochs", [], "For --schedule=step: times 0.1 after these.")
flags.DEFINE_float("final_lr", 0.0, "For --schedule=cosine.", lower_bound=0)

# The run
flags.DEFINE_integer(
    "seed", 0, "Of everything that is drawn.", lower_bound=0, upper_bound=2**32 - 1
)
flags.DEFINE_string(
    "output_dir",
    None,
    "Where the results go; runs/FLAGFILE-seedN/METHOD if unset. With several methods, "
    "each has a folder of its own in it.",
)
flags.DEFINE_bool(
    "deterministic",
    True,
    "Equal commands give equal bits. Costs speed on GPUs.",
)
flags.DEFINE_bool("traceback", False, "Show Python's traceback with an error.")

flags.register_validator(
    "method",
    lambda methods: (
        bool(methods)
        and set(methods) <= set(METHODS)
        and len(set(methods)) == len(methods)
    ),
    message=f"must be different ones of: {', '.join(METHODS)}",
)
flags.register_validator(
    "decay_epochs",
    lambda epochs: all(epoch.isdigit() and int(epoch) > 0 for epoch in epochs),
    message="must be positive integers, like 40,80",
)
flags.register_validator(
    "momentum", lambda momentum: momentum < 1, message="must be less than 1"
)
for name in (
    *("noise_rate", "u_lr", "v_lr", "init_std", "consistency_weight"),
    *("balance_weight", "lr", "momentum", "weight_decay", "final_lr"),
):
    # Bounds let NaN pass.
    flags.register_validator(name, math.isfinite, message="must be a finite number")


@flags.multi_flags_validator(
    ["schedule", "decay_epochs"],
    message="--schedule=step needs increasing --decay_epochs, like 40,80; no other "
    "schedule takes them",
)
def _decay_epochs_fit(values: dict[str, Any]) -> bool:
    epochs = [int(epoch) for epoch in values["decay_epochs"]]
    if values["schedule"] != "step":
        return not epochs
    return bool(epochs) and epochs == sorted(set(epochs))


@flags.multi_flags_validator(
    ["schedule", "lr", "final_lr"], message="--final_lr must not be above --lr"
)
def _final_lr_fits(values: dict[str, Any]) -> bool:
    return values["schedule"] != "cosine" or values["final_lr"] <= values["lr"]


def experiment_from_flags(values: Any, method: str) -> Experiment:
    """The settings that the flags ask for."""
    return Experiment(
        dataset=values.dataset,
        method=method,
        noise=values.noise,
        noise_rate=values.noise_rate,
        include_true_class=values.include_true_class,
        cifar100_structure=values.cifar100_structure,
        num_validation=values.num_validation,
        max_train_examples=values.max_train_examples,
        augment=values.augment,
        backbone=values.backbone,
        epochs=values.epochs,
        batch_size=values.batch_size,
        learning_rate=values.lr,
        momentum=values.momentum,
        l2=values.weight_decay,
        schedule=values.schedule,
        decay_epochs=tuple(int(epoch) for epoch in values.decay_epochs),
        final_learning_rate=values.final_lr,
        u_learning_rate=values.u_lr,
        v_learning_rate=values.v_lr,
        init_std=values.init_std,
        variant=values.variant,
        consistency_weight=values.consistency_weight,
        strong_augment=values.strong_augment,
        balance_weight=values.balance_weight,
        class_prior=values.class_prior,
        seed=values.seed,
    )


def train(name: str) -> None:
    """Run every method asked for and show what came out."""
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
    folder = Path(FLAGS.output_dir or f"runs/{name}-seed{FLAGS.seed}")
    # A folder each, unless one was asked for by name for one method alone.
    together = FLAGS.output_dir is None or len(FLAGS.method) > 1
    # All folders are looked at before the first hour is spent.
    runs = {
        method: Run(
            experiment_from_flags(FLAGS, method),
            folder / method if together else folder,
            data_dir=FLAGS.data_dir,
        )
        for method in FLAGS.method
    }
    results = {}
    for method, run in runs.items():
        print(f"\n{method}: {run.folder}")
        results[method] = run.train(
            verbose=1 if sys.stdout.isatty() else 2, flags=shlex.join(sys.argv[1:])
        )
    print(table(results))
    print(next_commands(folder, next(iter(runs.values())).folder))


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as text, a row a method; accuracies in percent."""
    columns = {
        "test": lambda r: f"{100 * r['final_test_accuracy']:.2f}",
        "best test": lambda r: f"{100 * r['best_test_accuracy']:.2f}",
        "given labels": lambda r: f"{100 * r['train_accuracy_given_labels']:.2f}",
        "clean labels": lambda r: f"{100 * r['train_accuracy_clean_labels']:.2f}",
        "AUROC": lambda r: (
            "-" if r["noise_auroc"] is None else f"{r['noise_auroc']:.4f}"
        ),
        "seconds": lambda r: f"{r['seconds']:.0f}",
    }
    rows = [("method", *columns)]
    for method, result in results.items():
        rows.append((method, *(cell(result) for cell in columns.values())))
    lines = ["", "accuracy in % on the test set and on the training set's labels;"]
    lines += ["AUROC of ranking the wrong labels first", ""]
    lines += ["".join(f"{cell:>13}" for cell in row) for row in rows]
    return "\n".join(lines)


def next_commands(folder: Path, first: Path) -> str:
    """What to do with the results, the first run's being in `first`."""
    lines = [
        "",
        f"curves:  tensorboard --logdir={folder}",
        f"figures: {first}/result.json",
    ]
    lines.append(f"network: keras.saving.load_model({str(first / 'backbone.keras')!r})")
    return "\n".join(lines)


def main(command: Callable[[str], None] = train) -> None:
    """Parse the command line, run the command, and show its errors as one line.

    Args:
        command: what to do once the flags are known, given the flagfile's name.
    """
    _show_messages()
    try:
        argv, name = flagfiles.resolve(sys.argv)
    except ValueError as error:
        sys.exit(f"error: {error}")

    def run(rest: list[str]) -> None:
        try:
            if len(rest) > 1:
                raise ValueError(f"arguments that are no flags: {' '.join(rest[1:])}")
            command(name)
        except (ValueError, FileNotFoundError, ImportError) as error:
            if FLAGS.traceback:
                raise
            sys.exit(f"error: {error}")

    app.run(run, argv=argv)


def _show_messages() -> None:
    """Show the messages of this library, plainly, and no others."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("sop_keras")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # TensorFlow counts the traces of all methods' networks as those of one function.
    tf.get_logger().addFilter(
        lambda record: "triggered tf.function retracing" not in record.getMessage()
    )


if __name__ == "__main__":
    main()
