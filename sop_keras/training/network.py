"""The networks of an experiment, and the method's model around them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from sop_keras.backbones.build import build_backbone
from sop_keras.backbones.fused_batch_norm import fuse_batch_norm
from sop_keras.backbones.names import OF_IMAGES
from sop_keras.backbones.synchronized import synchronize_batch_norm
from sop_keras.core.model import NoisyLabelModel
from sop_keras.core.table_choice import chosen_kind
from sop_keras.optimizers.adam import Adam
from sop_keras.optimizers.schedules import (
    ScaledByEpoch,
    Triangle,
    cosine_decay,
    linear_decay,
    step_decay,
)
from sop_keras.optimizers.sgd import SGD
from sop_keras.randomness.keyed import random_bits
from sop_keras.training.execution import Execution
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import ExperimentData
from sop_keras.training.first_images import first_images
from sop_keras.training.precision import precision


def make_backbone(
    experiment: Experiment, data: ExperimentData, use: str | None = None
) -> keras.Model:
    """The network that the experiment asks for, like one device's on any number.

    Args:
        experiment: the settings.
        data: what it is to be trained on.
        use: a word for a network of other first weights. Defaults to `None`: those of
            the experiment's seed.
    """
    dataset, seed = data.dataset, experiment.seed
    if use is not None:
        seed = int(random_bits(seed, use)) % 2**32
    images = None
    if experiment.backbone in OF_IMAGES:
        images = first_images(data, experiment.seed)
    with precision(experiment.precision):
        backbone = build_backbone(
            experiment.backbone,
            data.train.image_shape,
            dataset.num_classes,
            seed=seed,
            pretrained=experiment.pretrained,
            mean=dataset.mean,
            std=dataset.std,
            images=images,
        )
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        synchronize_batch_norm(backbone)
    elif not tf.config.list_physical_devices("GPU"):
        fuse_batch_norm(backbone)
    return backbone


def compile_model(
    experiment: Experiment,
    backbone: keras.Model,
    data: ExperimentData,
    steps_per_epoch: int,
    execution: Execution,
    first: keras.Model | None = None,
    table_folder: Path | None = None,
) -> keras.Model:
    """The method's model around the backbone, compiled.

    Args:
        experiment: the settings.
        backbone: the network.
        data: what it is to be trained on.
        steps_per_epoch: batches in an epoch.
        execution: how it is computed.
        first: the model of the run that the method needs before. Defaults to `None`: it
            needs none.
        table_folder: of rows on disk, where `execution` has them there. Defaults to
            `None`.
    """
    labels, num_classes = data.train.labels, data.dataset.num_classes
    arguments = experiment.method.arguments(
        labels, num_classes, bool(experiment.examples_per_class)
    )
    if first is not None:
        arguments |= experiment.method.arguments_of_first(first)
    method = experiment.record.load()(**arguments)
    peer = None
    if method.num_networks > 1:
        peer = make_backbone(experiment, data, use="peer")
    table = chosen_kind(
        experiment.table,
        method.tables(num_classes),
        method.row_rates,
        experiment.table_slots,
        data.dataset.num_examples,
        batch_size=experiment.batch_size,
        visits=experiment.epochs,
    )
    model = NoisyLabelModel(
        backbone,
        num_examples=data.dataset.num_examples,
        num_classes=num_classes,
        method=method,
        peer=peer,
        seed=experiment.seed,
        table_device=execution.table_device,
        table_folder=table_folder if execution.table_device == "disk" else None,
        table=table,
        table_slots=experiment.table_slots,
        gradient_norms=bool(method.row_rates),
        weight_average=experiment.weight_average,
    )
    jit_compile = execution.jit_compile
    model.compile(
        make_optimizer(experiment, steps_per_epoch),
        metrics=["accuracy"],
        jit_compile="auto" if jit_compile is None else jit_compile,
        steps_per_execution=execution.steps_per_execution,
    )
    return model


def rate_of_epochs(experiment: Experiment) -> Callable[[int], float] | None:
    """The learning rate of each epoch, where epochs differ in their number of steps.

    It is that of the epoch's begin, and of its middle where the rate rises: a warm-up
    from 0 would leave the first epoch without any. Schedules are of steps elsewhere:
    then it is None.
    """
    if not experiment.record.load().in_turn:
        return None
    schedule = _learning_rate(experiment, steps_per_epoch=2)
    if not callable(schedule):
        return lambda epoch: float(schedule)

    def rate(epoch: int) -> float:
        begin, middle = (float(schedule(2 * epoch + half)) for half in (0, 1))
        return max(begin, middle)

    return rate


def make_optimizer(
    experiment: Experiment, steps_per_epoch: int
) -> keras.optimizers.Optimizer:
    """The optimizer of the network that the experiment asks for.

    Args:
        experiment: the settings.
        steps_per_epoch: batches in an epoch.
    """
    accumulated = experiment.gradient_accumulation_steps
    by_epoch = rate_of_epochs(experiment)
    rate = _learning_rate(experiment, steps_per_epoch)
    if by_epoch is not None:
        rate = by_epoch(0)
    options: dict[str, Any] = {
        "l2": experiment.l2,
        "global_clipnorm": experiment.clip_norm or None,
        "gradient_accumulation_steps": accumulated if accumulated > 1 else None,
    }
    if experiment.optimizer == "sgd":
        momentum, nesterov = experiment.momentum, experiment.nesterov
        options["offset_rate_factor"] = experiment.offset_rate_factor
        return SGD(rate, momentum=momentum, nesterov=nesterov, **options)
    if experiment.late_beta1 is not None:
        if by_epoch is not None:
            raise ValueError(
                "--late_beta1 is for methods whose epochs all have as many steps, and "
                f"{experiment.record.title} trains its networks in turn. Leave it out."
            )
        options["late_beta_1"] = experiment.late_beta1
        options["late_from"] = experiment.decay_epochs[0] * steps_per_epoch
    return Adam(rate, beta_1=experiment.momentum, **options)


def _learning_rate(experiment: Experiment, steps_per_epoch: int) -> Any:
    rate = _scheduled_rate(experiment, steps_per_epoch)
    factors = experiment.method.rate_factors(experiment.epochs)
    if factors is None or not experiment.learning_rate:
        return rate
    return ScaledByEpoch(rate, factors, steps_per_epoch)


def _scheduled_rate(experiment: Experiment, steps_per_epoch: int) -> Any:
    rate = experiment.learning_rate
    if experiment.schedule == "step":
        return step_decay(
            rate, experiment.decay_epochs, steps_per_epoch, experiment.decay_factor
        )
    if experiment.schedule == "linear":
        (start,) = experiment.decay_epochs
        return linear_decay(rate, start, experiment.epochs, steps_per_epoch)
    if experiment.schedule == "triangle":
        return Triangle(
            rate,
            experiment.epochs * steps_per_epoch,
            experiment.warmup_share,
            experiment.warmup_learning_rate,
            experiment.final_learning_rate,
        )
    if experiment.schedule == "cosine":
        return cosine_decay(
            rate,
            experiment.epochs,
            steps_per_epoch,
            experiment.final_learning_rate,
            experiment.warmup_epochs,
            experiment.warmup_learning_rate,
        )
    return rate
