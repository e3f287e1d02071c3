import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf

from sop_keras.indexing import training_data

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


@pytest.mark.parametrize("x", [DATASET, Batches(), X, tf.constant(X), pd.DataFrame(X)])
def test_peeking_at_inputs_leaves_them_as_they_are(x):
    spec, again = training_data.peek_inputs(x)
    assert again is x
    assert (spec.shape, spec.dtype) == ((None, 2), "float32")


def test_peeking_into_structures_and_sparse_inputs():
    inputs = {"a": X, "b": (np.zeros((6, 3, 1), np.uint8), scipy.sparse.csr_matrix(X))}
    spec, _ = training_data.peek_inputs(inputs)
    found = {"a": spec["a"].shape, "b": spec["b"][0].shape, "c": spec["b"][1].shape}
    assert found == {"a": (None, 2), "b": (None, 3, 1), "c": (None, 2)}
    assert spec["b"][0].dtype == "uint8"


def test_peeking_into_a_generator_loses_no_batch():
    spec, again = training_data.peek_inputs(generator())
    assert spec.shape == (None, 2)
    assert len(list(again)) == 2
