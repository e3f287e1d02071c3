from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from settings import digits

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.prepare import prepare_dataset
from sop_keras.data.datasets.split import validation_ids
from sop_keras.training import experiment_data
from sop_keras.training.experiment_data import load_data


@pytest.fixture(scope="module")
def data():
    return load_data(digits(max_train_examples=0))


def test_the_parts_are_disjoint_and_keep_their_ids(data):
    # 1,797 digits: 360 test. Of 180 validation ids over the full range, some are
    # test examples, which never become validation.
    train, validation, test = (
        part.ids for part in (data.train, data.validation, data.tests["test"])
    )
    assert len(test) == 360
    assert len(train) + len(validation) == 1437
    assert 120 < len(validation) <= 180
    set_aside = validation_ids(1797, 180, seed=0)
    np.testing.assert_array_equal(validation, np.setdiff1d(set_aside, test))
    assert len({*train, *validation, *test}) == 1797


def test_training_and_validation_labels_are_noisy_and_test_labels_clean(data):
    # 40% redrawn from all 10 classes: 36% wrong. 4 standard errors of 1,437 draws: 5%.
    dataset = data.dataset
    clean = dict(zip(dataset.train.ids, dataset.train.labels, strict=True))
    for part in (data.train, data.validation):
        assert [clean[i] for i in part.ids] == part.clean_labels.tolist()
    wrong = np.concatenate(
        [part.labels != part.clean_labels for part in (data.train, data.validation)]
    )
    assert abs(wrong.mean() - 0.36) < 0.051
    assert data.validation.labels.tolist() != data.validation.clean_labels.tolist()
    np.testing.assert_array_equal(data.tests["test"].labels, dataset.test.labels)


def test_fewer_examples_are_a_subset_with_the_same_labels(data):
    small = load_data(digits())
    assert len(small.train) == 300
    labels = dict(zip(data.train.ids, data.train.labels, strict=True))
    assert [labels[i] for i in small.train.ids] == small.train.labels.tolist()
    np.testing.assert_array_equal(small.validation.ids, data.validation.ids)


def test_no_noise_leaves_the_labels():
    train = load_data(digits(noise="none")).train
    np.testing.assert_array_equal(train.labels, train.clean_labels)


def own(monkeypatch, clean_labels, validation=None):
    """Four examples of another data set, labelled 0, 1, 0, 1."""
    images = np.zeros((4, 8, 8, 1), np.uint8)
    train = Examples(np.arange(4), images, np.array([0, 1, 0, 1]), clean_labels)
    own = Dataset(
        "own", ("a", "b"), 4, train, None, (0.5,), (0.5,), validation=validation
    )
    monkeypatch.setattr(experiment_data, "load_dataset", lambda *args, **options: own)
    return train


def test_labels_with_errors_of_their_own_take_no_more_noise(monkeypatch):
    train = own(monkeypatch, clean_labels=np.array([0, 1, 1, 1]))
    plain = digits(num_validation=0)
    data = load_data(replace(plain, noise="none"))
    np.testing.assert_array_equal(data.train.labels, train.labels)
    np.testing.assert_array_equal(data.train.clean_labels, [0, 1, 1, 1])
    assert data.tests == {}
    with pytest.raises(ValueError, match=r"labels of own have errors of their own"):
        load_data(plain)


def test_as_many_are_set_aside_as_asked_for_where_ids_have_gaps(monkeypatch):
    keys = np.arange(10**6, 10**6 + 60, 2)  # those of a database, say
    images = np.zeros((30, 8, 8, 1), np.uint8)
    train = Examples(keys, images, np.arange(30) % 2)
    sparse = Dataset("own", ("a", "b"), 10**6 + 60, train, None, (0.5,), (0.5,))
    monkeypatch.setattr(experiment_data, "load_dataset", lambda *args, **kw: sparse)
    data = load_data(digits(noise="none", num_validation=7, max_train_examples=0))
    assert (len(data.validation), len(data.train)) == (7, 23)
    both = np.concatenate([data.validation.ids, data.train.ids])
    np.testing.assert_array_equal(np.sort(both), keys)


@pytest.mark.parametrize(
    ("ids", "test_ids"),
    [
        # One table of 30 rows, cut in two: its ids are in either part.
        (np.delete(np.arange(30), [3, 4, 11, 20, 28, 29]), [3, 4, 11, 20, 28, 29]),
        # Ids of two tables that know nothing of each other.
        (np.r_[:5, 100:105], np.arange(110)),
    ],
)
def test_ids_of_test_examples_take_no_place_of_those_set_aside(
    ids, test_ids, monkeypatch
):
    train, test = (
        Examples(one, np.zeros((len(one), 8, 8, 1), np.uint8), np.arange(len(one)) % 2)
        for one in (ids, np.asarray(test_ids))
    )
    size = int(ids.max()) + 1
    dataset = Dataset("own", ("a", "b"), size, train, test, (0.5,), (0.5,))
    monkeypatch.setattr(experiment_data, "load_dataset", lambda *args, **kw: dataset)
    for number in (1, 5, 9):
        data = load_data(
            digits(noise="none", num_validation=number, max_train_examples=0)
        )
        assert (len(data.validation), len(data.train)) == (number, len(ids) - number)


def test_labels_known_to_be_wrong_somewhere_take_no_noise(monkeypatch):
    # As those of Clothing1M and WebVision: nobody knows which ones are wrong.
    own(monkeypatch, clean_labels=None)
    dataset = replace(experiment_data.load_dataset("own"), labels_have_errors=True)
    monkeypatch.setattr(
        experiment_data, "load_dataset", lambda *args, **options: dataset
    )
    assert load_data(digits(num_validation=0, noise="none")).train.clean_labels is None
    with pytest.raises(ValueError, match="labels of own have errors of their own"):
        load_data(digits(num_validation=0))


def test_without_clean_labels_noise_is_drawn_from_the_given_ones(monkeypatch):
    train = own(monkeypatch, clean_labels=None)
    assert load_data(digits(num_validation=0, noise="none")).train.clean_labels is None
    noisy = load_data(digits(num_validation=0, noise_rate=1.0)).train
    np.testing.assert_array_equal(noisy.clean_labels, train.labels)


def test_the_validation_examples_of_a_data_set_are_used_unless_others_are(monkeypatch):
    validation = Examples(
        np.arange(2), np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1])
    )
    own(monkeypatch, None, validation)
    plain = digits(noise="none", num_validation=0, max_train_examples=0)
    assert load_data(plain).validation is validation
    assert len(load_data(plain).train) == 4
    assert len(load_data(replace(plain, num_validation=1)).validation) == 1


def test_options_that_a_data_set_does_not_take_are_refused_by_name():
    with pytest.raises(ValueError, match="digits does not take image_size, label_set"):
        load_data(digits(label_set="worst", image_size=224))
    with pytest.raises(ValueError, match="digits does not take manifest"):
        load_data(digits(), DataFiles(data_dir="x", manifest="y"))


def test_asymmetric_noise_needs_classes_it_is_defined_for():
    with pytest.raises(ValueError, match=r"defined for cifar10 and cifar100.*digits"):
        load_data(digits(noise="asymmetric"))


def test_a_validation_part_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match=r"num_validation=1796 leaves none of .*1437"):
        load_data(digits(num_validation=1796))


def test_held_out_images_that_are_listed_again_are_told(tmp_path, caplog):
    # 20 images in two rows each, of the last 10 the second path is written otherwise.
    rows = ["path,label"]
    for number in range(20):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{number}.png")
        rows += [
            f"{number}.png,{number % 2}",
            f"{'./' * (number > 9)}{number}.png,{number % 2}",
        ]
    table = tmp_path / "train.csv"
    table.write_text("\n".join(rows))
    files = DataFiles(manifest=str(table))
    settings = {"dataset": "manifest", "noise": "none", "max_train_examples": 0}
    settings |= {"num_validation": 10, "resize": 9, "image_size": 8}
    data = load_data(digits(**settings), files)
    # Rows 2i and 2i + 1 are of one image.
    images = data.validation.ids // 2
    shared = images[np.isin(images, data.train.ids // 2)]
    assert 0 < (shared < 10).sum() < len(shared)
    text = "the images of {} of the 10 validation examples are trained on, too"
    assert text.format(len(shared)) in caplog.text
    prepare_dataset(data.dataset, tmp_path / "p")
    caplog.clear()
    stored = DataFiles(data_dir=str(tmp_path / "p"))
    again = load_data(digits(**{**settings, "dataset": "prepared"}), stored)
    np.testing.assert_array_equal(again.validation.ids, data.validation.ids)
    assert text.format((shared < 10).sum()) in caplog.text  # by the names it has
    caplog.clear()
    table.write_text("\n".join([rows[0], *rows[1::2]]))
    load_data(digits(**settings), files)
    assert "trained on" not in caplog.text
