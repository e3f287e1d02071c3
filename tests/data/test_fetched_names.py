"""Names and places of data sets that the network would be asked for."""

import pytest

from sop_keras.data.datasets.by_name import (
    NOT_RECORDED,
    DataFiles,
    check_not_fetched,
    check_recorded_path,
    is_fetched,
)
from sop_keras.training.run_folder import recorded


@pytest.mark.parametrize(
    "name",
    [
        *(
            "digits",
            "manifest",
            "tfds:mnist",
            "tfds:emnist/letters",
            "tfds:mnist:3.0.1",
        ),
        *("tfds:emnist/letters:3.1.0", "tfds:cifar10:3.*.*", "tfds:a/b-1.0+c"),
    ],
)
def test_names_of_this_machine(name):
    assert not is_fetched(name)
    check_not_fetched(name, "run", DataFiles())


@pytest.mark.parametrize(
    "name",
    [
        "tfds:huggingface:mnist",
        "tfds:huggingface:a__b/c:1.0.0",
        "tfds:kaggle:set",
        "tfds:mnist/try_gcs=True",
        "tfds:mnist:3.0.1/data_dir=gs://bucket",
        "tfds:gs://bucket/set",
        "tfds:mnist\n",
    ],
)
def test_names_that_may_be_fetched(name):
    assert is_fetched(name)
    for files in (DataFiles(), DataFiles(may_fetch="tfds:mnist")):
        with pytest.raises(
            ValueError, match=r"may come out of the network.*--may_fetch"
        ):
            check_not_fetched(name, "run", files)
    check_not_fetched(name, "run", DataFiles(may_fetch=name))


def test_addresses_are_no_paths_of_a_run():
    check_recorded_path("data_dir", "/data", "run")
    check_recorded_path("expect_full_size", True, "run")
    with pytest.raises(
        ValueError, match=r"'gs://bucket'.*Pass --data_dir=PATH yourself"
    ):
        check_recorded_path("data_dir", "gs://bucket", "run")


def test_what_protects_from_a_folder_is_not_in_it():
    assert not {*NOT_RECORDED} & {*recorded(DataFiles())}
    assert {*NOT_RECORDED} < {*DataFiles.__dataclass_fields__}
