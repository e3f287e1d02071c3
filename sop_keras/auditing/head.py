"""A linear head on stored features, trained with SOP on the labels as given.

Features of a network that never saw the labels are standardised, and one layer learns
to tell the classes apart. A strong L2 term keeps it from fitting labels one by one: it
ranks wrong labels better than a head without, and than one with hidden layers
(docs/label_issues.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.auditing.feature_rows import FeatureRows, blocks
from sop_keras.auditing.head_settings import (
    MOMENTUM,
    STEPS_AT_ONCE,
    HeadSettings,
    steps_of_epoch,
)
from sop_keras.core.model import NoisyLabelModel
from sop_keras.data.batches.epoch_order import epoch_order
from sop_keras.data.batches.tensors import without_autotuning
from sop_keras.methods.sop import SOP

_LEAST_STD = 1e-6  # of features that are all alike

HeadProgress = Callable[[int, int, float], None]
"""Called with the epochs done, the epochs to do, and the seconds since the start."""


@dataclass(frozen=True)
class Head:
    """A trained head.

    Args:
        model: SOP's model around the network, which takes features as they are stored.
        mean: of each feature, float32 `(D,)`.
        std: their standard deviations, likewise.
        accuracies: the share of predictions that are the given label as the epoch went
            by, one an epoch.
    """

    model: NoisyLabelModel
    mean: np.ndarray
    std: np.ndarray
    accuracies: tuple[float, ...]

    def logits(self, features: np.ndarray) -> np.ndarray:
        """The head's outputs, float32 `(m, K)`.

        Args:
            features: float32 `(m, D)`, as they are stored.
        """
        kernel, bias = self.model.backbone.layers[-1].get_weights()
        return (features - self.mean) / self.std @ kernel + bias


def train_head(
    rows: FeatureRows,
    labels: np.ndarray,
    num_classes: int,
    settings: HeadSettings | None = None,
    trusted: np.ndarray | None = None,
    given: np.ndarray | None = None,
    progress: HeadProgress | None = None,
) -> Head:
    """Train a head on features; the same bits for the same arguments.

    Args:
        rows: features of n examples.
        labels: the labels to train on, integers `(n,)` in `[0, num_classes)`.
        num_classes: K.
        settings: how. Defaults to `None`: `HeadSettings()`.
        trusted: places of examples whose label a person has confirmed or corrected:
            their rows stay neutral. Defaults to `None`: none.
        given: the labels that these came with, integers of the same shape. Defaults to
            `None`: all were confirmed.
        progress: called after each epoch. Defaults to `None`.

    Returns:
        The head. Memory: the tables of n x K numbers, and a few blocks of features.

    Raises:
        ValueError: for labels that are none, and for features that are not finite or
            all alike.
    """
    settings = settings or HeadSettings()
    mean, std = moments(rows)
    # All in float32 whatever Keras' policy is: features whose mean is far larger than
    # their deviation have lost it in fewer bits.
    inputs = keras.Input((rows.num_features,), dtype="float32", name="features")
    x = keras.layers.Rescaling(
        (1 / std).tolist(),
        (-mean / std).tolist(),
        dtype="float32",
        name="standardised",
    )(inputs)
    outputs = keras.layers.Dense(
        num_classes,
        kernel_initializer="zeros",
        kernel_regularizer=keras.regularizers.L2(
            settings.l2_of(len(rows), rows.num_features)
        ),
        dtype="float32",
        name="logits",
    )(x)
    model = NoisyLabelModel(
        keras.Model(inputs, outputs, name="head"),
        num_examples=len(rows),
        num_classes=num_classes,
        method=SOP(),
        dtype="float32",
    )
    steps = steps_of_epoch(len(rows))
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate, steps * settings.epochs
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=MOMENTUM),
        metrics=["accuracy"],
        steps_per_execution=min(STEPS_AT_ONCE, steps),
    )
    if trusted is not None and len(trusted):
        model.trust(trusted, given)
    history = model.fit(
        _batches(rows, np.asarray(labels, np.int64), steps, settings),
        epochs=settings.epochs,
        steps_per_epoch=steps,
        verbose=0,
        callbacks=[_Told(settings.epochs, progress)] if progress else [],
    ).history
    return Head(model, mean, std, tuple(map(float, history["accuracy"])))


def moments(rows: FeatureRows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, float32 `(D,)`.

    Raises:
        ValueError: for features that are not finite, or all alike.
    """
    total = np.zeros((2, rows.num_features))
    # About the first row, so that a large mean costs no digits.
    origin = rows.take(np.arange(1)).astype(np.float64)
    for _, features in blocks(rows):
        features = features - origin
        total[0] += features.sum(axis=0)
        total[1] += np.square(features, out=features).sum(axis=0)
    mean, square = total / len(rows)
    std = np.sqrt(np.maximum(square - np.square(mean), 0))
    if not (std > _LEAST_STD).any():
        raise ValueError(
            f"The features of all {len(rows)} examples are alike: nothing can be "
            "learnt from them. Do the images differ, and is the network a trained one?"
        )
    mean = (mean + origin[0]).astype(np.float32)
    return mean, np.where(std > _LEAST_STD, std, 1).astype(np.float32)


def _batches(
    rows: FeatureRows, labels: np.ndarray, steps: int, settings: HeadSettings
) -> tf.data.Dataset:
    """The batches of all epochs, one after another."""
    ids = np.arange(len(labels))

    def generate() -> Iterator[Any]:
        for epoch in range(settings.epochs):
            order = epoch_order(settings.seed, epoch, ids, labels).numpy()
            for places in np.array_split(order.astype(np.int64), steps):
                places = np.sort(places)  # as they lie in the file
                yield rows.take(places), {"label": labels[places], "index": places}

    batches = tf.data.Dataset.from_generator(
        generate,
        output_signature=(
            tf.TensorSpec((None, rows.num_features), tf.float32),
            {
                "label": tf.TensorSpec((None,), tf.int64),
                "index": tf.TensorSpec((None,), tf.int64),
            },
        ),
    )
    return without_autotuning(batches.prefetch(STEPS_AT_ONCE))


class _Told(keras.callbacks.Callback):
    """Tells of epochs that are over."""

    def __init__(self, epochs: int, progress: HeadProgress):
        super().__init__()
        self._epochs = epochs
        self._progress = progress
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._progress(epoch + 1, self._epochs, time.monotonic() - self._start)
