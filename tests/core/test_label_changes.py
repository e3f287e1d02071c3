"""Ids that come with other labels than before, in arrays and in input pipelines."""

import numpy as np
import pytest
import tensorflow as tf

from sop_keras.core.data_errors import DataError, clear_data_errors
from sop_keras.core.label_changes import (
    KnownLabels,
    check_changed_labels,
    one_label_each,
    refuse_changed,
    refuse_two_labels,
)
from sop_keras.core.training_record import UNKNOWN, TrainingRecord

# Of 5 examples; the last one was never trained on.
KNOWN = np.array([0, 1, 2, 0, UNKNOWN], np.int32)


def test_how_many_changed_which_and_what_to_do():
    ids, labels = np.array([4, 3, 1, 2]), np.array([2, 1, 1, 0])
    # 4 is new and 1 is as it was; 3 was 0 and is 1, 2 was 2 and is 0.
    message = r"2 of 4 examples.*first is index 3, whose label was 0 and is 1 now"
    with pytest.raises(DataError, match=message) as found:
        refuse_changed(ids, labels, KNOWN[ids])
    for way_out in (
        'pass ids: y={"label": labels, "index": ids}',
        'changed_labels="reset"',
        "reset_examples(ids)",
        'changed_labels="keep"',
    ):
        assert way_out in str(found.value)


def test_two_labels_of_one_index_at_once():
    refuse_two_labels(np.array([3, 1, 3]), np.array([2, 0, 2]))
    refuse_two_labels(np.array([], np.int64), np.array([], np.int64))
    # 1 comes with 0, 0, 2 and 5 with 4, 3.
    ids, labels = np.array([1, 5, 1, 2, 5, 1]), np.array([0, 4, 0, 0, 3, 2])
    message = r"two labels at once, 2 times in 6.*index 1, with the labels 0 and 2"
    with pytest.raises(DataError, match=message):
        refuse_two_labels(ids, labels)


def test_a_choice_that_there_is_not():
    with pytest.raises(ValueError, match=r"changed_labels.*refuse, reset, keep"):
        check_changed_labels("ignore")


def record():
    found = TrainingRecord(5)
    labels = KNOWN[:4].astype(np.float32)
    found.write(np.arange(4), np.stack([labels, labels, labels], axis=1))
    return found


def run(batches, check, one_hot, in_pipeline):
    """The ids of all batches, as a check gives them back."""
    width = 3
    if one_hot:
        batches = [(ids, np.eye(width, dtype="float32")[y]) for ids, y in batches]
    if not in_pipeline:
        return [check(*batch).tolist() for batch in batches]
    shape = [None, width] if one_hot else [None]
    specs = (
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec(shape, tf.float32 if one_hot else tf.int64),
    )
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(batches), output_signature=specs
    )
    check = tf.autograph.experimental.do_not_convert(check)
    dataset = dataset.map(check).prefetch(2)
    assert dataset.element_spec.shape.as_list() == [None]
    with clear_data_errors():
        return [ids.tolist() for ids in dataset.as_numpy_iterator()]


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_the_first_batch_that_shows_it_is_refused(one_hot, in_pipeline):
    def batch(ids, labels):
        return np.array(ids), np.array(labels)

    fine = [batch([0, 4, 4], [0, 1, 1]), batch([2, 4], [2, 1])]
    check = KnownLabels(record()).checked
    assert run(fine, check, one_hot, in_pipeline) == [[0, 4, 4], [2, 4]]
    with pytest.raises(DataError, match=r"1 of 2 examples.*index 1.*was 1 and is 0"):
        run([batch([0, 1], [0, 0])], check, one_hot, in_pipeline)
    if not in_pipeline:  # nobody had trained on 4, but this stream brought it as 1
        with pytest.raises(DataError, match=r"1 of 1 examples.*index 4.*was 1 and is"):
            run([batch([4], [2])], check, one_hot, in_pipeline)
    for check in (one_label_each, KnownLabels(record()).checked):
        with pytest.raises(DataError, match=r"once, 1 times in 2.*labels 1 and 2\."):
            run([batch([4, 4], [1, 2])], check, one_hot, in_pipeline)


def test_what_was_trained_on_in_an_epoch_is_compared_after_it():
    trained = record()
    known = KnownLabels(trained)

    def train(ids, labels):
        rows = np.stack([labels, np.full(len(ids), 0.5), labels], axis=1)
        trained.write(np.array(ids), np.float32(rows))
        known.on_epoch_end(0)

    train([0, 4], [0, 2])
    train([4, 3], [2, 0])
    with pytest.raises(DataError, match=r"1 of 5 examples.*index 4.*was 2 and is 1"):
        train([4], [1])
