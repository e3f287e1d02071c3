"""A small experiment on the embedded digits."""

from dataclasses import replace
from typing import Any

from sop_keras import methods
from sop_keras.training.experiment import Experiment

DIGITS = Experiment(
    dataset="digits",
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
    seed=0,
)
OF_METHODS = {
    "u_learning_rate": 10.0,
    "v_learning_rate": 10.0,
    "init_std": 1e-4,
    "variant": "paper",
    "consistency_weight": 0.9,
    "strong_augment": "uda",
    "balance_weight": 0.1,
    "class_prior": "empirical",
}


def digits(method: str = "sop", **changes: Any) -> Experiment:
    """The experiment by a method; a setting of methods that it lacks is left out."""
    own = {name: changes.pop(name, value) for name, value in OF_METHODS.items()}
    settings = methods.record(method).settings_from(own)
    if changes.get("schedule", DIGITS.schedule) != "step":
        changes.setdefault("decay_epochs", ())
    return replace(DIGITS, method=settings, **changes)
