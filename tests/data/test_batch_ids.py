import numpy as np
import pytest

from sop_keras.data.batches.batch_ids import batch_ids
from sop_keras.data.batches.pipelines import training_batches
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.randomness.keyed import random_bits

SEED = 5
IDS = np.random.default_rng(0).permutation(100)[:23]
TRAIN = Examples(IDS, np.zeros((23, 8, 8, 1), np.uint8), IDS % 4)
SOURCE = Dataset("own", tuple("abcd"), 100, TRAIN, None, (0.5,), (0.5,))


def test_ids_by_their_turns():
    # By the size of their draws as Python integers; 23 are batches of 5 and one of 3.
    draws = {int(i): int(random_bits(SEED, "epoch_order", 2, i)) for i in IDS}
    order = sorted(draws, key=draws.__getitem__)
    options = {"batch_size": 5, "seed": SEED, "epoch": 2}
    for step, batch in enumerate((order[:5], order[5:10], order[10:15], order[15:20])):
        ids = batch_ids(TRAIN, SOURCE, **options, step=step)
        assert ids.tolist() == batch
        assert ids.dtype == np.int64
    assert batch_ids(TRAIN, SOURCE, **options, step=4).tolist() == order[20:]
    several = batch_ids(TRAIN, SOURCE, **options, step=1, num_steps=4)
    assert several.tolist() == order[5:]


@pytest.mark.parametrize("examples_per_class", [0, 3])
def test_they_are_those_of_the_batches(examples_per_class):
    options = {
        "batch_size": 5,
        "seed": SEED,
        "examples_per_class": examples_per_class,
    }
    batches = list(training_batches(TRAIN, SOURCE, epochs=2, **options))
    steps = len(batches) // 2
    assert steps == {0: 5, 3: 3}[examples_per_class]  # 23 and 12 examples
    for number, (_, targets) in enumerate(batches):
        epoch, step = divmod(number, steps)
        ids = batch_ids(TRAIN, SOURCE, **options, epoch=epoch, step=step)
        np.testing.assert_array_equal(ids, targets["index"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"epoch": -1}, "epoch=-1"),
        ({"step": -1}, "step=-1"),
        ({"step": 5}, "5 batches, from 0 to 4.*step=5, num_steps=1"),
        ({"step": 3, "num_steps": 3}, "step=3, num_steps=3"),
        ({"num_steps": 0}, "num_steps=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"examples_per_class": 23}, "examples_per_class=23"),
    ],
)
def test_batches_that_are_not_there(arguments, text):
    good = {"batch_size": 5, "seed": SEED, "epoch": 0, "step": 0}
    with pytest.raises(ValueError, match=text):
        batch_ids(TRAIN, SOURCE, **{**good, **arguments})
