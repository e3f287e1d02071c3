import pytest

from sop_keras.data.sources import load_source


def test_a_data_set_without_a_folder():
    assert load_source("digits").name == "digits"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_folder_reaches_the_reader(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/{name}"):
        load_source(name, str(tmp_path))


def test_unknown_name():
    text = r"one of digits, cifar10, cifar100\. Received: name='mnist'"
    with pytest.raises(ValueError, match=text):
        load_source("mnist")
