"""An experiment: everything that decides the numbers of one training run."""

from __future__ import annotations

from dataclasses import Field, asdict, dataclass, field, fields, replace
from typing import Any

from sop_keras import methods
from sop_keras.augment.names import AUGMENTATIONS
from sop_keras.backbones.names import BACKBONES, check_backbone_name
from sop_keras.core.table_kinds import DENSE, KINDS, SLOTS
from sop_keras.data.datasets.by_name import DATASETS, TFDS_PREFIX, check_dataset_name
from sop_keras.data.images.encoded_images import DECODINGS, EXACT
from sop_keras.methods.record import MethodSettings
from sop_keras.settings import check_settings, setting
from sop_keras.training.image_views import TEST_VIEWS
from sop_keras.training.step_checks import (
    check_average,
    check_decay_factor,
    check_late_beta1,
    check_momentum,
    check_offset_rate_factor,
    check_steps,
    check_weight_average,
)

NOISES = ("none", "symmetric", "asymmetric")
SCHEDULES = ("constant", "step", "linear", "cosine", "triangle")
OPTIMIZERS = ("sgd", "adam")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

DATASET_OPTIONS = ("label_set", "num_classes", "resize", "image_size", "decode")
"""The settings that are the data set's own options."""


@dataclass(frozen=True)
class Experiment:
    """The settings of one run; two runs of equal settings give equal numbers.

    All methods train on the same data, first (weak) views, batches and schedule. The
    fields say what they are; of the data set's own options, None is its default.

    Args:
        method: a name of `sop_keras.methods`, for its default settings, or the settings
            of one: `methods.record("sop").settings(init_std=1e-4)`.

    Raises:
        ValueError: for a value that its field does not allow, or two settings that do
            not fit each other.

    Example:
    ```python
    Run(Experiment(dataset="digits", epochs=30), "runs/mine").train()
    ```
    """

    dataset: str = setting(
        "digits",
        f"The data set: {', '.join(DATASETS)}, or {TFDS_PREFIX}NAME.",
        check=check_dataset_name,
        of_data=True,
    )
    noise: str = setting(
        "symmetric",
        "The kind of label noise, drawn from the labels of the whole training set, "
        "validation split included; none for labels with errors of their own.",
        choices=NOISES,
        of_data=True,
    )
    noise_rate: float = setting(
        0.4, "The share of labels redrawn.", least=0, most=1, of_data=True
    )
    include_true_class: bool = setting(
        True, "Whether symmetric noise may draw the true class again.", of_data=True
    )
    cifar100_structure: str = setting(
        "superclass",
        "Where asymmetric noise on CIFAR-100 goes.",
        choices=("superclass", "blocks"),
        of_data=True,
    )
    num_validation: int = setting(
        0,
        "Training examples kept for validation, under their noisy labels.",
        least=0,
        of_data=True,
    )
    max_train_examples: int = setting(
        0, "Train on this many only; 0: on all.", least=0, of_data=True
    )
    augment: str = setting(
        "weak",
        "The augmentation of what is trained on; of pairs, of the first view.",
        title="Augmentation",
        choices=sorted(AUGMENTATIONS),
    )
    backbone: str = setting(
        "mlp",
        f"The network: {', '.join(sorted(BACKBONES))}, any other of "
        "keras.applications, or keras_hub:PRESET.",
        title="Network",
        check=check_backbone_name,
    )
    epochs: int = setting(60, "Passes over the data.", title="Epochs", least=1)
    batch_size: int = setting(128, "Examples a step.", title="Batch size", least=1)
    learning_rate: float = setting(
        0.02,
        "The network's first learning rate.",
        title="Learning rate",
        flag="lr",
        least=0,
    )
    momentum: float = setting(
        0.9,
        "The network's, below 1; of Adam, beta1.",
        least=0,
        most=1,
        check=check_momentum,
    )
    l2: float = setting(
        5e-4, "L2 term in the network's gradient: PyTorch's weight decay.", least=0
    )
    schedule: str = setting(
        "constant",
        "Of the network's learning rate; step: times decay_factor after decay_epochs; "
        "linear: after decay_epochs in a line to 0, epoch by epoch; triangle: in a "
        "line up, for warmup_share of the steps, and in one down.",
        title="Schedule",
        choices=SCHEDULES,
    )
    decay_epochs: tuple[int, ...] = setting(
        (), "For schedule=step, like 40,80; for schedule=linear, one, like 80."
    )
    final_learning_rate: float = setting(
        0.0, "For schedule=cosine or triangle.", flag="final_lr", least=0
    )
    seed: int = setting(
        0,
        "Of everything that is drawn.",
        title="Seed",
        least=0,
        most=2**32 - 1,
    )
    examples_per_class: int = setting(
        0,
        "In each epoch, train on so many of each given class, drawn anew; 0: on all.",
        least=0,
        came_later=True,
    )
    pretrained: str = setting(
        "none",
        "The network's first weights: none, imagenet, or a file of keras.applications.",
        title="First weights",
        came_later=True,
    )
    label_set: str | None = setting(
        None,
        "cifar10n: aggregate, random1, random2, random3, worst (the default) or clean; "
        "cifar100n: noisy (the default) or clean.",
        came_later=True,
        of_data=True,
    )
    num_classes: int | None = setting(
        None,
        "webvision: the first so many classes; 50, the mini set, if unset. manifest: "
        "how many; the largest label says so if unset.",
        least=1,
        came_later=True,
        of_data=True,
    )
    resize: int | None = setting(
        None,
        "Image files: the shorter side, in pixels, before a crop is cut out; 256 if "
        "unset.",
        least=1,
        came_later=True,
        of_data=True,
    )
    image_size: int | None = setting(
        None,
        "Image files: the side of the crop, in pixels: at random in training, the "
        "middle in evaluation; 224 if unset, 227 for webvision.",
        least=1,
        came_later=True,
        of_data=True,
    )
    decode: str = setting(
        EXACT,
        "Image files: exact, as Pillow resizes them; fast, nearly so (docs/data.md).",
        choices=DECODINGS,
        came_later=True,
        of_data=True,
    )
    precision: str = setting(
        "float32",
        "What networks compute in, a Keras dtype policy. Weights and rows are float32.",
        title="Precision",
        choices=PRECISIONS,
        came_later=True,
    )
    gradient_accumulation_steps: int = setting(
        1,
        "Batches whose gradients are averaged for one step of the network; batch_size "
        "is that of each. Rows of examples move with every batch.",
        least=1,
        came_later=True,
    )
    table: str = setting(DENSE, "How v is stored.", choices=KINDS, came_later=True)
    table_slots: int = setting(
        SLOTS, "Of table=compact and auto.", least=1, came_later=True
    )
    decay_factor: float = setting(
        0.1,
        "For schedule=step, above 0 and below 1.",
        least=0,
        most=1,
        check=check_decay_factor,
        came_later=True,
    )
    nesterov: bool = setting(
        False, "Whether the momentum looks ahead, by Nesterov's rule.", came_later=True
    )
    clip_norm: float = setting(
        0.0,
        "The largest norm of the network's whole gradient; 0: it is not clipped.",
        least=0,
        came_later=True,
    )
    warmup_epochs: int = setting(
        0,
        "For schedule=cosine: first, so many epochs of a rate that rises.",
        least=0,
        came_later=True,
    )
    warmup_learning_rate: float = setting(
        0.0,
        "The rate that these begin with, and that of schedule=triangle.",
        flag="warmup_lr",
        least=0,
        came_later=True,
    )
    warmup_share: float = setting(
        0.0, "For schedule=triangle, below 1.", least=0, most=1, came_later=True
    )
    offset_rate_factor: float = setting(
        1.0,
        "For optimizer=sgd: the learning rate of BatchNorm's offsets over the others'.",
        flag="offset_lr_factor",
        least=0,
        check=check_offset_rate_factor,
        came_later=True,
    )
    optimizer: str = setting(
        "sgd",
        "Of the network; adam is PyTorch's, with momentum as beta1, 0.999 and 1e-8.",
        choices=OPTIMIZERS,
        came_later=True,
    )
    late_beta1: float | None = setting(
        None,
        "For optimizer=adam and schedule=linear: beta1 after decay_epochs; momentum's, "
        "if unset.",
        least=0,
        most=1,
        check=check_late_beta1,
        came_later=True,
    )
    weight_average: str = setting(
        "none",
        "The mean of which steps' weights is evaluated, judges labels and is deployed: "
        "ema:DECAY, such as ema:0.999, counts each step DECAY times what the next one "
        "does; last:EPOCHS, those of the last epochs alike; none: the last step's. "
        "Training is the same.",
        check=check_weight_average,
        came_later=True,
    )
    test_views: str = setting(
        "none",
        "Whether accuracies at the end are also those of several views of each image, "
        "under names of their own; flip: it and its mirror image; flip_translate: "
        "both, and both shifted by a pixel to either corner.",
        choices=TEST_VIEWS,
        came_later=True,
    )
    method: Any = field(default=methods.DEFAULT)

    def __post_init__(self) -> None:
        if isinstance(self.method, str):
            record = methods.record(self.method)
            object.__setattr__(self, "method", record.settings())
        elif not isinstance(self.method, MethodSettings):
            raise ValueError(
                "`method` must be the name of a method, or the settings of one. "
                f"Received: method={self.method!r}."
            )
        method: Any = self.method
        methods.record_of(method)  # or it is the settings of none
        own = {one.name for one in fields(self)} - {"method"}
        if twice := sorted(own & {one.name for one in fields(method)}):
            raise ValueError(
                f"The settings {', '.join(twice)} of {type(method).__name__} have "
                "names of the experiment's own. Give them others."
            )
        check_settings(self)
        epochs = tuple(int(epoch) for epoch in self.decay_epochs)
        object.__setattr__(self, "decay_epochs", epochs)
        self._check_together()

    def _check_together(self) -> None:
        """Check what two settings may not say together; the texts name flags, too."""
        check_steps(self)
        check_average(self)
        side, shorter = self.image_size, self.resize
        if side is not None and shorter is not None and side > shorter:
            raise ValueError(
                "`image_size` must not be above `resize`: --image_size must not be "
                "above --resize, the shorter side of what the crop is cut from. "
                f"Received: image_size={side}, resize={shorter}."
            )

    @property
    def record(self) -> methods.MethodRecord:
        """What is known of the method."""
        return methods.record_of(self.method)

    @property
    def total_epochs(self) -> int:
        """How many epochs a run has: `epochs`, as often as the method trains."""
        return self.epochs * self.method.num_trainings

    def settings(self) -> dict[str, Any]:
        """The settings as JSON knows them: those of the experiment and the method's."""
        settings = asdict(self)
        own = settings.pop("method")
        settings["decay_epochs"] = list(self.decay_epochs)
        return {"method": self.record.name, **settings, **own}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Experiment:
        """The experiment that `settings` describes.

        Args:
            settings: as `settings()` gives them, or JSON made of that.

        Raises:
            ValueError: if one is missing or unknown, or has a value that cannot be.
        """
        values = dict(settings)
        record = methods.record(values.pop("method", None))
        known = settings_of(record.name)
        missing = [
            name
            for name, one in known.items()
            if name not in values and not one.metadata.get("came_later")
        ]
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
        method = record.settings_from(values)
        own = {one.name for one in fields(cls)}
        values = {name: value for name, value in values.items() if name in own}
        return cls(**values, method=method)

    @classmethod
    def completed(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings of an earlier version with the defaults of those it lacks."""
        later = {
            name: one.default
            for name, one in settings_of(settings.get("method")).items()
            if one.metadata.get("came_later")
        }
        return {**later, **settings}

    def with_suggested(self, suggested: dict[str, Any]) -> Experiment:
        """The experiment with numbers for settings of the method that are None."""
        return replace(self, method=replace(self.method, **suggested))

    def dataset_options(self) -> dict[str, Any]:
        """What `load_dataset` is told of these settings."""
        return {name: getattr(self, name) for name in DATASET_OPTIONS}


def settings_of(method: Any) -> dict[str, Field[Any]]:
    """The fields of an experiment's settings and of its method's, by name.

    Args:
        method: the name of the method; one that is not known adds none.
    """
    own = [one for one in fields(Experiment) if one.name != "method"]
    if method in methods.names():
        own += fields(methods.record(method).settings)
    return {one.name: one for one in own}
