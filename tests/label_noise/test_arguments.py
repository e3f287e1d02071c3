import numpy as np
import pytest

from sop_keras.label_noise.arguments import ids_of_labels
from sop_keras.label_noise.asymmetric import asymmetric
from sop_keras.label_noise.symmetric import symmetric

LABELS = [0, 2, 1, 1]


def draw_symmetric(labels=LABELS, rate=0.5, num_classes=3, ids=None):
    return symmetric(labels, rate, num_classes, seed=0, ids=ids)


def draw_asymmetric(labels=LABELS, rate=0.5, num_classes=3, ids=None):
    return asymmetric(labels, rate, np.arange(num_classes), seed=0, ids=ids)


both_kinds = pytest.mark.parametrize("draw", [draw_symmetric, draw_asymmetric])


@both_kinds
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(3), r"shape \(3, 3\)\. Turn one-hot labels into numbers"),
        ([[0], [1]], r"shape \(2, 1\).* a column into a vector"),
        ([], "non-empty"),
        (3, r"one-dimensional.* shape \(\)"),
        ([0.0, 1.0], "must be integers.*dtype float64.*Cast class numbers to int64"),
        ([0.0, np.nan], r"must be integers.*Drop the examples that have no label"),
        ([True, False], "must be integers.*dtype bool"),
        (["cat", "dog"], "must be integers.*map class names to numbers"),
        ([0, 3], r"lie in \[0, 3\).*from 0 to 3"),
        ([-1, 2], r"lie in \[0, 3\).*from -1 to 2"),
    ],
)
def test_labels_that_are_not_class_numbers_are_refused(draw, labels, message):
    with pytest.raises(ValueError, match=message):
        draw(labels=np.array(labels))


@both_kinds
@pytest.mark.parametrize("rate", [-0.1, 1.01, 20, float("nan"), "0.2", None, True])
def test_a_rate_that_is_no_fraction_is_refused(draw, rate):
    with pytest.raises(ValueError, match=r"`rate` must be a number in \[0, 1\]"):
        draw(rate=rate)


@both_kinds
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 1, 2], "3 ids for 4 labels"),
        ([0, 1, 2, 3, 4], "5 ids for 4 labels"),
        ([0, 1, 2, -4], r"must not be negative\. Received: -4"),
        ([0, 1, 2, 1], "Received: id 1 2 times"),
        ([0.0, 1.0, 2.0, 3.0], "integers"),
    ],
)
def test_ids_that_do_not_fit_are_refused(draw, ids, message):
    with pytest.raises(ValueError, match=message):
        draw(ids=ids)


@both_kinds
@pytest.mark.parametrize("rate", [0, 1, np.float32(0.5), np.int64(1)])
def test_every_kind_of_number_is_a_rate(draw, rate):
    assert len(draw(rate=rate)) == 4


@pytest.mark.parametrize("num_classes", [1, 0, -3, 3.0, "3", True])
def test_a_bad_number_of_classes_is_refused(num_classes):
    with pytest.raises(ValueError, match="`num_classes` must be an integer of at"):
        symmetric(LABELS, 0.5, num_classes, seed=0)


@pytest.mark.parametrize(
    "class_map", [[0], [], [0, 3, 1], [0, -1, 1], [0.0, 1.0, 2.0], [[0, 1], [1, 0]]]
)
def test_a_bad_class_map_is_refused(class_map):
    with pytest.raises(ValueError, match="`class_map` must hold one class for each"):
        asymmetric([0, 0], 0.5, class_map, seed=0)


def test_a_class_map_that_is_too_short_for_the_labels_is_refused():
    with pytest.raises(ValueError, match=r"lie in \[0, 2\).*from 0 to 2"):
        asymmetric(LABELS, 0.5, [1, 0], seed=0)


def test_a_bad_seed_is_refused():
    with pytest.raises(ValueError, match="`seed` must be an integer"):
        symmetric(LABELS, 0.5, 3, seed=-1)
    with pytest.raises(ValueError, match="`seed` must be an integer"):
        asymmetric(LABELS, 0.5, [0, 1, 2], seed=-1)


def test_default_ids_count_from_zero():
    assert ids_of_labels(None, 4).tolist() == [0, 1, 2, 3]
    labels = np.zeros(1000, np.int64)
    np.testing.assert_array_equal(
        symmetric(labels, 0.5, 10, seed=3).labels,
        symmetric(labels, 0.5, 10, seed=3, ids=np.arange(1000)).labels,
    )
