"""Every check on arrays and inside `tf.data.Dataset.map`, with one expectation."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from sop_keras.core import label_checks
from sop_keras.core.data_errors import DataError, clear_data_errors


def on_array(check, values, *arguments):
    return check(values, *arguments)


def in_pipeline(check, values, *arguments):
    """The check as it runs in front of a training step."""
    mapping = tf.autograph.experimental.do_not_convert(lambda v: check(v, *arguments))
    dataset = tf.data.Dataset.from_tensors(values).map(mapping)
    with clear_data_errors():
        return next(iter(dataset)).numpy()


everywhere = pytest.mark.parametrize("run", [on_array, in_pipeline])


@everywhere
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "uint64"])
def test_indices(run, dtype):
    found = run(label_checks.check_indices, np.array([4, 0, 4], dtype), 5)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [4, 0, 4])


@everywhere
@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (
            [0, 5],
            r"^Index 5 is outside \[0, 5\). An index is an example's row .*num_ex",
        ),
        ([0, -1, -2], r"^Index -1 is outside \[0, 5\)"),
        (np.array([2**63], np.uint64), r"^Index 9223372036854775808 is outside"),
        ([0.0, 1.0], r"^The index must be of an integer dtype. Received: float"),
        ([True, False], r"^The index must be of an integer dtype. Received: bool"),
        (3, r"^The index is a single number.*Batch them: dataset.batch\(128\)"),
        ([[0], [1]], r"^The index must have one entry an example.*shape \(2, 1\)"),
    ],
)
def test_wrong_indices(run, indices, message):
    with pytest.raises(DataError, match=message):
        run(label_checks.check_indices, np.asarray(indices), 5)


@everywhere
@pytest.mark.parametrize(
    "labels",
    [
        np.array([2, 0, 1], np.uint8),
        np.array([2, 0, 1], np.int64),
        np.array([[2], [0], [1]], np.int32),
        np.array([2.0, 0.0, 1.0], np.float32),
    ],
)
def test_labels(run, labels):
    found = run(label_checks.check_labels, labels, 3)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [2, 0, 1])


@everywhere
@pytest.mark.parametrize("dtype", ["bool", "int64", "uint8", "float32", "float64"])
def test_one_hot_labels(run, dtype):
    labels = np.eye(3)[[2, 0, 1, 1]].astype(dtype)
    found = run(label_checks.check_labels, labels, 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, labels.astype(np.float32))


@everywhere
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], r"^Label 3 is not in \[0, 3\). Labels are integers in \[0, num_cla"),
        ([0, -1], r"^Label -1 is not in"),
        ([0.0, 0.5], r"^Label 0.5 is not in"),
        ([0.0, np.nan], r"^Label nan is not in"),
        ([0.0, np.inf], r"^Label inf is not in"),
        ([[0.0, 1.0, 0.0], [0.2, 0.5, 0.3]], r"^The label row \[0.2 0.5 0.3\] is not"),
        (
            [[0, 1, 1]],
            r"^The label row \[.*\] is not one-hot.*soft labels have no place",
        ),
        ([[0, 0, 0]], r"^The label row .* is not one-hot"),
        ([[0, 2, -1]], r"^The label row .* is not one-hot"),
        ([[0.0, np.nan, 1.0]], r"^The label row .* is not one-hot"),
        ([[0, 1], [1, 0]], r"^Labels of shape \(2, 2\) do not fit num_classes=3"),
        ([[[1], [0], [0]]], r"^Labels of shape \(1, 3, 1\) do not fit num_classes=3"),
        (["cat", "dog"], r"^Labels are text\. Number the classes: names, labels = np"),
        (1, r"^The label is a single number.*Batch them"),
    ],
)
def test_wrong_labels(run, labels, message):
    with pytest.raises(DataError, match=message):
        run(label_checks.check_labels, np.asarray(labels), 3)


def test_labels_as_they_come():
    expected = [1, 0]
    for labels in ([1, 0], tf.constant([1, 0]), pd.Series([1, 0], index=[7, 9])):
        found = label_checks.check_labels(labels, 2)
        np.testing.assert_array_equal(found, expected)
    frame = pd.get_dummies(pd.Series(["b", "a"]))
    np.testing.assert_array_equal(label_checks.check_labels(frame, 2), [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    "labels",
    [
        tf.sparse.from_dense(np.eye(2)),
        tf.ragged.constant([[0], [0, 1]]),
        np.array([0, None]),
    ],
    ids=["sparse", "ragged", "none"],
)
def test_labels_that_are_no_plain_arrays(labels):
    with pytest.raises(ValueError, match=r"Labels of dtype object are not numbers"):
        label_checks.check_labels(labels, 2)


@everywhere
def test_sample_weights(run):
    for weights in (np.float64([0.5, 2]), np.array([[0.5], [2]]), np.float32([0.5, 2])):
        found = run(label_checks.check_sample_weight, weights)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.float32([0.5, 2]))


@everywhere
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -0.5], r"^Sample weight -0.5 is negative or not finite"),
        ([1.0, np.nan], r"^Sample weight nan is negative or not finite"),
        ([1.0, np.inf], r"^Sample weight inf is negative or not finite"),
        ([[1.0, 2.0]], r"one number an example. Received: float64 of shape \(1, 2\)"),
        (1.0, r"^The sample weight is a single number"),
        (["a"], r"one number an example"),
    ],
)
def test_wrong_sample_weights(run, weights, message):
    with pytest.raises(DataError, match=message):
        run(label_checks.check_sample_weight, np.asarray(weights))


SIZES = {
    "others": (np.arange(3), None, {"a": np.zeros((3, 2)), "b": (np.zeros(3),)}),
    "labels alone": (),
}


@everywhere
@pytest.mark.parametrize("others", SIZES.values(), ids=SIZES.keys())
def test_as_many_of_everything(run, others):
    labels = np.array([2, 0, 1])
    np.testing.assert_array_equal(
        run(label_checks.check_sizes, labels, others), [2, 0, 1]
    )


@everywhere
@pytest.mark.parametrize(
    ("size", "others", "received"),
    [
        (3, (np.arange(2),), r"\[3 2\]"),
        (3, (np.arange(3), {"a": np.zeros((3, 2)), "b": np.zeros(4)}), r"\[3 3 3 4\]"),
        (1, (np.arange(3),), r"\[1 3\]"),  # which would pass for any number by itself
        (0, (np.arange(0), np.zeros((0, 2))), r"\[0 0 0\]"),
    ],
)
def test_another_number_of_something(run, size, others, received):
    message = rf"^There must be as many .* and at least one. Received .*{received}.$"
    with pytest.raises(DataError, match=message):
        run(label_checks.check_sizes, np.arange(size), others)


def test_lengths_of_sparse_and_ragged_inputs():
    sparse = tf.sparse.from_dense(np.ones((3, 2)))
    ragged = tf.ragged.constant([[1], [2, 3], []])
    for x in (sparse, ragged, pd.DataFrame(np.ones((3, 2)))):
        label_checks.check_sizes(np.arange(3), x)
        with pytest.raises(DataError, match=r"\[2 3\]"):
            label_checks.check_sizes(np.arange(2), x)
    check = tf.autograph.experimental.do_not_convert(label_checks.check_sizes)
    for x in (sparse, ragged):
        for size in (3, 2):
            data = tf.data.Dataset.from_tensors((np.arange(size), x)).map(check)
            if size == 3:
                assert next(iter(data)).shape == (3,)
            else:
                with pytest.raises(DataError, match=r"\[2 3\]"), clear_data_errors():
                    next(iter(data))


def test_weights_of_classes():
    table = np.float32([0.5, 1, 3, 1])
    for run in (on_array, in_pipeline):
        for labels in (np.array([2, 1, 0]), np.eye(4)[[2, 1, 0]]):
            found = run(label_checks.weights_of_classes, labels, table)
            np.testing.assert_array_equal(found, [3, 1, 0.5])


TEXT = (
    r"^Labels are text\. Number the classes: names, labels = np\.unique\(y, return_in"
)


@everywhere
@pytest.mark.parametrize(
    "labels",
    [["cat", "dog"], np.array(["cat", None], object), [b"cat", b"dog"]],
    ids=["str", "object", "bytes"],
)
def test_text_is_to_be_numbered(run, labels):
    if run is in_pipeline:
        labels = ["" if one is None else one for one in labels]
    with pytest.raises(DataError, match=TEXT):
        run(label_checks.check_labels, labels, 2)


def test_columns_of_text_and_of_other_objects():
    for labels in (pd.Series(["cat", "dog"]), pd.Series(["a"]).astype("category")):
        with pytest.raises(DataError, match=TEXT):
            label_checks.check_labels(labels, 2)
    with pytest.raises(DataError, match="of dtype object are not numbers"):
        label_checks.check_labels(np.array([0, None], object), 2)


def test_a_rank_that_is_not_known_is_named():
    dataset = tf.data.Dataset.from_generator(
        lambda: iter([[0, 1]]), output_types=tf.int64
    )
    for check in (label_checks.check_labels, label_checks.check_indices):
        mapping = tf.autograph.experimental.do_not_convert(lambda v, c=check: c(v, 5))
        with pytest.raises(DataError, match=r"unknown rank.*tf.ensure_shape"):
            dataset.map(mapping)
