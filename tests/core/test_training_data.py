import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf

from sop_keras.core import training_data
from sop_keras.core.data_errors import DataError

X, Y = np.zeros((6, 2), np.float32), np.zeros(6, np.int64)
TARGETS = {"label": Y, "index": np.arange(6)}


class Batches(keras.utils.PyDataset):
    num_batches = 2

    def __getitem__(self, position):
        return X[:3], Y[:3]


class Endless(Batches):
    num_batches = None


def generator():
    yield from [(X[:3], Y[:3]), (X[3:], Y[3:])]


DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(3)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ((X,), (X, None, None, None)),
        ((X, Y), (X, Y, None, None)),
        ((X, Y, 1), (X, Y, None, 1)),
        ((X, TARGETS), (X, Y, TARGETS["index"], None)),
        ((X, TARGETS, 1), (X, Y, TARGETS["index"], 1)),
        ((X, TARGETS, {"label": 1, "index": 1}), (X, Y, TARGETS["index"], 1)),
        ((X, {"label": Y}), (X, Y, None, None)),
    ],
)
def test_unpack(data, expected):
    for found, value in zip(training_data.unpack(data), expected, strict=True):
        assert found is value


def test_streams_and_what_can_be_shuffled():
    streams = (DATASET, Batches(), Endless(), generator())
    assert [training_data.is_stream(x) for x in streams] == [True] * 4
    assert [training_data.fixed_order(x) for x in streams] == [True, False, True, True]
    for x in (X, {"a": X}, (X, X), [X], tf.constant(X)):
        assert not training_data.is_stream(x)
        assert not training_data.fixed_order(x)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (DATASET, None),
        (DATASET.map(lambda x, y: (x, {"label": y, "index": y + 1})), None),
        (lambda context: DATASET, None),
        (Batches(), None),
        (X, Y),
        (X, TARGETS),
        (tf.constant(X), tf.constant(Y)),
        (pd.DataFrame(X), pd.Series(Y)),
        (X, list(Y)),
    ],
)
def test_peeking_at_data_leaves_them_as_they_are(x, y):
    spec, labels, again = training_data.peek(x, y)
    assert again is x
    assert (spec.shape, spec.dtype) == ((None, 2), "float32")
    assert (labels.shape, labels.dtype) == ((None,), "int64")


def test_peeking_into_structures_and_sparse_inputs():
    inputs = {"a": X, "b": (np.zeros((6, 3, 1), np.uint8), scipy.sparse.csr_matrix(X))}
    spec, labels, _ = training_data.peek(inputs, np.eye(6, dtype=np.float32))
    found = {"a": spec["a"].shape, "b": spec["b"][0].shape, "c": spec["b"][1].shape}
    assert found == {"a": (None, 2), "b": (None, 3, 1), "c": (None, 2)}
    assert spec["b"][0].dtype == "uint8"
    assert (labels.shape, labels.dtype) == ((None, 6), "float32")


def test_peeking_into_a_generator_loses_no_batch():
    spec, labels, again = training_data.peek(generator(), None)
    assert (spec.shape, labels.shape) == ((None, 2), (None,))
    assert len(list(again)) == 2


def test_an_empty_generator_is_refused():
    with pytest.raises(DataError, match=r"The generator gave no batch\."):
        training_data.peek((batch for batch in ()), None)


def test_a_function_of_the_input_context_is_a_stream_that_cannot_be_shuffled():
    strategy = tf.distribute.get_strategy()
    assert training_data.is_stream(lambda context: DATASET)
    distributed = strategy.distribute_datasets_from_function(lambda context: DATASET)
    # Without a strategy, that is the data set itself.
    assert training_data.fixed_order(distributed)
    inputs = (lambda context: DATASET.take(context.num_input_pipelines), None, None)
    checked, *rest = training_data.TrainingData(6, 2, lambda x, _: x).for_evaluation(
        *inputs
    )
    assert rest == [None, None]
    # The function is asked for its own part of the batches, and these are checked.
    batches = list(checked(tf.distribute.InputContext()))
    assert len(batches) == 1
    ones = training_data.TrainingData(6, 2, lambda x, _: x).for_evaluation(
        lambda context: DATASET.map(lambda x, y: (x, y + 2))
    )[0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="DataError"):
        list(ones(tf.distribute.InputContext()))
