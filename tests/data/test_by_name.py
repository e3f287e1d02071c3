import pytest

from sop_keras.data.datasets.by_name import DATASETS, check_dataset_name, load_dataset


def test_a_data_set_without_a_folder():
    assert load_dataset("digits").name == "digits"
    assert load_dataset("digits", "anywhere", label_set=None).name == "digits"


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar10n", "cifar100n"])
def test_the_folder_reaches_the_reader(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}"):
        load_dataset(name, str(tmp_path))


@pytest.mark.parametrize("name", ["mnist", "tfds:", "imagefolder"])
def test_unknown_name(name):
    text = rf"one of digits, cifar10.* or tfds:NAME.*Received: '{name}'"
    with pytest.raises(ValueError, match=text):
        load_dataset(name)


@pytest.mark.parametrize("name", [*DATASETS, "tfds:mnist"])
def test_known_names(name):
    check_dataset_name(name)


@pytest.mark.parametrize("name", ["clothing1m", "webvision", "image_folder"])
def test_a_folder_that_is_needed_is_asked_for(name):
    with pytest.raises(ValueError, match=f"{name} needs data_dir"):
        load_dataset(name)


def test_options_that_a_data_set_does_not_take():
    with pytest.raises(ValueError, match="cifar10 does not take label_set, resize"):
        load_dataset("cifar10", label_set="worst", resize=64)
    text = "webvision does not take manifest.*It takes: data_dir, num_classes"
    with pytest.raises(ValueError, match=text):
        load_dataset("webvision", "anywhere", manifest="a.csv")


def test_the_expected_size_is_for_those_that_have_one():
    assert load_dataset("digits", expect_full_size=False).name == "digits"
