import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras.augment.autoaugment import autoaugment
from sop_keras.augment.crop_and_flip import pad_crop_flip
from sop_keras.augment.uda import uda
from sop_keras.data.batches.pipelines import (
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.randomness.keyed import random_bits

MEAN, STD = (0.5, 0.25, 0.125), (0.2, 0.3, 0.4)
SEED = 7


@pytest.fixture(scope="module")
def dataset():
    """Twenty-three training examples with ids up to 99, in no order."""
    rng = np.random.default_rng(0)

    def examples(ids):
        images = rng.integers(0, 256, (len(ids), 16, 18, 3), np.uint8)
        return Examples(ids, images, ids % 4)

    train = examples(rng.permutation(100)[:23])
    return Dataset("own", tuple("abcd"), 100, train, examples(np.arange(7)), MEAN, STD)


def standardized(images):
    return (images / 255 - np.array(MEAN)) / np.array(STD)


def expected_order(epoch, ids):
    """Places of the ids, by the size of their draws as Python integers."""
    draws = [int(random_bits(SEED, "epoch_order", epoch, i)) for i in ids]
    return sorted(range(len(ids)), key=draws.__getitem__)


def ids_by_epoch(batches, steps):
    ids = [targets["index"].numpy() for _, targets in batches]
    assert len(ids) % steps == 0
    epochs = (ids[i : i + steps] for i in range(0, len(ids), steps))
    return [np.concatenate(epoch).tolist() for epoch in epochs]


def test_plain_batches_against_a_loop(dataset):
    train = dataset.train
    pipeline = training_batches(
        train, dataset, batch_size=5, epochs=3, seed=SEED, augment="none"
    )
    batches = iter(pipeline)
    for epoch in range(3):
        order = expected_order(epoch, train.ids)
        # 23 examples in batches of 5: four full ones and one of 3.
        for start, size in ((0, 5), (5, 5), (10, 5), (15, 5), (20, 3)):
            images, targets = next(batches)
            places = order[start : start + 5]
            assert images.shape == (size, 16, 18, 3)
            np.testing.assert_allclose(
                images, standardized(train.images[places]), atol=2e-6
            )
            assert targets["label"].numpy().tolist() == train.labels[places].tolist()
            assert targets["index"].numpy().tolist() == train.ids[places].tolist()
    assert next(batches, None) is None
    assert pipeline.cardinality() == 15


def test_dtypes_and_shapes_are_known_to_keras(dataset):
    batches = training_batches(
        dataset.train, dataset, batch_size=5, epochs=1, seed=SEED
    )
    assert batches.element_spec == (
        tf.TensorSpec((None, 16, 18, 3), tf.float32),
        {
            "label": tf.TensorSpec((None,), tf.int64),
            "index": tf.TensorSpec((None,), tf.int64),
        },
    )


def test_weak_views_depend_on_seed_epoch_and_id(dataset):
    train = dataset.train
    batches = training_batches(train, dataset, batch_size=4, epochs=2, seed=SEED)
    seen = {}
    for step, (images, targets) in enumerate(batches):
        for image, i in zip(images.numpy(), targets["index"].numpy(), strict=True):
            seen[step // 6, int(i)] = image
    assert len(seen) == 2 * 23
    for epoch in range(2):
        # The shorter side is 16: crops shift by up to 16 / 8 pixels.
        views = pad_crop_flip(train.images, train.ids, epoch, SEED, padding=2).numpy()
        for view, i in zip(views, train.ids, strict=True):
            np.testing.assert_allclose(
                seen[epoch, int(i)], standardized(view), atol=2e-6
            )


@pytest.mark.parametrize(
    "strong", [uda, autoaugment], ids=lambda policy: policy.__name__
)
def test_pairs_are_the_plain_view_and_a_strong_one(dataset, strong):
    train = dataset.train
    options = {"batch_size": 4, "epochs": 2, "seed": SEED}
    plain = training_batches(train, dataset, **options)
    pairs = training_batches(train, dataset, **options, strong_augment=strong.__name__)
    spec = tf.TensorSpec((None, 16, 18, 3), tf.float32)
    assert pairs.element_spec == ((spec, spec), plain.element_spec[1])
    assert pairs.cardinality() == 12

    # Half of the shorter side, 16; the mean colour: 127.5, 63.75 and 31.875, rounded.
    sizes = {"padding": 2, "cutout_size": 8, "fill": (128, 64, 32)}
    strong_seed = int(random_bits(SEED, "strong_view"))
    expected = [
        strong(train.images, train.ids, epoch, strong_seed, **sizes).numpy()
        for epoch in range(2)
    ]
    place = {int(i): position for position, i in enumerate(train.ids)}
    for step, (one, both) in enumerate(zip(plain, pairs, strict=True)):
        (weak, strong_views), targets = both
        np.testing.assert_array_equal(weak, one[0])
        tf.nest.map_structure(np.testing.assert_array_equal, targets, one[1])
        places = [place[int(i)] for i in targets["index"]]
        np.testing.assert_allclose(
            strong_views, standardized(expected[step // 6][places]), atol=2e-6
        )


def test_the_views_of_a_pair_are_independent(dataset):
    # Both views flip half the time: of 23 * 100 pairs, each of the four combinations is
    # a quarter, 575, with deviation sqrt(2300 / 4 * 3 / 4) = 20.8.
    train = dataset.train
    pairs = training_batches(
        train,
        dataset,
        batch_size=23,
        epochs=100,
        seed=SEED,
        augment="flip",
        strong_augment="flip",
    )
    originals = dict(zip(train.ids, standardized(train.images), strict=True))
    counts = np.zeros((2, 2), int)
    for (weak, strong), targets in pairs:
        plain = np.stack([originals[i] for i in targets["index"].numpy()])
        flipped = [
            np.abs(views - plain).max(axis=(1, 2, 3)) > 1e-3
            for views in (weak.numpy(), strong.numpy())
        ]
        np.add.at(counts, tuple(np.int64(flipped)), 1)
    assert counts.sum() == 2300
    assert np.abs(counts - 575).max() < 4 * 20.8


def test_every_epoch_has_every_id_once_in_another_order(dataset):
    batches = training_batches(
        dataset.train, dataset, batch_size=5, epochs=6, seed=SEED
    )
    epochs = ids_by_epoch(batches, steps=5)
    assert len(epochs) == 6
    assert all(sorted(ids) == sorted(dataset.train.ids) for ids in epochs)
    assert len({tuple(ids) for ids in epochs}) == 6


def test_another_seed_gives_another_order(dataset):
    first, second = (
        training_batches(dataset.train, dataset, batch_size=23, epochs=1, seed=seed)
        for seed in (0, 1)
    )
    assert ids_by_epoch(first, 1) != ids_by_epoch(second, 1)


def test_a_subset_keeps_its_relative_order(dataset):
    subset = dataset.train.take(np.arange(0, 23, 2))
    whole, part = (
        ids_by_epoch(
            training_batches(e, dataset, batch_size=23, epochs=3, seed=SEED), steps=1
        )
        for e in (dataset.train, subset)
    )
    assert part == [[i for i in ids if i in subset.ids] for ids in whole]


def test_positions_are_shuffled_evenly(dataset):
    # Over 400 epochs the first example of the epoch is each of the 23 about 400 / 23
    # times: Pearson's chi-square with 22 degrees of freedom, mean 22, deviation 6.6.
    batches = training_batches(
        dataset.train, dataset, batch_size=23, epochs=400, seed=SEED, augment="none"
    )
    first = [targets["index"].numpy()[0] for _, targets in batches]
    counts = np.array([first.count(i) for i in dataset.train.ids])
    chi_square = np.sum((counts - 400 / 23) ** 2) / (400 / 23)
    assert abs(chi_square - 22) < 4 * np.sqrt(2 * 22)


@pytest.mark.parametrize(
    ("augment", "strong_augment"),
    [("weak", None), ("flip", None), ("none", "uda")],
)
def test_a_later_start_continues_the_same_run(dataset, augment, strong_augment):
    def run(initial_epoch):
        return list(
            training_batches(
                dataset.train,
                dataset,
                batch_size=5,
                epochs=4,
                seed=SEED,
                initial_epoch=initial_epoch,
                augment=augment,
                strong_augment=strong_augment,
            )
        )

    whole, rest = run(0), run(2)
    assert len(rest) == 10
    for expected, received in zip(whole[10:], rest, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, expected, received)
    assert run(4) == []


@pytest.mark.parametrize("examples_per_class", [0, 3])
@pytest.mark.parametrize("strong_augment", [None, "flip"])
def test_a_start_within_an_epoch_continues_the_same_run(
    dataset, examples_per_class, strong_augment
):
    # Batches of 5: an epoch of 23 examples has 5, one of 3 of 4 classes has 3.
    assert np.bincount(dataset.train.labels, minlength=4).min() >= 3
    steps = {0: 5, 3: 3}[examples_per_class]

    def run(initial_epoch=0, initial_step=0):
        pipeline = training_batches(
            dataset.train,
            dataset,
            batch_size=5,
            epochs=3,
            seed=SEED,
            initial_epoch=initial_epoch,
            initial_step=initial_step,
            strong_augment=strong_augment,
            examples_per_class=examples_per_class,
        )
        batches = list(pipeline)
        assert pipeline.cardinality() == len(batches)
        return batches

    whole = run()
    assert len(whole) == 3 * steps
    for epoch, step in ((0, 1), (1, 2), (2, steps - 1)):
        rest = run(epoch, step)
        for expected, received in zip(whole[epoch * steps + step :], rest, strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, expected, received)


class IndexRecorder(keras.Model):
    def __init__(self):
        super().__init__()
        self.seen = []

    def train_step(self, data):
        _, targets = data
        self.seen.append(targets["index"].numpy())
        return {"batches": tf.constant(len(self.seen))}


def test_fit_goes_through_the_epochs_in_one_pass(dataset):
    recorder = IndexRecorder()
    recorder.compile(run_eagerly=True)
    recorder.fit(
        training_batches(
            dataset.train, dataset, batch_size=5, epochs=4, initial_epoch=1, seed=SEED
        ),
        epochs=4,
        initial_epoch=1,
        steps_per_epoch=steps_per_epoch(23, 5),
        shuffle=False,
        verbose=0,
    )
    assert len(recorder.seen) == 15
    for epoch in (1, 2, 3):
        seen = np.concatenate(recorder.seen[5 * (epoch - 1) : 5 * epoch])
        order = expected_order(epoch, dataset.train.ids)
        assert seen.tolist() == dataset.train.ids[order].tolist()


@pytest.mark.parametrize("strong", [None, "uda"])
def test_nothing_waits_for_a_tuner(dataset, strong):
    # An iterator that TensorFlow tunes may end seconds after its last batch; the option
    # is what TensorFlow asks before it starts the thread (`without_autotuning`).
    trained = training_batches(
        dataset.train, dataset, batch_size=4, epochs=1, seed=0, strong_augment=strong
    )
    evaluated = evaluation_batches(dataset.test, dataset)
    for batches in (trained, evaluated, evaluated.map(lambda x, y: x)):
        assert batches.options().autotune.enabled is False


def test_evaluation_is_in_order(dataset):
    batches = evaluation_batches(dataset.test, dataset, batch_size=3)
    received = [(len(images), images, labels) for images, labels in batches]
    assert [size for size, _, _ in received] == [3, 3, 1]
    np.testing.assert_allclose(
        np.concatenate([images for _, images, _ in received]),
        standardized(dataset.test.images),
        atol=2e-6,
    )
    labels = np.concatenate([labels for _, _, labels in received])
    assert labels.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert labels.dtype == np.int64
    assert batches.cardinality() == 3


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "steps"),
    [(45_000, 128, 352), (50_000, 128, 391), (128, 128, 1), (129, 128, 2), (1, 9, 1)],
)
def test_steps_per_epoch(num_examples, batch_size, steps):
    # 351 * 128 = 44,928 and 390 * 128 = 49,920 leave a last batch of 72 and of 80.
    assert steps_per_epoch(num_examples, batch_size) == steps


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1.*=0"),
        ({"initial_epoch": 3}, "initial_epoch=3, epochs=2"),
        ({"initial_epoch": -1}, "initial_epoch=-1, epochs=2"),
        ({"initial_step": -1}, "initial_step=-1, initial_epoch=0"),
        # 23 examples in batches of 5 are 5 batches.
        (
            {"initial_step": 5},
            "from 0 to 4, as an epoch has 5 batches.*initial_step=5.*step 0 of the nex",
        ),
        (
            {"initial_epoch": 2, "initial_step": 1},
            "0 where no epoch is left. Received: initial_step=1, initial_epoch=2",
        ),
        (
            {"augment": "strong"},
            "no augmentation 'strong'. There are: weak, shift_flip, flip, resized",
        ),
        (
            {"strong_augment": "uda2"},
            "no augmentation 'uda2'. There are: weak, shift_flip, flip, ",
        ),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_arguments_of_training_batches(dataset, arguments, text):
    good = {"batch_size": 5, "epochs": 2, "seed": SEED}
    with pytest.raises(ValueError, match=text):
        training_batches(dataset.train, dataset, **{**good, **arguments})


def test_examples_that_cannot_be_batched(dataset):
    def train(examples):
        training_batches(examples, dataset, batch_size=5, epochs=2, seed=SEED)

    nothing = dataset.train.take(np.array([], dtype=np.int64))
    with pytest.raises(ValueError, match="must be examples"):
        train(nothing)
    with pytest.raises(ValueError, match="must be examples"):
        evaluation_batches(nothing, dataset)
    with pytest.raises(ValueError, match="at least 1"):
        evaluation_batches(dataset.test, dataset, batch_size=0)

    wrong_labels = dataset.train.with_labels(np.arange(23) % 5)
    with pytest.raises(ValueError, match=r"labels.*from 0 to 3.*Received: 0 to 4"):
        train(wrong_labels)
    with pytest.raises(ValueError, match=r"labels.*from 0 to 3.*Received: 0 to 4"):
        evaluation_batches(wrong_labels, dataset)
    images, labels = dataset.train.images, dataset.train.labels
    with pytest.raises(ValueError, match=r"ids.*from 0 to 99.*Received: 78 to 100"):
        train(Examples(np.arange(78, 101), images, labels))
