import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sop_keras import SOPModel
from sop_keras.core.training_record import TrainingRecord, record_rows


def test_what_is_written_is_read():
    record = TrainingRecord(5)
    assert record.is_empty()
    record.write(tf.constant([3, 0]), tf.constant([[7, 0.25, 2], [1, 0.5, 1]]))
    predictions, probs = record.read(np.array([0, 3]))
    assert predictions.tolist() == [1, 7]
    assert probs.tolist() == [0.5, 0.25]
    assert record.is_written(np.arange(5)).tolist() == [True, False, False, True, False]
    assert not record.is_empty()
    others = record.other_label(np.array([3, 0, 1]), np.array([2, 2, 2]))
    assert others.tolist() == [False, True, False]  # of the last, nothing is known


@pytest.mark.parametrize("jit_compile", [False, True])
def test_of_equal_ids_the_first_counts(jit_compile):
    record = TrainingRecord(3)
    ids = tf.constant([2, 0, 2, 0], tf.int64)
    rows = tf.constant([[4, 0.1, 0], [5, 0.2, 0], [6, 0.3, 0], [7, 0.4, 0]])
    tf.function(record.write, jit_compile=jit_compile)(ids, rows)
    predictions, probs = record.read(np.array([0, 2]))
    assert predictions.tolist() == [5, 4]
    np.testing.assert_allclose(probs, [0.2, 0.1])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_of_weight_0_nothing_is_recorded(jit_compile):
    record = TrainingRecord(5)
    record.write(tf.constant([1, 4]), tf.constant([[8, 0.8, 1], [9, 0.9, 1]]))
    # Ids 1 and 2 have weight 0; id 0 in the first of two places, id 4 in the second.
    ids = tf.constant([1, 0, 4, 2, 0, 4], tf.int64)
    weights = tf.constant([[0.0], [0.0], [0.5], [0.0], [1e-9], [0.0]])
    classes, probs = tf.eye(6), tf.linspace([0.1] * 6, [0.6] * 6, 6)
    rows = record_rows(classes, probs, tf.roll(classes, 1, axis=1), weights)
    write = tf.function(record.write, jit_compile=jit_compile)
    write(ids, rows)
    # The rows of places 4 and 2: predicted 4 and 2, labelled 5 and 3.
    np.testing.assert_allclose(
        record.table.numpy(),
        [[4, 0.5, 5], [8, 0.8, 1], [-1] * 3, [-1] * 3, [2, 0.3, 3]],
        rtol=1e-6,
    )


def test_a_probability_that_is_not_finite_is_written_as_0():
    record = TrainingRecord(2)
    record.write(tf.constant([0]), tf.constant([[1, float("nan"), 0]]))
    assert record.read(np.array([0]))[1].tolist() == [0.0]


def test_what_was_saved_before_there_was_a_record_leaves_it_empty():
    record = TrainingRecord(2)
    record.load_own_variables({})
    assert record.is_empty()


def test_what_was_saved_before_labels_could_be_trusted_trusts_none():
    record = TrainingRecord(2)
    record.trust(np.array([1]))
    record.load_own_variables({"0": np.float32([[2, 0.5, 1], [-1, -1, -1]])})
    assert record.labels([0, 1]).tolist() == [1, -1]
    assert record.trusted.numpy().tolist() == [[0.0], [0.0]]


def test_a_corrected_label_says_what_it_was_given_as():
    record = TrainingRecord(4)
    record.trust(np.array([0]))
    record.trust(np.array([1, 3]), np.array([0, 2]))
    assert record.is_trusted(np.arange(4))[:, 0].numpy().tolist() == [1, 1, 0, 1]
    # Labels as they are now, of which those of 1 and 3 came as 0 and 2.
    found = record.was_given(np.array([3, 2, 1, 0]), np.array([7, 7, 8, 9]))
    assert ops.convert_to_numpy(found).tolist() == [2, 7, 0, 9]
    record.forget(np.array([3]))
    assert ops.convert_to_numpy(record.was_given([3], [7])).tolist() == [7]


def test_all_labels_are_read_in_pieces(monkeypatch):
    monkeypatch.setattr("sop_keras.core.training_record._ROWS_AT_ONCE", 2)
    record = TrainingRecord(5)
    record.write(tf.constant([4, 2]), tf.constant([[0, 0.5, 3], [0, 0.5, 1.0]]))
    assert record.all_labels().tolist() == [-1, -1, 1, -1, 3]
    assert not record.is_empty()


@pytest.mark.parametrize("device", [None, "cpu"])
def test_training_writes_what_the_network_said_before_the_step(device):
    # Logits are the inputs: softmax(log 1, log 3) = 1/4, 3/4 whatever the step does.
    x = np.log(np.array([[1, 3], [3, 1], [1, 1]], "float32"))
    backbone = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
    model = SOPModel(backbone, 4, 2, table_device=device)
    model.compile("sgd")
    model.fit(
        x, {"label": np.array([0, 0, 1]), "index": np.array([3, 1, 0])}, verbose=0
    )
    np.testing.assert_allclose(
        model.training_record.table.numpy(),
        [[0, 0.5, 1], [0, 0.75, 0], [-1, -1, -1], [1, 0.25, 0]],
        rtol=1e-6,
    )
