"""A complete run on images in files, made by hand: nothing is trained."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.label_issues.export import write_label_issues
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import load_data
from sop_keras.training.run_folder import RunFolder

# In the order that a manifest's classes have.
CLASSES = ('"><b onclick=alert(1)>', "<script>alert(1)</script>", "cat & 'dog'", "猫")
FILES = (
    "=cmd|' /C calc'!A0.png",
    '"><img src=x onerror=alert(1)>.png',
    "</script><script>alert(2)</script>.png",
    "${policy}.png",
    "e.png",
    "f.png",
)

EXPERIMENT = {
    "dataset": "manifest",
    "method": "sop",
    "noise": "none",
    "noise_rate": 0.0,
    "include_true_class": True,
    "cifar100_structure": "superclass",
    "num_validation": 0,
    "max_train_examples": 0,
    "augment": "none",
    "backbone": "mlp",
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 0.02,
    "momentum": 0.9,
    "l2": 0.0,
    "schedule": "constant",
    "decay_epochs": [],
    "final_learning_rate": 0.0,
    "u_learning_rate": 10.0,
    "v_learning_rate": 10.0,
    "init_std": 1e-4,
    "variant": "paper",
    "seed": 0,
    "resize": 8,
    "image_size": 8,
}
OF_SOP_PLUS = {
    "consistency_weight": 0.9,
    "strong_augment": "uda",
    "balance_weight": 0.1,
    "class_prior": "uniform",
}
NOT_OF_CROSS_ENTROPY = ("u_learning_rate", "v_learning_rate", "init_std", "variant")


@dataclass(frozen=True)
class Labels:
    """What stands in a table of label issues, by example."""

    given: tuple[int, ...] = (0, 1, 2, 3, 0, 1)
    suggested: tuple[int, ...] = (1, 0, 0, 2, 1, 2)
    quality: tuple[float, ...] = (0.01, 0.3, 0.9, 0.2, 0.6, np.nan)


def write_images(folder, names=FILES):
    """Images of 8x16 pixels; the first six are all of other colours."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        color = (40 * number % 256, (100 + number // 6) % 256, 200)
        Image.new("RGB", (16, 8), color).save(path, "PNG")


def table(labels):
    """The table of label issues, with probabilities that follow the quality."""
    quality = np.array(labels.quality)
    prob = np.nan_to_num(quality, nan=0.5)
    return pd.DataFrame(
        {
            "id": np.arange(len(quality)),
            "given_label": labels.given,
            "suggested_label": labels.suggested,
            "label_quality": quality,
            "noise_score": np.where(np.isnan(quality), np.nan, -10 * prob),
            "given_label_prob": prob,
            "suggested_label_prob": 1 - prob,
            "is_label_issue": quality < 0.5,
        }
    )


def many_labels(size):
    """Labels of so many examples, the id being the rank by quality."""
    ids = np.arange(size)
    given, steps = ids % len(CLASSES), 1 + ids % (len(CLASSES) - 1)
    quality = (ids + 0.5) / size
    return Labels(
        tuple(given.tolist()),
        tuple(((given + steps) % len(CLASSES)).tolist()),
        tuple(quality.tolist()),
    )


def write_run(folder, clean=None, method="sop", labels=None, names=FILES):
    """The folder of a run on the images, which are in a folder beside it."""
    labels = labels or Labels()
    images = folder.parent / "images"
    write_images(images, names)
    rows = pd.DataFrame({"path": names, "label": [CLASSES[i] for i in labels.given]})
    if clean is not None:
        rows["clean_label"] = [CLASSES[i] for i in clean]
    rows.to_csv(images / "list.csv", index=False)
    settings = {**EXPERIMENT, "method": method}
    if method == "sop_plus":
        settings |= OF_SOP_PLUS
    if method == "ce":
        for name in NOT_OF_CROSS_ENTROPY:
            del settings[name]
    experiment = Experiment.from_settings(settings)
    files = DataFiles(manifest=str(images / "list.csv"))
    run = RunFolder(folder, experiment, files)
    data = load_data(experiment, files)
    run.begin(data)
    (folder / "history.csv").write_text(
        "epoch,seconds,accuracy\n1,0.5,0.25\n2,0.5,0.5\n"
    )
    result = {"train_accuracy_given_labels": 0.5, "seconds": 1.0, "flags": "--a=<b>"}
    if clean is not None:
        result["train_accuracy_clean_labels"] = 0.75
        result["detection"] = {"auroc": 0.875, "average_precision": None}
    run.write_result(result)
    if method != "ce":
        write_label_issues(
            table(labels), folder / "label_issues.csv", data.dataset.class_names
        )
    return folder
