import numpy as np
import pytest

from sop_keras.data.datasets.dataset import Dataset, Examples


def some_examples():
    images = np.arange(5 * 2 * 2 * 1, dtype=np.uint8).reshape(5, 2, 2, 1)
    return Examples(np.array([3, 1, 4, 15, 9]), images, np.array([0, 1, 0, 1, 2]))


@pytest.mark.parametrize(
    "positions", [np.array([3, 0]), np.array([True, False, False, True, False])]
)
def test_taking_keeps_ids_images_and_labels_together(positions):
    taken = some_examples().take(positions)
    rows = {
        int(i): (x.tolist(), int(y))
        for i, x, y in zip(taken.ids, taken.images, taken.labels, strict=True)
    }
    assert rows == {
        3: ([[[0], [1]], [[2], [3]]], 0),
        15: ([[[12], [13]], [[14], [15]]], 1),
    }
    assert len(taken) == 2


def test_other_labels_leave_the_examples_alone():
    clean = some_examples()
    noisy = clean.with_labels([2, 2, 2, 2, 2])
    assert noisy.labels.tolist() == [2, 2, 2, 2, 2]
    assert noisy.labels.dtype == np.int64
    assert noisy.ids is clean.ids
    assert noisy.images is clean.images
    assert clean.labels.tolist() == [0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("images", np.zeros((5, 2, 2), np.uint8), r"shape \(5, 2, 2\).*\[\.\.\., None"),
        ("images", np.zeros((5, 2, 2, 1), np.float32), "float32"),
        ("ids", np.arange(4), r"`ids`.*shape \(5,\).*int64 of shape \(4,\)"),
        ("ids", np.arange(5.0), "`ids`.*float64"),
        ("labels", np.zeros((5, 1), np.int64), r"`labels`.*of shape \(5, 1\)"),
        ("labels", np.zeros(5, bool), "`labels`.*bool"),
    ],
)
def test_arrays_that_are_not_examples(field, value, text):
    good = some_examples()
    arrays = {"ids": good.ids, "images": good.images, "labels": good.labels}
    with pytest.raises(ValueError, match=text):
        Examples(**{**arrays, field: value})


def test_labels_of_another_length():
    with pytest.raises(ValueError, match=r"int64 of shape \(2,\)"):
        some_examples().with_labels([0, 1])


def test_number_of_classes_is_that_of_their_names():
    examples = some_examples()
    dataset = Dataset("own", ("a", "b", "c"), 16, examples, examples, (0.5,), (0.2,))
    assert dataset.num_classes == 3
