import numpy as np
import pytest
import tensorflow as tf

from sop_keras.data.batches.epoch_order import epoch_order
from sop_keras.data.batches.epoch_size import num_in_epoch
from sop_keras.randomness.keyed import random_bits

SEED = 5
IDS = np.random.default_rng(0).permutation(1000)[:60]
# Classes of 30, 20 and 10.
LABELS = np.repeat([0, 1, 2], [30, 20, 10])


def order(epoch, examples_per_class=0):
    ids, labels = tf.constant(IDS, tf.int64), tf.constant(LABELS, tf.int64)
    return epoch_order(SEED, epoch, ids, labels, examples_per_class).numpy()


def turns(epoch):
    """Places by the size of their draws as Python integers."""
    draws = [int(random_bits(SEED, "epoch_order", epoch, i)) for i in IDS]
    return sorted(range(len(IDS)), key=draws.__getitem__)


@pytest.mark.parametrize("epoch", [0, 1])
def test_all_examples_by_their_turns(epoch):
    assert order(epoch).tolist() == turns(epoch)


@pytest.mark.parametrize("epoch", [0, 1, 2])
@pytest.mark.parametrize("examples_per_class", [1, 7, 10])
def test_of_every_class_those_whose_turn_comes_first(epoch, examples_per_class):
    expected, counts = [], {0: 0, 1: 0, 2: 0}
    for place in turns(epoch):
        if counts[LABELS[place]] < examples_per_class:
            counts[LABELS[place]] += 1
            expected.append(place)
    assert order(epoch, examples_per_class).tolist() == expected
    assert len(expected) == num_in_epoch(LABELS, 3, examples_per_class)


def test_the_subset_is_drawn_anew_in_each_epoch():
    assert {*order(0, 5)} != {*order(1, 5)}


def test_the_number_of_examples():
    assert num_in_epoch(LABELS, 3, 0) == 60
    assert num_in_epoch(LABELS, 3, 10) == 30


@pytest.mark.parametrize(
    ("num_classes", "examples_per_class", "text"),
    [
        (3, 11, r"smallest class, here 10 \(class 2\).*examples_per_class=11"),
        (4, 1, r"here 0 \(class 3\)"),
        (3, -1, "examples_per_class=-1"),
    ],
)
def test_more_than_a_class_has_is_refused(num_classes, examples_per_class, text):
    with pytest.raises(ValueError, match=text):
        num_in_epoch(LABELS, num_classes, examples_per_class)
