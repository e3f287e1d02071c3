"""Trains an image classifier on wrongly labelled data.

    python launch/train.py                                   # digits, in a minute
    python launch/train.py --flagfile=cifar10_sym40.flags --data_dir=DATA
    python launch/train.py --flagfile=cifar10_sym40 --method=ce --epochs=60
    python launch/train.py --flagfile=cifar10_plus_sym50 --method=sop_plus,sop,ce
    python launch/train.py --flagfile=webvision.flags --data_dir=DATA
    python launch/train.py --dataset=image_folder --data_dir=PHOTOS --noise=none \
        --backbone=resnet50 --pretrained=imagenet --num_validation=500

One flagfile is one experiment (launch/flags/); flags beside it win. Interrupted, the
same command resumes. Results: result.json, history.csv, model.keras, tensorboard/ in
--output_dir.
"""

from __future__ import annotations

import environment  # isort: skip  # noqa: F401

import logging
import math
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flagfiles
import tensorflow as tf
from absl import app, flags

from sop_keras.augment.named import AUGMENTATIONS
from sop_keras.backbones import BACKBONES, check_backbone_name
from sop_keras.data.sources import (
    SOURCES,
    TFDS_PREFIX,
    DataFiles,
    check_source_name,
)
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
flags.DEFINE_string(
    "dataset", "digits", f"The data set: {', '.join(SOURCES)}, or {TFDS_PREFIX}NAME."
)
flags.DEFINE_string(
    "data_dir",
    None,
    "Where the data set is (docs/data.md); for those of tensorflow-datasets, its own "
    "default if unset.",
)
flags.DEFINE_string(
    "manifest", None, "dataset=manifest: path, label, ... (CSV, Parquet)."
)
flags.DEFINE_string("test_manifest", None, "dataset=manifest: of the test examples.")
flags.DEFINE_string(
    "label_set",
    None,
    "cifar10n: aggregate, random1, random2, random3, worst (the default) or clean; "
    "cifar100n: noisy (the default) or clean.",
)
flags.DEFINE_string(
    "human_labels", None, "cifar10n, cifar100n: the labels' file; looked for if unset."
)
flags.DEFINE_integer(
    "webvision_classes",
    None,
    "webvision: the first so many classes; 50, the mini set, if unset.",
    lower_bound=1,
    upper_bound=1000,
)
flags.DEFINE_string(
    "imagenet_dir",
    None,
    "webvision: the folder of ILSVRC2012's validation set; looked for if unset; none: "
    "not evaluated on it.",
)
flags.DEFINE_integer(
    "num_classes",
    None,
    "manifest: how many; the largest label says so if unset.",
    lower_bound=2,
)
flags.DEFINE_bool(
    "expect_full_size",
    True,
    "Whether a data set must have the published number of examples.",
)
flags.DEFINE_integer(
    "resize",
    None,
    "Image files: the shorter side, in pixels, before a window is cut out; 256 if "
    "unset.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "image_size",
    None,
    "Image files: the side of the window, in pixels: at random in training, the middle "
    "in evaluation; 224 if unset, 227 for webvision.",
    lower_bound=1,
)
flags.DEFINE_float(
    "max_bad_fraction",
    0.01,
    "The share of the images that may be missing or unreadable, and left out.",
    lower_bound=0,
    upper_bound=1,
)
flags.DEFINE_integer(
    "examples_per_class",
    0,
    "In each epoch, train on this many of every given class, drawn anew; 0: on all.",
    lower_bound=0,
)
flags.DEFINE_enum(
    "noise",
    "symmetric",
    NOISES,
    "The kind of label noise; none for labels with errors of their own.",
)
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
flags.DEFINE_string(
    "backbone",
    "mlp",
    f"The network: {', '.join(sorted(BACKBONES))}, any other of keras.applications, or "
    "keras_hub:PRESET.",
)
flags.DEFINE_string(
    "pretrained",
    "none",
    "The network's first weights: none, imagenet, or a file as keras.applications has.",
)
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


def _accepted_by(check: Callable[[str], None]) -> Callable[[str], bool]:
    """A validator: what a library's check has against a value is the message."""

    def validator(value: str) -> bool:
        try:
            check(value)
        except ValueError as error:
            raise flags.ValidationError(str(error)) from None
        return True

    return validator


flags.register_validator("dataset", _accepted_by(check_source_name))
flags.register_validator("backbone", _accepted_by(check_backbone_name))
for name in (
    *("noise_rate", "u_lr", "v_lr", "init_std", "consistency_weight"),
    *("balance_weight", "lr", "momentum", "weight_decay", "final_lr"),
    "max_bad_fraction",
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


@flags.multi_flags_validator(
    ["resize", "image_size"], message="--image_size must not be above --resize"
)
def _image_size_fits(values: dict[str, Any]) -> bool:
    sizes = values["image_size"], values["resize"]
    return None in sizes or sizes[0] <= sizes[1]


def files_from_flags(values: Any) -> DataFiles:
    """Where the flags say that the data set is."""
    return DataFiles(
        data_dir=values.data_dir,
        human_labels=values.human_labels,
        imagenet_dir=values.imagenet_dir,
        manifest=values.manifest,
        test_manifest=values.test_manifest,
        expect_full_size=values.expect_full_size,
        max_bad_fraction=values.max_bad_fraction,
    )


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
        examples_per_class=values.examples_per_class,
        pretrained=values.pretrained,
        label_set=values.label_set,
        num_classes=_num_classes(values),
        resize=values.resize,
        image_size=values.image_size,
    )


def _num_classes(values: Any) -> int | None:
    given = values.webvision_classes, values.num_classes
    if None not in given:
        raise ValueError(
            "--webvision_classes is for --dataset=webvision, --num_classes for "
            "--dataset=manifest: no data set takes both."
        )
    return given[1] if given[0] is None else given[0]


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
            files_from_flags(FLAGS),
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
        auroc = result["noise_auroc"]
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
    lines.append(f"network: keras.saving.load_model({str(first / 'backbone.keras')!r})")
    return "\n".join(lines)


def main(
    command: Callable[[str], None] = train,
    default_flagfile: str | None = flagfiles.DEFAULT,
) -> None:
    """Parse the command line, run the command, and show its errors as one line.

    Args:
        command: what to do once the flags are known, given the flagfile's name, or the
            data set's where there is none.
        default_flagfile: the flagfile where none is given; None for none. Defaults to
            the digits'.
    """
    show_messages()
    try:
        argv, name = flagfiles.resolve(sys.argv, default_flagfile)
    except ValueError as error:
        sys.exit(f"error: {error}")

    def run(rest: list[str]) -> None:
        try:
            if len(rest) > 1:
                raise ValueError(f"arguments that are no flags: {' '.join(rest[1:])}")
            command(name or re.sub(r"\W", "_", FLAGS.dataset))
        except (ValueError, OSError, ImportError) as error:
            if FLAGS.traceback:
                raise
            sys.exit(f"error: {error}")

    app.run(run, argv=argv)


def show_messages() -> None:
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
