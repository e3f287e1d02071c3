"""What a launcher needs to check its flags is there without TensorFlow or Keras."""

import json
import subprocess
import sys

import keras

from sop_keras.augment.named import augmentation
from sop_keras.augment.names import AUGMENTATIONS
from sop_keras.backbones.names import BACKBONES, KERAS_NAMES

# Names good and bad, options, and which modules were imported for all that.
SCRIPT = """
import json, sys
from sop_keras.augment.names import check_augmentation_name
from sop_keras.backbones.names import check_backbone_name
from sop_keras.data.datasets.by_name import (
    DATASETS, TFDS_PREFIX, DataFiles, check_dataset_name, dataset_options
)

errors = []
for check, known in (
    (check_augmentation_name, "uda"),
    (check_backbone_name, "EfficientNetB0"),
    (check_dataset_name, "cifar10"),
):
    check(known)
    try:
        check("none of these")
    except ValueError as error:
        errors.append(str(error))
options = {name: dataset_options(name) for name in [*DATASETS, TFDS_PREFIX + "mnist"]}
loaded = [name for name in ("tensorflow", "keras") if name in sys.modules]
print(json.dumps([errors, options, DataFiles().options(), loaded]))
"""


def test_names_and_options_are_checked_without_tensorflow():
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    errors, options, files, loaded = json.loads(done.stdout)
    assert loaded == []
    for error, one in zip(
        errors, ("autoaugment", "resnet34", "webvision"), strict=True
    ):
        assert "'none of these'" in error
        assert one in error
    assert options["digits"] == []
    assert options["cifar10n"] == ["data_dir", "label_set", "human_labels"]
    assert options["tfds:mnist"] == ["data_dir", "resize", "image_size"]
    # What all are given by `load_dataset` itself, and then those of single ones.
    known = {"max_image_bytes", *(one for takes in options.values() for one in takes)}
    assert known == {*files, "label_set", "num_classes", "resize", "image_size"}


def test_the_names_of_augmentations_stand_for_functions():
    for name in AUGMENTATIONS:
        if name != "keras_cv_randaugment":  # an extra, see tests/augment
            assert callable(augmentation(name, (0.5, 0.5, 0.5)))


def test_the_names_of_networks_are_those_of_keras():
    assert set(KERAS_NAMES) == {
        name for name in dir(keras.applications) if name[0].isupper()
    }
    for name, where in BACKBONES.items():
        assert where.endswith(f":{name}")
