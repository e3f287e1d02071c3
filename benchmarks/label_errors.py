"""Who finds wrong labels, and at what cost: SOP, cleanlab, and the plain loss.

    pip install -e ".[cpu,launch,cleanlab]"
    python benchmarks/label_errors.py --data_dir=DATA --folder=FOLDER
    python benchmarks/label_errors.py ... --settings=worst,asymmetric --seed=1

On real CIFAR-10 under the human labels of CIFAR-10N (`worst`, `random1`) and under 40%
symmetric and asymmetric noise. All train the same backbone on the same examples, for as
many epochs, with the same schedule:

- SOP: one training; `SOPModel.label_issues`, its `label_quality` and, below it, the
  `noise_score` of u and v alone.
- cleanlab on out-of-sample probabilities: 5-fold cross-validation, five networks
  trained with cross entropy on 4/5 of the examples each. Self-confidence is cleanlab's
  default score, the normalized margin another one of its own; confident learning
  (`find_label_issues`) puts the issues that it finds first, both parts by
  self-confidence.
- the loss: one training with cross entropy, the loss of each example at its end.

Seconds are those of processors, of training alone (`time.process_time`): others on the
same machine lengthen them little. Trainings are kept in --folder and not repeated;
label_errors.csv there has a row for each seed, setting and method.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from sop_keras import methods
from sop_keras.data.batches.pipelines import (
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.datasets.dataset import Examples
from sop_keras.label_issues.detection import detection_figures
from sop_keras.label_issues.find import LabelScores
from sop_keras.training.execution import Execution
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import ExperimentData, load_data
from sop_keras.training.network import compile_model, make_backbone

NUM_FOLDS = 5

SETTINGS = {
    "worst": {"dataset": "cifar10n", "label_set": "worst", "noise": "none"},
    "random1": {"dataset": "cifar10n", "label_set": "random1", "noise": "none"},
    "symmetric": {"dataset": "cifar10", "noise": "symmetric"},
    "asymmetric": {"dataset": "cifar10", "noise": "asymmetric"},
}

RATES = {"u_learning_rate": 10.0, "v_learning_rate": 10.0, "init_std": 1e-4}
"""Numbers, as in docs/label_issues.md; those that set themselves are the default."""


def experiment(setting: str, args: argparse.Namespace) -> Experiment:
    """The settings of docs/cifar10n.md, under one of the noises."""
    return Experiment(
        method=methods.record("sop").settings(**RATES),
        noise_rate=0.4,
        num_validation=5_000,
        max_train_examples=args.num_train,
        augment="flip",
        backbone="cnn",
        epochs=args.epochs,
        batch_size=64,
        learning_rate=0.05,
        momentum=0.9,
        l2=0.0,
        schedule="cosine",
        final_learning_rate=2e-4,
        seed=args.seed,
        **SETTINGS[setting],
    )


def trained(
    settings: Experiment, data: ExperimentData, part: Examples, path: Path
) -> tuple[keras.Model, float]:
    """A model trained on `part`, or that of the file, and what it cost in seconds."""
    keras.utils.set_random_seed(settings.seed)
    backbone = make_backbone(settings, data)
    steps = steps_per_epoch(len(part), settings.batch_size)
    model = compile_model(settings, backbone, data, steps, Execution())
    cost = path.with_suffix(".json")
    if cost.exists():
        known = json.loads(cost.read_text())
        if known["settings"] != settings.settings():
            sys.exit(
                f"error: {path} was trained with other settings; use another folder"
            )
        if not model.built:
            model.build((None, *part.image_shape))
        model.load_weights(path)
        return model, known["seconds"]
    batches = training_batches(
        part,
        data.dataset,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        seed=settings.seed,
        augment=settings.augment,
    )
    start = time.process_time()
    model.fit(
        batches,
        epochs=settings.epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
    )
    seconds = time.process_time() - start
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save_weights(path)
    known = {"seconds": seconds, "settings": settings.settings()}
    cost.write_text(json.dumps(known))
    print(f"{path}: {seconds:.0f} s", flush=True)
    return model, seconds


def outputs(model: keras.Model, part: Examples, data: ExperimentData) -> np.ndarray:
    """Logits for the examples, without augmentation."""
    batches = evaluation_batches(part, data.dataset)
    pieces = [model.predict_on_batch(x) for x, _ in batches.as_numpy_iterator()]
    return np.concatenate(pieces)


def sop(settings: Experiment, data: ExperimentData, folder: Path) -> dict[str, tuple]:
    """Quality of each label and the cost, for SOP's scores."""
    train = data.train
    model, seconds = trained(settings, data, train, folder / "sop.weights.h5")
    scores = LabelScores(model)
    scores.add(outputs(model, train, data), train.ids, train.labels)
    issues = scores.table()
    is_issue = issues["is_label_issue"].to_numpy()
    return {
        "SOP, label_quality": (issues["label_quality"].to_numpy(), is_issue, seconds),
        "SOP, noise_score": (-issues["noise_score"].to_numpy(), is_issue, seconds),
    }


def cross_validation(
    settings: Experiment, data: ExperimentData, folder: Path
) -> dict[str, tuple]:
    """The same for cleanlab, on 5-fold predictions."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    train = data.train
    settings = dataclasses.replace(settings, method="ce")
    folds = np.random.default_rng(settings.seed).permutation(len(train)) % NUM_FOLDS
    logits = np.empty((len(train), data.dataset.num_classes), np.float32)
    total = 0.0
    for fold in range(NUM_FOLDS):
        model, seconds = trained(
            settings,
            data,
            train.take(folds != fold),
            folder / f"ce-without-fold{fold}.weights.h5",
        )
        logits[folds == fold] = outputs(model, train.take(folds == fold), data)
        total += seconds
    probs = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    labels = train.labels.astype(int)
    confidence = get_label_quality_scores(labels, probs, method="self_confidence")
    margin = get_label_quality_scores(labels, probs, method="normalized_margin")
    is_issue = find_label_issues(labels, probs)
    return {
        "cleanlab, self-confidence": (confidence, is_issue, total),
        "cleanlab, normalized margin": (margin, is_issue, total),
        "cleanlab, confident learning": (confidence - is_issue, is_issue, total),
    }


def plain_loss(
    settings: Experiment, data: ExperimentData, folder: Path
) -> dict[str, tuple]:
    """The same for the loss of a network trained with cross entropy."""
    train = data.train
    settings = dataclasses.replace(settings, method="ce")
    model, seconds = trained(settings, data, train, folder / "ce.weights.h5")
    probs = keras.ops.convert_to_numpy(
        keras.ops.log_softmax(outputs(model, train, data))
    )
    own = probs[np.arange(len(train)), train.labels]
    return {"cross entropy, loss": (own, None, seconds)}


def rows(setting: str, args: argparse.Namespace) -> list[dict[str, object]]:
    """The figures of all methods under one noise."""
    settings = experiment(setting, args)
    data = load_data(settings, DataFiles(data_dir=args.data_dir))
    is_wrong = data.train.labels != data.train.clean_labels
    folder = Path(args.folder) / f"{setting}-seed{args.seed}"
    found = []
    for measure in (sop, plain_loss, cross_validation):
        for method, (quality, is_issue, seconds) in measure(
            settings, data, folder
        ).items():
            chosen = np.zeros(len(quality), bool) if is_issue is None else is_issue
            figures = detection_figures(quality, chosen, is_wrong)
            if is_issue is None:
                figures |= {"precision": None, "recall": None}
            found.append(
                {
                    "seed": args.seed,
                    "setting": setting,
                    "num_train": args.num_train,
                    "epochs": args.epochs,
                    "wrong": round(float(is_wrong.mean()), 4),
                    "method": method,
                    **{
                        name: None if value is None else round(value, 4)
                        for name, value in figures.items()
                    },
                    "issues": round(float(chosen.mean()), 4),
                    "seconds": round(seconds, 1),
                }
            )
    return found


def main() -> None:
    """Train what is not there yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data_dir", required=True, help="of TFDS' cifar10")
    parser.add_argument("--folder", required=True, help="where trainings are kept")
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--num_train", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if unknown := set(args.settings.split(",")) - set(SETTINGS):
        sys.exit(f"error: no such settings: {', '.join(sorted(unknown))}")
    tf.config.experimental.enable_op_determinism()
    table = [row for name in args.settings.split(",") for row in rows(name, args)]
    with (Path(args.folder) / "label_errors.csv").open("a", newline="") as file:
        writer = csv.DictWriter(file, table[0], lineterminator="\n")
        if not file.tell():
            writer.writeheader()
        writer.writerows(table)
    for row in table:
        print("  ".join(f"{value!s:>8}" for value in row.values()))


if __name__ == "__main__":
    main()
