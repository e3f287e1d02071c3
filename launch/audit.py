"""Finds wrong labels in minutes, from features of a network that is trained already.

    python launch/audit.py PHOTOS                # a folder of a folder a class
    python launch/audit.py TABLE.csv             # path, label; or TABLE.parquet
    python launch/audit.py FEATURES.npy --labels=LABELS.csv     # or .npz
    python launch/audit.py PHOTOS --decisions=decisions.csv
    python launch/audit.py PHOTOS --backbone=keras_hub:PRESET
    python launch/audit.py PHOTOS --backbone=FILE.keras --mean=0 --std=1
    python launch/audit.py --dataset=cifar10n --label_set=worst --data_dir=DATA

A folder is short for --dataset=image_folder --data_dir=PHOTOS, a table for
--dataset=manifest --manifest=TABLE.csv, features for --features=FEATURES.npy, and so is
a .parquet with --labels=FILE. Without data, the digits are audited.

Each image is shown once to a frozen network, whose features are stored; a head is
trained on them with SOP, and says which labels look wrong. Any data set of
launch/train.py can be audited, and features of your own (docs/features.md).

--output_dir gets label_issues.csv, the lowest quality first; report.html, a page to go
through them, with images of no class, images under two labels and classes that look
like one; result.json; and of images features/, which the same command uses again: of
images that were not changed, none is seen twice. Interrupted, it goes on. Several
audits with one network share their features with --store=FOLDER.

--mean and --std say what the images of a network in a file are standardised with, where
it is not the backbone.keras of a run.

What people decided on that page is given as --decisions=FILE, several with commas: it
is learnt from, and what is left is put in a new order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import command
import data_argument
import flags_of
import scale_flags
import train_flags
from absl import flags
from installed import check_parquet

from sop_keras.auditing.head_settings import HeadSettings
from sop_keras.backbones.lite_weights import weights_file
from sop_keras.backbones.names import check_backbone_name
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.label_issues.decisions import check_there
from sop_keras.training.experiment import Experiment

OF_DATA = [
    one.name
    for one in flags_of.fields_of(Experiment)
    # Stored features are of images that are decoded exactly.
    if one.metadata["of_data"] and one.name != "decode"
]
_BACKBONE, _WEIGHTS = "efficientnet_lite0", "imagenet"


def define_flags() -> flags.FlagValues:
    """New flags of this command."""
    values = command.new_flags()
    flags_of.define(values, Experiment, OF_DATA)
    flags_of.define(values, DataFiles)
    flags_of.define(values, HeadSettings)
    own = command.own(values)
    values["noise"].default = values["noise"].value = "none"
    for name, default, text in (
        ("backbone", _BACKBONE, "The frozen network, or a .keras file."),
        ("pretrained", _WEIGHTS, "Its weights, or a file of them."),
        ("features", None, "Features of your own: .npy, .npz or .parquet."),
        ("labels", None, "Their labels: .npy, .csv, .txt or .parquet."),
        (
            "output_dir",
            None,
            "Where the results go; runs/NAME-audit if unset, of DATA or the data set.",
        ),
        (
            "store",
            None,
            "The folder of stored features; features/ below that if unset.",
        ),
        ("picture_folder", None, "As of launch/report.py."),
    ):
        flags.DEFINE_string(name, default, text, **own)
    scale_flags.define(values, "Of a run's backbone.keras, the run's; else ImageNet's")
    flags.DEFINE_list("decisions", [], "Files that the report's page saved.", **own)
    flags.DEFINE_integer(
        "num_examples", 200, "How many labels the page has.", lower_bound=1, **own
    )
    return values


def audit(line: command.CommandLine) -> None:
    """Audit what the flags name, and say what is found."""
    values = line.flags
    if line.arguments:
        data_argument.set_flags(line)
    settings = flags_of.read(values, HeadSettings)
    if values.labels is not None and values.features is None:
        raise ValueError("--labels are those of --features=FILE: give both.")
    if values.store is not None and values.features is not None:
        raise ValueError(
            "--store is where features of images are kept, and --features=FILE has "
            "them already: leave one out."
        )
    scale_flags.read(values)  # before anything is loaded
    if not values.backbone.endswith(".keras"):
        check_backbone_name(values.backbone)
    check_parquet(values.features, values.labels, values.manifest, values.test_manifest)
    used = (values.features, values.backbone, values.pretrained)
    if used == (None, _BACKBONE, _WEIGHTS):
        weights_file()  # which are a package, that may be missing
    if values.decisions:
        check_there(values.decisions)
    name = re.sub(r"\W", "_", values.dataset)
    if values.features is not None:
        name = re.sub(r"\W", "_", Path(values.features).stem)
    elif line.arguments:  # two folders of photos are two audits
        name = data_argument.name_of(line.arguments[0])
    folder = Path(values.output_dir or f"runs/{name}-audit")
    import audit_runs

    if values.features is not None:
        audit_runs.audit_own_features(values, folder, settings, line.words)
        return
    of_data = {
        one.name: flags_of.value_of(values, one)
        for one in flags_of.fields_of(Experiment)
        if one.name in OF_DATA
    }
    files = flags_of.read(values, DataFiles)
    audit_runs.audit_images(values, folder, settings, of_data, files, line.words)


def main(arguments: Sequence[str] | None = None) -> None:
    """Audit what the command line names."""
    command.run(
        audit,
        define_flags(),
        __doc__,
        arguments,
        ignored=train_flags.names(),
        argument="DATA",
        argument_is_optional=True,
    )


if __name__ == "__main__":
    main()
