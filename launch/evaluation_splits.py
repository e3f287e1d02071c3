"""Evaluates a model on the splits of a data set, as the flags of evaluate.py say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import flags_of
import keras
import scale_flags
import tensorflow as tf
import train_flags
from absl import flags
from evaluation_files import figures_of_views, forget, write
from terminal import say

from sop_keras.data.datasets.by_name import (
    check_not_fetched,
    dataset_options,
    load_dataset,
)
from sop_keras.data.datasets.dataset import Dataset
from sop_keras.data.datasets.missing_files import check_image_files
from sop_keras.data.images.bad_images import BadImages
from sop_keras.drawing.cells import shown_name
from sop_keras.files.folders import make_folder
from sop_keras.training.evaluation import Evaluation, choose_splits, evaluate_split
from sop_keras.training.experiment import DATASET_OPTIONS
from sop_keras.training.image_views import check_image_views
from sop_keras.training.run_folder import RunFolderError, read_json
from sop_keras.training.saved_classifier import input_shape, load_classifier

SIZES = {"resize", "image_size"}
NUM_WORST = 3


def evaluate_splits(
    values: flags.FlagValues, settings: dict[str, Any], path: Path
) -> None:
    """Evaluate on every split asked for, write the figures and show them.

    Args:
        values: the flags.
        settings: those of the run; empty without one.
        path: the model's file.
    """
    if values.deterministic:
        tf.config.experimental.enable_op_determinism()
    model = load_classifier(path)
    dataset = load(values, settings, model)
    compare_classes(values.run, dataset)
    splits = choose_splits(dataset, values.splits or None)
    check_image_files(dataset.name, splits, values.max_bad_fraction)
    views = views_asked_for(values, settings)
    check_image_views(dataset.train.image_shape, views)
    beside = Path(values.run or path.parent)
    folder = Path(values.output_dir or beside / "evaluation")
    make_folder(folder, inside=folder if values.output_dir else beside)
    forget(folder / "bad_images.csv", splits)
    bad_images = BadImages(folder / "bad_images.csv", values.max_bad_fraction)
    evaluations, of_views = {}, {}
    for split, examples in splits.items():
        say(f"{dataset.name}, {split}: {len(examples)} images")
        evaluations[split] = evaluate_split(model, dataset, split, bad_images)
        figures = {}
        if views != "none":
            one = evaluate_split(model, dataset, split, bad_images, views)
            of_views[split] = one
            figures = figures_of_views(one, views)
        write(folder, split, evaluations[split], dataset, path, figures)
    say(table(evaluations, dataset, of_views, views))
    say(f"\nfigures: {folder}")


def load(
    values: flags.FlagValues, settings: dict[str, Any], model: keras.Model
) -> Dataset:
    """The data set: as the flags say, then the run's settings, then the model's input.

    Raises:
        ValueError: for options that the data set does not take, or statistics that do
            not fit it.
        FileNotFoundError: where the data set is not to be found.
        ImportError: if the package that the data set is read through is missing.
    """
    files = train_flags.files(values).options()
    name = settings.get("dataset", values.dataset)
    if flags_of.is_given(values, "dataset"):
        name = values.dataset
    else:
        check_not_fetched(name, values.run, train_flags.files(values))
    # The settings of a run on another data set: the sizes alone are the network's.
    kept = set(DATASET_OPTIONS)
    if name != settings.get("dataset"):
        kept = SIZES if takes_sizes(name) else set()
    options = {name: settings.get(name) for name in kept}
    options |= {
        name: values[name].value
        for name in DATASET_OPTIONS
        if flags_of.is_given(values, name)
    }
    if options.get("image_size") is None and takes_sizes(name):
        options["image_size"] = side(model)
    dataset = load_dataset(name, **files, **options)
    return standardised(values, dataset, settings)


def views_asked_for(values: flags.FlagValues, settings: dict[str, Any]) -> str:
    """The views that the flag says, then the run's settings."""
    if flags_of.is_given(values, "test_views"):
        return values.test_views
    return settings.get("test_views", values.test_views)


def compare_classes(run: str | None, dataset: Dataset) -> None:
    """Say where a run knew its classes by other names, or in another order.

    Raises:
        RunFolderError: if the run's data.json is damaged.
    """
    path = Path(run or "") / "data.json"
    there = None if run is None else read_json(path)
    if there is None:
        return
    trained = there.get("class_names")
    if not isinstance(trained, list):
        raise RunFolderError(
            f'{path} is damaged: its "class_names" is {trained!r}, not a list. Put a '
            "good copy there."
        )
    for number, names in enumerate(zip(trained, dataset.class_names, strict=False)):
        if names[0] != names[1]:
            say(
                f"Classes differ: class {number} of the run is {names[0]!r}, of "
                f"{dataset.name} {names[1]!r}. They are compared by number."
            )
            return


def takes_sizes(name: str) -> bool:
    """Whether images of this data set are cut to a size that can be chosen."""
    return "image_size" in dataset_options(name)


def side(model: keras.Model) -> int | None:
    """The side of the square images that a model takes; None where any will do.

    Raises:
        ValueError: if they are not square.
    """
    shape = input_shape(model)
    if shape is not None and shape[0] != shape[1]:
        raise ValueError(
            f"The model takes images of shape {shape}. Images in files are cut to "
            "squares: it must take these."
        )
    return None if shape is None else shape[0]


def standardised(
    values: flags.FlagValues, dataset: Dataset, settings: dict[str, Any]
) -> Dataset:
    """The data set with the means and standard deviations that were asked for."""
    scale = scale_flags.read(values)
    if scale is None:
        trained_on = settings.get("dataset", dataset.name)
        if trained_on != dataset.name:
            mean, std = ([round(x, 4) for x in s] for s in (dataset.mean, dataset.std))
            say(
                f"Images are standardised as those of {dataset.name} are, with mean "
                f"{mean} and deviation {std}. If {trained_on} has others, on which the "
                "network was trained, pass them: --mean, --std."
            )
        return dataset
    channels = dataset.train.image_shape[-1]
    changes = {}
    for name, numbers in zip(("mean", "std"), scale, strict=True):
        if isinstance(numbers, float):
            numbers = [numbers] * channels
        if len(numbers) != channels:
            raise ValueError(
                f"--{name} must be one number, or {channels}, one for each channel of "
                f"{dataset.name}. Received: {len(numbers)}."
            )
        changes[name] = tuple(numbers)
    return dataclasses.replace(dataset, **changes)


def table(
    evaluations: dict[str, Evaluation],
    dataset: Dataset,
    of_views: dict[str, Evaluation] | None = None,
    views: str = "none",
) -> str:
    """The figures as text, a row a split, and below it the worst classes of each.

    Args:
        evaluations: by split.
        dataset: what they are of.
        of_views: the same of several views. Defaults to `None`: there are none.
        views: which. Defaults to `"none"`.
    """
    splits = choose_splits(dataset, list(evaluations))
    k = next(iter(evaluations.values())).k
    top_k = [f"top-{k}"] if k > 1 else []
    more = [f"top-1 {views}"] if of_views else []
    rows = [("", "images", "left out", "top-1", *more, *top_k, "ECE", "cross entropy")]
    lines = ["", "accuracies and expected calibration error (ECE) in %", ""]
    for split, one in evaluations.items():
        shares = [one.accuracy, *([one.top_k_accuracy] if top_k else [])]
        if of_views:
            shares.insert(1, of_views[split].accuracy)
        rows.append(
            (
                split,
                str(one.num_images),
                str(len(splits[split]) - one.num_images),
                *(f"{100 * share:.2f}" for share in [*shares, one.calibration_error]),
                f"{one.cross_entropy:.4f}",
            )
        )
    width = max(15, *(len(cell) + 2 for cell in rows[0]))
    lines += ["".join(f"{cell:>{width}}" for cell in row) for row in rows]
    lines.append("")
    for split, one in evaluations.items():
        accuracies = one.class_accuracies
        worst = [p for p in accuracies.argsort(kind="stable") if accuracies[p] >= 0]
        shown = (
            f"{shown_name(dataset.class_names[place])} {100 * accuracies[place]:.1f} %"
            for place in worst[:NUM_WORST]
        )
        lines.append(f"worst classes of {split}: {'; '.join(shown)}")
    return "\n".join(lines)
