"""A small experiment on the embedded digits."""

from dataclasses import replace
from typing import Any

from sop_keras.training.experiment import Experiment

DIGITS = Experiment(
    dataset="digits",
    method="sop",
    noise="symmetric",
    noise_rate=0.4,
    include_true_class=True,
    cifar100_structure="superclass",
    num_validation=180,
    max_train_examples=300,
    augment="none",
    backbone="mlp",
    epochs=3,
    batch_size=64,
    learning_rate=0.02,
    momentum=0.9,
    l2=5e-4,
    schedule="step",
    decay_epochs=(1, 2),
    final_learning_rate=0.0,
    u_learning_rate=10.0,
    v_learning_rate=10.0,
    init_std=1e-4,
    variant="paper",
    consistency_weight=0.9,
    strong_augment="uda",
    balance_weight=0.1,
    class_prior="empirical",
    seed=0,
)


def digits(**changes: Any) -> Experiment:
    return replace(DIGITS, **changes)
