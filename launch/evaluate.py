"""Evaluates a saved model on any data set.

    python launch/evaluate.py --run=runs/webvision-seed0/sop --data_dir=DATA
    python launch/evaluate.py --run=runs/cifar10n_worst-seed0/sop --parts=test,train
    python launch/evaluate.py --model=FILE.keras --dataset=image_folder --data_dir=DATA
    python launch/evaluate.py --model=FILE.keras --flagfile=webvision.flags

A run gives its backbone.keras and the settings of its data set, but not where the data
set is. --model is any saved Keras model that gives logits or probabilities. Its images
are standardised as the data set's are, unless --mean and --std say what it was trained
with. Labels are those that the data set has, wrong ones among them; no noise is drawn.

For each part, --output_dir gets PART.json (all figures), PART_per_class.csv,
PART_confusion.csv and .png (rows are labels, columns predictions) and
PART_reliability.png; and bad_images.csv with the images that could not be used.

These flags of launch/train.py count here, and win over the run's settings: --dataset,
--data_dir, --manifest, --test_manifest, --label_set, --human_labels,
--webvision_classes, --num_classes, --imagenet_dir, --expect_full_size, --resize,
--image_size, --max_bad_fraction, --output_dir, --deterministic, --traceback and
--flagfile. --image_size is that of the model's input if unset. All others are about
training: they are allowed, for the sake of flagfiles, and change nothing.
"""

from __future__ import annotations

import environment  # isort: skip  # noqa: F401

import dataclasses
import inspect
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import train
from absl import flags
from evaluation_files import forget, shown_name, write

from sop_keras.data.datasets.by_name import SOURCES, load_source
from sop_keras.data.datasets.dataset import Source
from sop_keras.data.datasets.missing_files import check_image_files
from sop_keras.data.datasets.tfds import load_tfds
from sop_keras.data.images.bad_images import BadImages
from sop_keras.training.evaluation import (
    Evaluation,
    choose_parts,
    evaluate_part,
    input_shape,
    load_classifier,
)
from sop_keras.training.saved_run import run_settings

FLAGS = flags.FLAGS

flags.DEFINE_string("run", None, "The folder of a complete run.")
flags.DEFINE_string(
    "model", None, "A saved Keras model; the run's backbone.keras if unset."
)
flags.DEFINE_list(
    "parts",
    None,
    "What to evaluate on: test, ilsvrc12 and other test sets, validation, train. All "
    "test sets if unset, or validation where there is none.",
)
flags.DEFINE_list(
    "mean",
    None,
    "What pixels, scaled to [0, 1], were standardised with in training: a number, or "
    "one a channel. The data set's own if unset; --mean=0 --std=1 leaves [0, 1] as is.",
)
flags.DEFINE_list("std", None, "As --mean.")

NUM_WORST = 3


def evaluate() -> None:
    """Evaluate on every part asked for, write the figures and show them."""
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
    settings = run_settings(Path(FLAGS.run)) if FLAGS.run else {}
    path = model_path()
    model = load_classifier(path)
    source = load(settings, model)
    compare_classes(source)
    parts = choose_parts(source, FLAGS.parts or None)
    check_image_files(source.name, parts, FLAGS.max_bad_fraction)
    folder = Path(FLAGS.output_dir or Path(FLAGS.run or path.parent) / "evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    forget(folder / "bad_images.csv", parts)
    bad_images = BadImages(folder / "bad_images.csv", FLAGS.max_bad_fraction)
    evaluations = {}
    for part, examples in parts.items():
        print(f"{source.name}, {part}: {len(examples)} images", flush=True)
        evaluations[part] = evaluate_part(model, source, part, bad_images)
        write(folder, part, evaluations[part], source, path)
    print(table(evaluations, source))
    print(f"\nfigures: {folder}")


def model_path() -> Path:
    """The file that the flags say the model is in.

    Raises:
        ValueError: if they do not say what to evaluate, and on what.
        FileNotFoundError: if the run is not complete.
    """
    if FLAGS.run is None and (FLAGS.model is None or not given("dataset")):
        raise ValueError(
            "Say what to evaluate: --run=FOLDER, or --model=FILE.keras with "
            "--dataset=NAME."
        )
    if FLAGS.model is not None:
        return Path(FLAGS.model)
    path = Path(FLAGS.run) / "backbone.keras"
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}: the run is not complete. The command that started it "
            "finishes it."
        )
    return path


def given(flag: str) -> bool:
    """Whether a flag is on the command line, or in a flagfile that is."""
    return not FLAGS[flag].using_default_value


def load(settings: dict[str, Any], model: keras.Model) -> Source:
    """The data set: as the flags say, then the run's settings, then the model's input.

    Raises:
        ValueError: for options that the data set does not take, or statistics that do
            not fit it.
        FileNotFoundError: where the data set is not to be found.
        ImportError: if the package that the data set is read through is missing.
    """
    files = train.files_from_flags(FLAGS).options()
    dataset = settings.get("dataset", FLAGS.dataset)
    if given("dataset"):
        dataset = FLAGS.dataset
    # The settings of a run on another data set: the sizes alone are the network's.
    kept = {"label_set", "num_classes", "resize", "image_size"}
    if dataset != settings.get("dataset"):
        kept = {"resize", "image_size"} if takes_sizes(dataset) else set()
    options = {name: settings.get(name) for name in kept}
    asked_for = train.experiment_from_flags(FLAGS, FLAGS.method[0]).source_options()
    options.update({name: one for name, one in asked_for.items() if one is not None})
    if options.get("image_size") is None and takes_sizes(dataset):
        options["image_size"] = side(model)
    return standardised(load_source(dataset, **files, **options), settings)


def compare_classes(source: Source) -> None:
    """Say where a run knew its classes by other names, or in another order."""
    path = Path(FLAGS.run or "") / "data.json"
    if FLAGS.run is None or not path.is_file():
        return
    trained = json.loads(path.read_text())["class_names"]
    for number, names in enumerate(zip(trained, source.class_names, strict=False)):
        if names[0] != names[1]:
            print(
                f"Classes differ: class {number} of the run is {names[0]!r}, of "
                f"{source.name} {names[1]!r}. They are compared by number."
            )
            return


def takes_sizes(dataset: str) -> bool:
    """Whether images of this data set are cut to a size that can be chosen."""
    return "image_size" in inspect.signature(SOURCES.get(dataset, load_tfds)).parameters


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


def standardised(source: Source, settings: dict[str, Any]) -> Source:
    """The data set with the means and standard deviations that were asked for."""
    if FLAGS.mean is None and FLAGS.std is None:
        trained_on = settings.get("dataset", source.name)
        if trained_on != source.name:
            mean, std = ([round(x, 4) for x in s] for s in (source.mean, source.std))
            print(
                f"Images are standardised as those of {source.name} are, with mean "
                f"{mean} and deviation {std}. If {trained_on} has others, on which the "
                "network was trained, pass them: --mean, --std."
            )
        return source
    channels = source.train.image_shape[-1]
    changes = {}
    for name in ("mean", "std"):
        numbers = getattr(FLAGS, name)
        if numbers is None:
            raise ValueError("--mean and --std go together: pass both, or neither.")
        numbers = [float(number) for number in numbers]
        if len(numbers) == 1:
            numbers *= channels
        if len(numbers) != channels:
            raise ValueError(
                f"--{name} must be one number, or {channels}, one for each channel of "
                f"{source.name}. Received: {len(numbers)}."
            )
        changes[name] = tuple(numbers)
    return dataclasses.replace(source, **changes)


def _are_numbers(texts: Sequence[str] | None, least: float) -> bool:
    try:
        numbers = [float(text) for text in texts or ()]
    except ValueError:
        return False
    return texts != [] and all(math.isfinite(n) and n > least for n in numbers)


flags.register_validator(
    "mean",
    lambda texts: _are_numbers(texts, -math.inf),
    message="must be numbers, like 0.485,0.456,0.406",
)
flags.register_validator(
    "std",
    lambda texts: _are_numbers(texts, 0),
    message="must be positive numbers, like 0.229,0.224,0.225",
)


def table(evaluations: dict[str, Evaluation], source: Source) -> str:
    """The figures as text, a row a part, and below it the worst classes of each."""
    parts = choose_parts(source, list(evaluations))
    k = next(iter(evaluations.values())).k
    top_k = [f"top-{k}"] if k > 1 else []
    rows = [("", "images", "left out", "top-1", *top_k, "ECE", "cross entropy")]
    lines = ["", "accuracies and expected calibration error (ECE) in %", ""]
    for part, one in evaluations.items():
        shares = [one.accuracy, *([one.top_k_accuracy] if top_k else [])]
        rows.append(
            (
                part,
                str(one.num_images),
                str(len(parts[part]) - one.num_images),
                *(f"{100 * share:.2f}" for share in [*shares, one.calibration_error]),
                f"{one.cross_entropy:.4f}",
            )
        )
    lines += ["".join(f"{cell:>15}" for cell in row) for row in rows]
    lines.append("")
    for part, one in evaluations.items():
        accuracies = one.class_accuracies
        worst = [p for p in accuracies.argsort(kind="stable") if accuracies[p] >= 0]
        shown = (
            f"{shown_name(source.class_names[place])} {100 * accuracies[place]:.1f} %"
            for place in worst[:NUM_WORST]
        )
        lines.append(f"worst classes of {part}: {'; '.join(shown)}")
    return "\n".join(lines)


def main() -> None:
    """Evaluate; without a flagfile, for a run says what its data set is."""
    train.main(lambda name: evaluate(), default_flagfile=None)


if __name__ == "__main__":
    main()
