"""The monitor of an experiment's run."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path

import numpy as np

from sop_keras.data.images.decoding import UnreadableImageError, decode_crops
from sop_keras.data.images.encoded_images import EncodedImages
from sop_keras.monitoring.noise_monitor import NoiseMonitor
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import ExperimentData

_GREY = 128


def monitor_of_run(
    experiment: Experiment, data: ExperimentData, log_dir: Path, flags: str
) -> NoiseMonitor:
    """A monitor of all training examples of a run.

    Args:
        experiment: its settings.
        data: its data.
        log_dir: where TensorBoard's files go, the run's own scalars among them.
        flags: the command's flags; they are shown one a line.

    Raises:
        ImportError: without what a NoiseMonitor needs.
    """
    train = data.train
    images = None
    if train.image_shape[-1] in (1, 3):
        images = functools.partial(images_at, train.images)
    return NoiseMonitor(
        log_dir,
        train.labels,
        ids=train.ids,
        clean_labels=train.clean_labels,
        class_names=data.dataset.class_names,
        images=images,
        hparams=experiment.settings(),
        text="\n".join(map(shlex.quote, shlex.split(flags))),
        write_logs=False,
        epochs=experiment.total_epochs,
    )


def images_at(images: np.ndarray | EncodedImages, positions: np.ndarray) -> np.ndarray:
    """A few images, as evaluation sees them before they are standardised.

    Args:
        images: of some examples.
        positions: integers `(k,)`.

    Returns:
        uint8, shape `(k, height, width, channels)`; grey where an image cannot be read.
    """
    if not isinstance(images, EncodedImages):
        return images[positions]
    return np.stack([_decoded(images, int(position)) for position in positions])


def _decoded(images: EncodedImages, position: int) -> np.ndarray:
    try:
        (middle,) = decode_crops(
            images.read(position),
            images.resize,
            images.image_size,
            [None],
            images.decoding,
        )
    except (OSError, UnreadableImageError):  # reported where it is trained on
        return np.full(images.shape[1:], _GREY, np.uint8)
    return middle
