"""The network of an experiment, and the method's model around it."""

from __future__ import annotations

from typing import Any

import keras

from sop_keras.backbones.build import build_backbone
from sop_keras.core.model import SOPModel
from sop_keras.methods.cross_entropy import CrossEntropyModel
from sop_keras.methods.objective import empirical_class_prior
from sop_keras.optimizers.schedules import cosine_decay, step_decay
from sop_keras.optimizers.sgd import SGD
from sop_keras.training.execution import Execution
from sop_keras.training.experiment import Experiment, ExperimentData
from sop_keras.training.precision import precision


def make_backbone(experiment: Experiment, data: ExperimentData) -> keras.Model:
    """The network that the experiment asks for."""
    source = data.source
    with precision(experiment.precision):
        return build_backbone(
            experiment.backbone,
            data.train.image_shape,
            source.num_classes,
            seed=experiment.seed,
            pretrained=experiment.pretrained,
            mean=source.mean,
            std=source.std,
        )


def compile_model(
    experiment: Experiment,
    backbone: keras.Model,
    data: ExperimentData,
    steps_per_epoch: int,
    execution: Execution,
) -> keras.Model:
    """The method's model around the backbone, compiled."""
    accumulated = experiment.gradient_accumulation_steps
    optimizer = SGD(
        _learning_rate(experiment, steps_per_epoch),
        momentum=experiment.momentum,
        l2=experiment.l2,
        gradient_accumulation_steps=accumulated if accumulated > 1 else None,
    )
    jit_compile = execution.jit_compile
    common: dict[str, Any] = {
        "optimizer": optimizer,
        "metrics": ["accuracy"],
        "jit_compile": "auto" if jit_compile is None else jit_compile,
        "steps_per_execution": execution.steps_per_execution,
    }
    if experiment.method == "ce":
        model = CrossEntropyModel(backbone)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(loss=loss, **common)
        return model
    table: dict[str, Any] = {"init_std": experiment.init_std}
    if execution.table_device is not None:
        table["table_device"] = execution.table_device
    model = SOPModel(
        backbone,
        num_examples=data.source.num_examples,
        num_classes=data.source.num_classes,
        variant=experiment.variant,
        seed=experiment.seed,
        gradient_norms=True,
        **_regularizers(experiment, data),
        **table,
    )
    model.compile(
        u_optimizer=experiment.u_learning_rate,
        v_optimizer=experiment.v_learning_rate,
        **common,
    )
    return model


def _regularizers(experiment: Experiment, data: ExperimentData) -> dict[str, Any]:
    """What SOP+ adds to the arguments of SOP."""
    if experiment.method != "sop_plus":
        return {}
    class_prior: Any = experiment.class_prior
    if class_prior == "empirical" and experiment.examples_per_class:
        class_prior = "uniform"  # that is what an epoch's examples have
    elif class_prior == "empirical":
        # The model sees a stream of batches, and could not count the labels itself.
        class_prior = empirical_class_prior(data.train.labels, data.source.num_classes)
    return {
        "consistency_weight": experiment.consistency_weight,
        "balance_weight": experiment.balance_weight,
        "class_prior": class_prior,
    }


def _learning_rate(experiment: Experiment, steps_per_epoch: int) -> Any:
    rate = experiment.learning_rate
    if experiment.schedule == "step":
        return step_decay(rate, experiment.decay_epochs, steps_per_epoch)
    if experiment.schedule == "cosine":
        return cosine_decay(
            rate, experiment.epochs, steps_per_epoch, experiment.final_learning_rate
        )
    return rate
