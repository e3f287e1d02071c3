"""The settings that the flags of launch/train.py ask for."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from absl import flags
from train_flags import AUTO

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.training.execution import Execution
from sop_keras.training.experiment import Experiment
from sop_keras.training.saved_run import recorded_files


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


def files_of_run(values: flags.FlagValues, folder: str | os.PathLike[str]) -> DataFiles:
    """Where a run's data were in training, but for what the flags say otherwise."""
    given = {
        name: path
        for name, path in dataclasses.asdict(files_from_flags(values)).items()
        if not values[name].using_default_value
    }
    return dataclasses.replace(recorded_files(folder), **given)


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
        **_noise_rates(values),
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
        precision=values.precision,
        gradient_accumulation_steps=values.gradient_accumulation_steps,
    )


def execution_from_flags(values: Any) -> Execution:
    """How the flags ask for it to be computed."""
    return Execution(
        strategy=values.strategy,
        table_device=values.table_device,
        jit_compile=values.jit_compile,
        steps_per_execution=values.steps_per_execution,
        checkpoint_minutes=values.checkpoint_minutes,
        noise_monitor=values.noise_monitor,
    )


def _noise_rates(values: Any) -> dict[str, float | None]:
    """alpha_u, alpha_v and init_std; None for what is to be suggested."""
    rates = {
        name: None if value == AUTO else value
        for name, value in (
            ("u_learning_rate", values.u_lr),
            ("v_learning_rate", values.v_lr),
        )
    }
    is_free = set(rates.values()) == {None}
    return {**rates, "init_std": None if is_free else values.init_std}


def _num_classes(values: Any) -> int | None:
    given = values.webvision_classes, values.num_classes
    if None not in given:
        raise ValueError(
            "--webvision_classes is for --dataset=webvision, --num_classes for "
            "--dataset=manifest: no data set takes both."
        )
    return given[1] if given[0] is None else given[0]
