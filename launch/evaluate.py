"""Evaluates a saved model on any data set.

    python launch/evaluate.py --run=runs/webvision-seed0/sop --data_dir=DATA
    python launch/evaluate.py --run=runs/cifar10n_worst-seed0/sop --splits=test,train
    python launch/evaluate.py --model=FILE.keras --dataset=image_folder --data_dir=DATA
    python launch/evaluate.py --model=FILE.keras --flagfile=webvision.flags

A run gives its backbone.keras and the settings of its data set, but not where the data
set is. --model is any saved Keras model that gives logits or probabilities. Its images
are standardised as the data set's are, unless --mean and --std say what it was trained
with. Labels are those that the data set has, wrong ones among them; no noise is drawn.

For each split, --output_dir gets SPLIT.json (all figures), SPLIT_per_class.csv,
SPLIT_confusion.csv and .png (of up to 2,000 classes; rows are labels, columns
predictions) and SPLIT_reliability.png; and bad_images.csv with the images that could
not be used.

Of the flags of launch/train.py it has those that say what and where the data set is;
they win over the run's settings. --image_size is that of the model's input if unset.
With --test_views, SPLIT.json and the table have figures of these views beside the plain
ones; of a run that has them, without the flag. A flagfile may have all other flags as
well, which are about training: they change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import command
import flags_of
import scale_flags
import train_flags
from absl import flags

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.training.experiment import DATASET_OPTIONS, Experiment
from sop_keras.training.run_folder import read_result
from sop_keras.training.saved_run import run_settings


def define_flags() -> flags.FlagValues:
    """New flags of this command."""
    values = command.new_flags()
    flags_of.define(
        values, Experiment, only=("dataset", *DATASET_OPTIONS, "test_views")
    )
    flags_of.define(values, DataFiles)
    train_flags.define_deterministic(values)
    train_flags.check_sizes(values)
    for name, default, text in (
        ("run", None, "The folder of a complete run."),
        ("model", None, "A saved Keras model; the run's backbone.keras if unset."),
        (
            "output_dir",
            None,
            "Where the figures go; evaluation/ beside the model if unset.",
        ),
    ):
        flags.DEFINE_string(name, default, text, **command.own(values))
    flags.DEFINE_list(
        "splits",
        None,
        "What to evaluate on: test, ilsvrc12 and other test sets, validation, train. "
        "All test sets if unset, or validation where there is none.",
        **command.own(values),
    )
    scale_flags.define(values, "The data set's own")
    return values


def evaluate(line: command.CommandLine) -> None:
    """Evaluate on every split asked for, write the figures and show them."""
    values = line.flags
    settings = run_settings(Path(values.run)) if values.run else {}
    path = model_path(values)
    import evaluation_splits

    evaluation_splits.evaluate_splits(values, settings, path)


def model_path(values: flags.FlagValues) -> Path:
    """The file that the flags say the model is in.

    Raises:
        ValueError: if they do not say what to evaluate, and on what; for an audit.
        FileNotFoundError: if the run is not complete.
    """
    if values.run is None and (
        values.model is None or not flags_of.is_given(values, "dataset")
    ):
        raise ValueError(
            "Say what to evaluate: --run=FOLDER, or --model=FILE.keras with "
            "--dataset=NAME."
        )
    if values.model is not None:
        return Path(values.model)
    path = Path(values.run) / "backbone.keras"
    if not path.is_file():
        if "features" in (read_result(Path(values.run)) or {}):
            raise ValueError(
                f"{values.run} is an audit, of a head on features of a frozen network: "
                "it has no network to evaluate. Give --run=FOLDER of a training, or "
                "--model=FILE.keras with --dataset=NAME."
            )
        raise FileNotFoundError(
            f"There is no {path}: the run is not complete. The command that started it "
            "finishes it."
        )
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate; without a flagfile, for a run says what its data set is."""
    command.run(
        evaluate, define_flags(), __doc__, arguments, ignored=train_flags.names()
    )


if __name__ == "__main__":
    main()
