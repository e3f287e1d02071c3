"""The data of an experiment: loaded, with its label noise, and split."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sop_keras.data.datasets.by_name import DataFiles, load_dataset
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.missing_files import check_image_files
from sop_keras.data.datasets.prepared import PreparedImages
from sop_keras.data.datasets.split import keyed_subset, validation_ids
from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.files.shown_text import shown
from sop_keras.label_noise.asymmetric import asymmetric
from sop_keras.label_noise.noisy_labels import NoisyLabels
from sop_keras.label_noise.symmetric import symmetric
from sop_keras.training.experiment import Experiment

logger = logging.getLogger(__name__)

_MAX_NAMES_IN_LOG = 10


@dataclass(frozen=True)
class ExperimentData:
    """The data of an experiment.

    Args:
        dataset: the data set.
        train: training examples under the labels to train on, with the clean ones
            where they are known.
        validation: validation examples; may be empty. Those held out of the training
            set are under noisy labels.
        tests: test examples under clean labels, by name, `"test"` the first; may be
            none.
    """

    dataset: Dataset
    train: Examples
    validation: Examples
    tests: dict[str, Examples]

    @property
    def splits(self) -> dict[str, Examples]:
        """All examples, by what they are for."""
        return {"train": self.train, "validation": self.validation, **self.tests}

    def description(self) -> dict[str, Any]:
        """What other data do not have, by name, as JSON knows it.

        That is how many examples there are of each split, how many ids, the classes,
        the shapes of images, and digests of the ids, labels and files' names; of
        prepared images, of how they were prepared.
        """
        splits = self.splits
        names: dict[str, Any] = {
            split: examples.images.names
            for split, examples in splits.items()
            if isinstance(examples.images, ImageFiles)
        }
        names |= {
            f"{split} prepared": np.bytes_(examples.images.settings)
            for split, examples in splits.items()
            if isinstance(examples.images, PreparedImages)
        }
        return {
            **{split: len(examples) for split, examples in splits.items()},
            "num_examples": self.dataset.num_examples,
            "class_names": list(self.dataset.class_names),
            "image_shapes": [list(split.image_shape) for split in splits.values()],
            "ids": digest_of(
                {k: split.ids.astype("<i8") for k, split in splits.items()}
            ),
            "labels": digest_of(
                {k: split.labels.astype("<i8") for k, split in splits.items()}
            ),
            "file_names": digest_of(names),
        }


def digest_of(arrays: dict[str, np.ndarray]) -> str:
    """A digest of arrays and their names, as text."""
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
    dataset = load_dataset(
        experiment.dataset,
        **files.options(),
        **experiment.dataset_options(),
    )
    pool = _with_noise(experiment, dataset)

    ids = pool.ids
    held_out = np.zeros(len(ids), dtype=bool)
    if experiment.num_validation:
        held_out = np.isin(ids, _held_out_ids(experiment, dataset))
    kept = ~held_out
    if not kept.any():
        raise ValueError(
            f"num_validation={experiment.num_validation} leaves none of the {len(ids)} "
            f"training examples of {dataset.name} to train on."
        )
    limit = experiment.max_train_examples
    if limit and limit < kept.sum():
        kept &= np.isin(ids, keyed_subset(ids[kept], limit, experiment.seed))
    validation = pool.take(held_out)
    if dataset.validation is not None and not experiment.num_validation:
        validation = dataset.validation
    data = ExperimentData(dataset, pool.take(kept), validation, dataset.tests)
    if experiment.num_validation:
        _warn_of_shared_images(data)
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in data.splits.items())
    names = dataset.class_names[:_MAX_NAMES_IN_LOG]
    more = ", ..." if len(names) < dataset.num_classes else ""
    logger.info(
        "%s: %s examples; %d classes: %s%s",
        *(dataset.name, sizes, dataset.num_classes, ", ".join(map(shown, names)), more),
    )
    check_image_files(dataset.name, data.splits, files.max_bad_fraction)
    return data


def _held_out_ids(experiment: Experiment, dataset: Dataset) -> np.ndarray:
    """The ids that are set aside for validation, some maybe of no training example.

    They are as many training examples as are asked for. Where the test split has a part
    of the range of ids (digits), they are chosen over all of it, and it has a part of
    them.
    """
    ids = dataset.num_examples if dataset.splits_share_ids else dataset.train.ids
    return validation_ids(ids, experiment.num_validation, experiment.seed)


def _warn_of_shared_images(data: ExperimentData) -> None:
    """Say how many held-out images are trained on, too, as they are listed again."""
    held_out, trained = (_sources(one) for one in (data.validation, data.train))
    if held_out is None or trained is None:
        return
    is_shared = np.isin(held_out, trained)
    if is_shared.any():
        logger.warning(
            "%s: the images of %d of the %d validation examples are trained on, too, "
            "as they are listed more than once: the validation accuracy counts what "
            "was learnt by heart. List each image once, or hold none out "
            "(num_validation=0).",
            *(data.dataset.name, is_shared.sum(), len(is_shared)),
        )


def _sources(examples: Examples) -> np.ndarray | None:
    """Where each image is, or came from; None for images in memory and records."""
    images = examples.images
    if isinstance(images, ImageFiles):
        return images.paths()
    return images.sources if isinstance(images, PreparedImages) else None


def _with_noise(experiment: Experiment, dataset: Dataset) -> Examples:
    """The training examples under the labels that the experiment trains on."""
    train = dataset.train
    clean = train.labels if train.clean_labels is None else train.clean_labels
    if experiment.noise == "none":
        if train.clean_labels is not None:
            NoisyLabels(clean, train.labels, dataset.num_classes).log(dataset.name)
        return train
    if dataset.labels_have_errors or (train.labels != clean).any():
        raise ValueError(
            f"The labels of {dataset.name} have errors of their own: it takes no more "
            f"noise. Received: noise={experiment.noise!r}; pass noise='none', or draw "
            "noise on a clean data set."
        )
    if train.clean_labels is None:
        logger.info(
            "The noise is drawn on top of the labels that %s gives, as if they were "
            "right. If they have errors of their own: noise=none.",
            dataset.name,
        )
    noisy = _noisy_labels(experiment, dataset, clean)
    return replace(train, labels=noisy.labels, clean_labels=noisy.clean_labels)


def _noisy_labels(
    experiment: Experiment, dataset: Dataset, labels: np.ndarray
) -> NoisyLabels:
    ids, seed = dataset.train.ids, experiment.seed
    if experiment.noise == "symmetric":
        return symmetric(
            labels,
            experiment.noise_rate,
            dataset.num_classes,
            seed,
            include_true_class=experiment.include_true_class,
            ids=ids,
        )
    if dataset.class_map is None:
        raise ValueError(
            "Asymmetric noise is defined for cifar10 and cifar100. Received: "
            f"dataset={experiment.dataset!r}; use symmetric noise."
        )
    class_map = dataset.class_map(experiment.cifar100_structure, seed)
    return asymmetric(labels, experiment.noise_rate, class_map, seed, ids=ids)
