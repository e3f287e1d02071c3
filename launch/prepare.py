"""Stores the images of a data set once at their training size, to train on faster.

    python launch/prepare.py --flagfile=webvision --data_dir=DATA --output_dir=FOLDER
    python launch/train.py --flagfile=webvision --dataset=prepared --data_dir=FOLDER

Every image is decoded, its shorter side made --resize pixels long, and stored with its
id, label and source in TFRecord files, of all splits. Ids, labels, classes and the
sizes of splits stay what they were; so do the pixels of exact decoding, with
--image_format=bmp: but for --augment=resized_crop, a training on FOLDER is that on the
images themselves, if none was left out. --image_format=jpeg takes a sixth of the
space, and changes pixels a little (docs/data.md).

Interrupted, the same command goes on: a file is whole or not there. What cannot be read
is left out and listed in FOLDER/bad_images.csv. A folder with images of other settings
is refused.

Of the flags of launch/train.py it has those that say what and where the data set is. A
flagfile may have all others as well: they change nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import command
import flagfiles
import flags_of
import train_flags
from absl import flags
from printed_command import launch_command
from terminal import say

from sop_keras.data.datasets.by_name import DataFiles, load_dataset
from sop_keras.data.datasets.missing_files import check_image_files
from sop_keras.data.datasets.prepared import IMAGE_FORMATS, JPEG_QUALITY
from sop_keras.training.experiment import DATASET_OPTIONS, Experiment

# What a training may be told of what is stored, which must be as it was stored.
_SIZES = ("num_classes", "resize", "image_size")
# Where other data are, and other results: of no use to a training on what is stored.
_ELSEWHERE = {"manifest", "test_manifest", "imagenet_dir", "human_labels", "output_dir"}


def define_flags() -> flags.FlagValues:
    """New flags of this command."""
    values = command.new_flags()
    flags_of.define(values, Experiment, only=("dataset", *DATASET_OPTIONS))
    flags_of.define(values, DataFiles)
    train_flags.check_sizes(values)
    own = command.own(values)
    flags.DEFINE_string(
        "output_dir", None, "Where to; prepared/DATASET if unset.", **own
    )
    flags.DEFINE_enum(
        "image_format",
        IMAGE_FORMATS[0],
        IMAGE_FORMATS,
        "How images are stored: bmp, all pixels as they are; or jpeg.",
        **own,
    )
    flags.DEFINE_integer(
        "jpeg_quality",
        JPEG_QUALITY,
        "For image_format=jpeg.",
        lower_bound=1,
        upper_bound=100,
        **own,
    )
    return values


def prepare(line: command.CommandLine) -> None:
    """Store what the flags name, and say how to train on it."""
    values = line.flags
    files = flags_of.read(values, DataFiles)
    options = {
        one.name: flags_of.value_of(values, one)
        for one in flags_of.fields_of(Experiment)
        if one.name in DATASET_OPTIONS
    }
    name = re.sub(r"\W", "_", values.dataset)
    folder = Path(values.output_dir or f"prepared/{name}")
    dataset = load_dataset(values.dataset, **files.options(), **options)
    splits = {"train": dataset.train, **dataset.tests}
    if dataset.validation is not None:
        splits["validation"] = dataset.validation
    check_image_files(dataset.name, splits, files.max_bad_fraction)
    from sop_keras.data.datasets.prepare import prepare_dataset

    stored = prepare_dataset(
        dataset,
        folder,
        image_format=values.image_format,
        jpeg_quality=values.jpeg_quality,
        max_bad_fraction=files.max_bad_fraction,
    )
    counts = ", ".join(f"{count:,} {split}" for split, count in stored.counts.items())
    say(f"{folder}: {counts} images, {stored.num_bytes / 1e9:.2f} GB")
    if bad := sum(stored.num_bad_images.values()):
        say(f"{bad} images left out: {folder / 'bad_images.csv'}")
    say(f"train: {launch_command('train.py', training_words(line, folder))}")


def training_words(line: command.CommandLine, folder: Path) -> list[str]:
    """The flags of launch/train.py for a training on what was stored.

    Args:
        line: what was stored by.
        folder: where.
    """
    words = flagfiles.named(line.words)
    there, _ = flagfiles.resolve(words, default=None)
    if any(flagfiles.names_of(one) & _ELSEWHERE for one in there):
        # A flagfile's path cannot be unset: its other flags stand for it.
        known = _ELSEWHERE | {"dataset", "data_dir"}
        words = [one for one in there if not flagfiles.names_of(one) & known]
    given = flagfiles.given(line.words, _SIZES)
    words += [
        flags_of.written(one, flags_of.value_of(line.flags, one))
        for one in flags_of.fields_of(Experiment)
        if one.name in given
    ]
    if line.flagfile is None:  # else train.py would plant wrong labels beside others
        words += ["--noise=none", "--backbone=resnet50"]
    return [*words, "--dataset=prepared", f"--data_dir={folder}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare what the command line names."""
    command.run(
        prepare, define_flags(), __doc__, arguments, ignored=train_flags.names()
    )


if __name__ == "__main__":
    main()
