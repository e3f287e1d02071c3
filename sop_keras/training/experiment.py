"""An experiment: everything that decides the numbers of one training run."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, cast

import numpy as np

from sop_keras.data.batches.epoch_order import num_in_epoch
from sop_keras.data.datasets.by_name import DataFiles, load_source
from sop_keras.data.datasets.dataset import Examples, Source
from sop_keras.data.datasets.missing_files import check_image_files
from sop_keras.data.datasets.split import keyed_subset, validation_ids
from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.label_noise.asymmetric import (
    CIFAR10_CLASS_MAP,
    asymmetric,
    cifar100_class_map,
)
from sop_keras.label_noise.noisy_labels import NoisyLabels
from sop_keras.label_noise.symmetric import symmetric
from sop_keras.methods.sop_rates import suggest_noise_rates, visits_until_given_up
from sop_keras.training.precision import PRECISIONS

logger = logging.getLogger(__name__)

_MAX_NAMES_IN_LOG = 10

METHODS = ("sop", "sop_plus", "ce")
NOISES = ("none", "symmetric", "asymmetric")
SCHEDULES = ("constant", "step", "cosine")

_OF_SOP_PLUS = ("consistency_weight", "strong_augment", "balance_weight", "class_prior")
_OF_SOP = ("u_learning_rate", "v_learning_rate", "init_std", "variant")
_OF_SOURCES = ("label_set", "num_classes", "resize", "image_size")
_IGNORED_BY = {"sop_plus": (), "sop": _OF_SOP_PLUS, "ce": (*_OF_SOP, *_OF_SOP_PLUS)}
# What stands for a setting that the method ignores, and that `settings` leaves out.
_UNUSED: dict[str, Any] = {
    "u_learning_rate": 0.0,
    "v_learning_rate": 0.0,
    "init_std": 0.0,
    "variant": "paper",
    "consistency_weight": 0.0,
    "strong_augment": "none",
    "balance_weight": 0.0,
    "class_prior": "uniform",
}


@dataclass(frozen=True)
class Experiment:
    """The settings of one run; two runs of equal settings give equal numbers.

    All methods may be given the same settings: each takes those that are its own, and
    all train on the same data, first (weak) views, batches and schedule. The
    regularisers belong to `"sop_plus"` alone, so that `"sop"` is always the paper's
    SOP; with one of their weights 0, `"sop_plus"` is SOP with the other one.

    Args:
        dataset: a name known to `sop_keras.data.load_source`. The data set's own
            options follow at the end; None stands for its default.
        method: `"sop"`, `"sop_plus"` (SOP with the regularisers of the paper's A.3), or
            `"ce"` for plain cross entropy.
        noise: `"none"`, `"symmetric"` or `"asymmetric"` label noise, drawn from the
            labels of the whole training set, validation part included; `"none"` for
            data sets whose labels have errors of their own.
        noise_rate: in [0, 1].
        include_true_class: whether symmetric noise may draw the true class again.
        cifar100_structure: `"superclass"` or `"blocks"`: where asymmetric noise on
            CIFAR-100 goes.
        num_validation: training examples kept for validation, under their noisy labels.
        max_train_examples: train on this many only; 0: on all.
        augment: a name known to `sop_keras.augment.named.augmentation`.
        backbone: a name known to `sop_keras.backbones.build_backbone`.
        epochs: passes over the training examples.
        batch_size: examples a step.
        learning_rate: of the network, the first.
        momentum: of the network's SGD.
        l2: PyTorch's weight decay of the network's SGD.
        schedule: `"constant"`, `"step"` (times 0.1 after `decay_epochs`) or `"cosine"`
            (to `final_learning_rate`).
        decay_epochs: for `"step"`.
        final_learning_rate: for `"cosine"`.
        u_learning_rate: alpha_u; None for what `suggest_noise_rates` proposes.
        v_learning_rate: alpha_v, likewise.
        init_std: of u and v, likewise.
        variant: `"paper"` or `"reference"`.
        consistency_weight: lambda_C, for `"sop_plus"`. With 0 there is no second view.
        strong_augment: like `augment`, for the second view of `"sop_plus"`.
        balance_weight: lambda_B, for `"sop_plus"`.
        class_prior: of the balance loss: `"uniform"`, or `"empirical"` for the class
            frequencies of the noisy labels that are trained on (the same, with
            `examples_per_class`).
        seed: of all that is drawn: noisy labels, split, weights, u, v, batches, views.
        examples_per_class: in each epoch, train on this many examples of each given
            class, drawn anew; 0: on all.
        pretrained: the backbone's first weights: `"none"`, `"imagenet"` or a file.
        label_set: which of the data set's given labels, such as `"worst"`.
        num_classes: how many of the data set's classes.
        resize: image files: the shorter side, in pixels, before cropping.
        image_size: image files: the side of the crop, in pixels.
        precision: what the network computes in, a Keras dtype policy: `"float32"`,
            `"mixed_bfloat16"` or `"mixed_float16"`. Its weights, u and v are float32
            in any case.
        gradient_accumulation_steps: batches whose gradients are averaged for each step
            of the network; u and v move with every batch. The schedule counts batches.
    """

    dataset: str
    method: str
    noise: str
    noise_rate: float
    include_true_class: bool
    cifar100_structure: str
    num_validation: int
    max_train_examples: int
    augment: str
    backbone: str
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    l2: float
    schedule: str
    decay_epochs: tuple[int, ...]
    final_learning_rate: float
    u_learning_rate: float | None
    v_learning_rate: float | None
    init_std: float | None
    variant: str
    consistency_weight: float
    strong_augment: str
    balance_weight: float
    class_prior: str
    seed: int
    examples_per_class: int = 0
    pretrained: str = "none"
    label_set: str | None = None
    num_classes: int | None = None
    resize: int | None = None
    image_size: int | None = None
    precision: str = "float32"
    gradient_accumulation_steps: int = 1

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(
                f"`method` must be one of {', '.join(METHODS)}. Received: "
                f"method={self.method!r}."
            )
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"`precision` must be one of {', '.join(PRECISIONS)}. Received: "
                f"precision={self.precision!r}."
            )
        if self.gradient_accumulation_steps < 1:
            raise ValueError(
                "`gradient_accumulation_steps` must be at least 1, which is a step of "
                "the network for each batch. Received: gradient_accumulation_steps="
                f"{self.gradient_accumulation_steps}."
            )

    @property
    def second_view(self) -> str | None:
        """The augmentation of the second view; None where there is one view alone."""
        if self.method == "sop_plus" and self.consistency_weight > 0:
            return self.strong_augment
        return None

    def settings(self) -> dict[str, Any]:
        """The settings as JSON knows them, without those that the method ignores."""
        settings = {**asdict(self), "decay_epochs": list(self.decay_epochs)}
        for name in _IGNORED_BY[self.method]:
            del settings[name]
        return settings

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Experiment:
        """The experiment that `settings` describes.

        Args:
            settings: as `settings()` gives them, or JSON made of that. Those that the
                method ignores are 0, `"none"` and the like in the experiment.

        Raises:
            ValueError: if one is missing or unknown, or has a value that cannot be.
        """
        ignored = _IGNORED_BY.get(settings.get("method", ""), ())
        values = {**{name: _UNUSED[name] for name in ignored}, **settings}
        known = {one.name: one.default is MISSING for one in fields(cls)}
        missing = [name for name in known if known[name] and name not in values]
        unknown = [name for name in values if name not in known]
        if missing or unknown:
            raise ValueError(
                "These are not the settings of an experiment: "
                + "; ".join(
                    f"{what} {', '.join(names)}"
                    for what, names in (("missing", missing), ("unknown", unknown))
                    if names
                )
                + ". Were they written by another version?"
            )
        return cls(**{**values, "decay_epochs": tuple(values["decay_epochs"])})

    def suggested_rates(self, data: ExperimentData) -> dict[str, Any]:
        """Numbers for those of alpha_u, alpha_v and init_std that are None.

        Args:
            data: of the experiment: how many classes, and how often an epoch visits an
                example.

        Returns:
            By the names of the fields; empty where none is None, and for cross entropy,
            which has none of them.
        """
        names = ("u_learning_rate", "v_learning_rate", "init_std")
        missing = [name for name in names if getattr(self, name) is None]
        if not missing or self.method == "ce":
            return {}
        labels, num_classes = data.train.labels, data.source.num_classes
        num_visited = num_in_epoch(labels, num_classes, self.examples_per_class)
        visits = max(1.0, self.epochs * num_visited / len(labels))
        rates = suggest_noise_rates(
            visits, self.batch_size, num_classes, self.init_std
        )._asdict()
        suggested = {name: rates[name] for name in missing}
        resolved = replace(self, **suggested)
        begins = visits_until_given_up(
            cast(float, resolved.u_learning_rate),
            cast(float, resolved.init_std),
            self.batch_size,
            num_classes,
        )
        logger.info(
            "Suggested for %g visits of each example, batches of %d and %d classes: "
            "%s. A label that the network knows nothing of is given up after %.1f "
            "visits%s.",
            *(visits, self.batch_size, num_classes),
            ", ".join(f"{name}={value:.3g}" for name, value in suggested.items()),
            begins,
            "" if begins <= visits else ", which is LATER THAN THE END of the training",
        )
        return suggested

    def source_options(self) -> dict[str, Any]:
        """What `load_source` is told of these settings."""
        return {name: getattr(self, name) for name in _OF_SOURCES}


@dataclass(frozen=True)
class ExperimentData:
    """The data of an experiment.

    Args:
        source: the data set.
        train: training examples under the labels to train on, with the clean ones
            where they are known.
        validation: validation examples; may be empty. Those held out of the training
            set are under noisy labels.
        tests: test examples under clean labels, by name, `"test"` the first; may be
            none.
    """

    source: Source
    train: Examples
    validation: Examples
    tests: dict[str, Examples]

    @property
    def parts(self) -> dict[str, Examples]:
        """All examples, by what they are for."""
        return {"train": self.train, "validation": self.validation, **self.tests}

    def description(self) -> dict[str, Any]:
        """What other data do not have, by name, as JSON knows it.

        That is how many examples there are of each part, how many ids, the classes, the
        shapes of images, and digests of the ids, labels and files' names.
        """
        parts = self.parts
        names: dict[str, Any] = {
            part: examples.images.names
            for part, examples in parts.items()
            if isinstance(examples.images, ImageFiles)
        }
        return {
            **{part: len(examples) for part, examples in parts.items()},
            "num_examples": self.source.num_examples,
            "class_names": list(self.source.class_names),
            "image_shapes": [list(part.image_shape) for part in parts.values()],
            "ids": _digest({k: part.ids.astype("<i8") for k, part in parts.items()}),
            "labels": _digest(
                {k: part.labels.astype("<i8") for k, part in parts.items()}
            ),
            "file_names": _digest(names),
        }


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(name.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def load_data(experiment: Experiment, files: DataFiles | None = None) -> ExperimentData:
    """Load the data set, draw its label noise and split it.

    Args:
        experiment: the settings.
        files: where the data set is. Defaults to `None`: `DataFiles()`.

    Raises:
        ValueError: for settings that do not fit the data set.
        FileNotFoundError: where the data set is not to be found.
    """
    files = files or DataFiles()
    source = load_source(
        experiment.dataset,
        **files.options(),
        **experiment.source_options(),
    )
    pool = _with_noise(experiment, source)

    # Over the full id range: the examples of a split never depend on the order of
    # arrival. Where ids are missing from the training part (digits), so are some here.
    ids = pool.ids
    held_out = np.zeros(len(ids), dtype=bool)
    if experiment.num_validation:
        chosen = validation_ids(
            source.num_examples, experiment.num_validation, experiment.seed
        )
        held_out = np.isin(ids, chosen)
    kept = ~held_out
    if not kept.any():
        raise ValueError(
            f"num_validation={experiment.num_validation} leaves none of the {len(ids)} "
            f"training examples of {source.name} to train on."
        )
    limit = experiment.max_train_examples
    if limit and limit < kept.sum():
        kept &= np.isin(ids, keyed_subset(ids[kept], limit, experiment.seed))
    validation = pool.take(held_out)
    if source.validation is not None and not experiment.num_validation:
        validation = source.validation
    data = ExperimentData(source, pool.take(kept), validation, source.tests)
    sizes = ", ".join(f"{len(part):,} {name}" for name, part in data.parts.items())
    names = source.class_names[:_MAX_NAMES_IN_LOG]
    more = ", ..." if len(names) < source.num_classes else ""
    logger.info(
        "%s: %s examples; %d classes: %s%s",
        *(source.name, sizes, source.num_classes, ", ".join(names), more),
    )
    check_image_files(source.name, data.parts, files.max_bad_fraction)
    return data


def _with_noise(experiment: Experiment, source: Source) -> Examples:
    """The training examples under the labels that the experiment trains on."""
    train = source.train
    clean = train.labels if train.clean_labels is None else train.clean_labels
    if experiment.noise == "none":
        if train.clean_labels is not None:
            NoisyLabels(clean, train.labels, source.num_classes).log(source.name)
        return train
    if source.labels_have_errors or (train.labels != clean).any():
        raise ValueError(
            f"The labels of {source.name} have errors of their own: it takes no more "
            f"noise. Received: noise={experiment.noise!r}; pass noise='none', or draw "
            "noise on a clean data set."
        )
    if train.clean_labels is None:
        logger.info(
            "The noise is drawn on top of the labels that %s gives, as if they were "
            "right. If they have errors of their own: noise=none.",
            source.name,
        )
    noisy = _noisy_labels(experiment, source, clean)
    return replace(train, labels=noisy.labels, clean_labels=noisy.clean_labels)


def _noisy_labels(
    experiment: Experiment, source: Source, labels: np.ndarray
) -> NoisyLabels:
    ids, seed = source.train.ids, experiment.seed
    if experiment.noise == "symmetric":
        return symmetric(
            labels,
            experiment.noise_rate,
            source.num_classes,
            seed,
            include_true_class=experiment.include_true_class,
            ids=ids,
        )
    if experiment.dataset == "cifar10":
        class_map = CIFAR10_CLASS_MAP
    elif experiment.dataset == "cifar100":
        class_map = cifar100_class_map(experiment.cifar100_structure, seed=seed)
    else:
        raise ValueError(
            "Asymmetric noise is defined for cifar10 and cifar100. Received: "
            f"dataset={experiment.dataset!r}; use symmetric noise."
        )
    return asymmetric(labels, experiment.noise_rate, class_map, seed, ids=ids)
