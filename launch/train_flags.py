"""The flags of launch/train.py, checked when they are parsed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from absl import flags

from sop_keras.augment.named import AUGMENTATIONS
from sop_keras.backbones.build import BACKBONES, check_backbone_name
from sop_keras.data.datasets.by_name import SOURCES, TFDS_PREFIX, check_source_name
from sop_keras.methods.objective import VARIANTS
from sop_keras.training.execution import STRATEGIES
from sop_keras.training.experiment import METHODS, NOISES, SCHEDULES
from sop_keras.training.precision import PRECISIONS

AUTO = "auto"


class _Rate(flags.FloatParser):
    """A float of at least 0, or the word auto."""

    def __init__(self) -> None:
        super().__init__(lower_bound=0)
        self.syntactic_help = "a number of at least 0, or auto"

    def parse(self, argument: Any) -> Any:
        if str(argument).lower() == AUTO:
            return AUTO
        try:
            return super().parse(argument)
        except ValueError:
            raise ValueError(f"must be {self.syntactic_help}") from None


def _define_rate(name: str, text: str) -> None:
    flags.DEFINE(_Rate(), name, 10.0, text, serializer=flags.ArgumentSerializer())


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
_define_rate(
    "u_lr",
    "alpha_u, the rate of u. auto: what suggest_noise_rates proposes for the length of "
    "the training; both auto: it proposes --init_std, too, and that flag is not used.",
)
_define_rate("v_lr", "alpha_v, the rate of v, or auto.")
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
flags.DEFINE_enum(
    "precision",
    "float32",
    PRECISIONS,
    "What the network computes in, a Keras dtype policy; u and v are float32 always.",
)
flags.DEFINE_integer(
    "gradient_accumulation_steps",
    1,
    "Batches whose gradients are averaged for one step of the network; --batch_size is "
    "that of each.",
    lower_bound=1,
)

# How it is computed: what may differ when a run is resumed
flags.DEFINE_enum(
    "strategy",
    "none",
    STRATEGIES,
    "none: on one device; mirrored: on all GPUs of this machine, or its logical CPUs; "
    "multi_worker: on the machines that TF_CONFIG names, this command on each of them. "
    "--batch_size is that of all devices together.",
)
flags.DEFINE_integer(
    "logical_cpus",
    0,
    "strategy=mirrored, without GPUs: how many devices to make of the CPU, to try it "
    "out; 0: one.",
    lower_bound=0,
)
flags.DEFINE_enum(
    "table_device",
    None,
    ["cpu"],
    "cpu: u and v in the host's memory, for tables larger than a GPU's; beside the "
    "network if unset.",
)
flags.DEFINE_bool(
    "jit_compile",
    None,
    "Whether XLA compiles the training step, which needs --nodeterministic, one device "
    "and the table beside the network. Keras chooses if unset.",
)
flags.DEFINE_integer(
    "steps_per_execution",
    1,
    "Batches in each call of the compiled step. What is done after a batch "
    "(checkpoints, checks of the loss) is done after so many.",
    lower_bound=1,
)
flags.DEFINE_float(
    "checkpoint_minutes",
    30.0,
    "How long after a checkpoint the next one is written inside an epoch; 0: after "
    "whole epochs alone.",
    lower_bound=0,
)
flags.DEFINE_bool(
    "noise_monitor",
    True,
    "sop, sop_plus: whether TensorBoard shows what they find out about the labels.",
)

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
    "Equal commands give equal bits. Costs speed on GPUs, and leaves XLA off.",
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
# Bounds let NaN pass.
for name in (
    *("noise_rate", "init_std", "consistency_weight", "balance_weight", "lr"),
    *("momentum", "weight_decay", "final_lr", "max_bad_fraction"),
    "checkpoint_minutes",
):
    flags.register_validator(name, math.isfinite, message="must be a finite number")
for name in ("u_lr", "v_lr"):
    flags.register_validator(
        name,
        lambda value: value == AUTO or math.isfinite(value),
        message="must be a finite number",
    )


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


@flags.multi_flags_validator(
    ["jit_compile", "strategy"],
    message="--jit_compile needs --strategy=none: TensorFlow cannot compile the "
    "exchange between devices",
)
def _xla_fits_strategy(values: dict[str, Any]) -> bool:
    return not values["jit_compile"] or values["strategy"] == "none"


@flags.multi_flags_validator(
    ["jit_compile", "table_device"],
    message="--jit_compile cannot be had with --table_device=cpu: a compiled step "
    "cannot reach a table in the host's memory",
)
def _xla_reaches_table(values: dict[str, Any]) -> bool:
    return not values["jit_compile"] or values["table_device"] is None


@flags.multi_flags_validator(
    ["jit_compile", "deterministic"],
    message="--jit_compile needs --nodeterministic: Keras leaves XLA off where equal "
    "commands must give equal bits",
)
def _xla_may_differ(values: dict[str, Any]) -> bool:
    return not (values["jit_compile"] and values["deterministic"])


@flags.multi_flags_validator(
    ["strategy", "logical_cpus"], message="--logical_cpus is for --strategy=mirrored"
)
def _logical_cpus_fit(values: dict[str, Any]) -> bool:
    return values["strategy"] == "mirrored" or not values["logical_cpus"]
