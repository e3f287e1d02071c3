import logging
import os
from pathlib import Path

import numpy as np
import pytest

from sop_keras.label_noise.asymmetric import (
    CIFAR10_CLASS_MAP,
    asymmetric,
    cifar100_class_map,
)

NUM_EXAMPLES = 50_000
LABELS = np.arange(NUM_EXAMPLES) % 10

CIFAR10_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

# The published table (https://www.cs.toronto.edu/~kriz/cifar.html), with the names in
# the spelling of the data set's own files. Labels are the places of the names in
# alphabetical order.
SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
FINE_NAMES = sorted(" ".join(SUPERCLASSES.values()).split())


def within_standard_errors(realised, expected, num_draws):
    standard_error = np.sqrt(expected * (1 - expected) / num_draws)
    return abs(realised - expected) <= 4 * standard_error


def test_the_cifar10_map_by_name():
    moved = {
        CIFAR10_NAMES[label]: CIFAR10_NAMES[target]
        for label, target in enumerate(CIFAR10_CLASS_MAP)
        if label != target
    }
    assert len(CIFAR10_CLASS_MAP) == 10
    assert moved == {
        "truck": "automobile",
        "bird": "airplane",
        "deer": "horse",
        "cat": "dog",
        "dog": "cat",
    }


def test_the_superclass_map_by_name():
    class_map = cifar100_class_map()
    assert class_map == cifar100_class_map("superclass")
    assert len(FINE_NAMES) == len(class_map) == 100
    expected = {}
    for names in SUPERCLASSES.values():
        a, b, c, d, e = names.split()  # alphabetical, hence in label order
        expected.update({a: b, b: c, c: d, d: e, e: a})
    assert {
        FINE_NAMES[label]: FINE_NAMES[target] for label, target in enumerate(class_map)
    } == expected


def test_the_superclass_map_agrees_with_the_published_coarse_labels():
    folder = os.environ.get("SOP_KERAS_DATA")
    if not folder:
        pytest.skip("SOP_KERAS_DATA is not set: no CIFAR-100 labels to compare with")
    with np.load(Path(folder, "cifar_n", "cifar100n.npz")) as archive:
        fine, coarse = archive["clean_label"], archive["clean_coarse_label"]
    class_map = np.array(cifar100_class_map())
    coarse_of = np.full(100, -1)
    coarse_of[fine] = coarse
    np.testing.assert_array_equal(coarse_of[fine], coarse)
    np.testing.assert_array_equal(coarse_of[class_map], coarse_of)
    # Five steps go once round the superclass, fewer do not; all but one step go up.
    steps = [np.arange(100)]
    for _ in range(5):
        steps.append(class_map[steps[-1]])
    np.testing.assert_array_equal(steps[5], steps[0])
    assert all(np.all(steps[k] != steps[0]) for k in range(1, 5))
    assert np.sum(class_map > np.arange(100)) == 80


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_classes_of_each_block_flip_to_each_other(seed):
    class_map = cifar100_class_map("blocks", seed=seed)
    for first in range(0, 100, 5):
        block = range(first, first + 5)
        moved = [label for label in block if class_map[label] != label]
        assert len(moved) == 2
        assert class_map[moved[0]] == moved[1]
        assert class_map[moved[1]] == moved[0]


def test_the_pairs_of_blocks_are_drawn_evenly():
    pairs = np.zeros((5, 5), int)
    for seed in range(100):
        class_map = np.array(cifar100_class_map("blocks", seed=seed))
        moved = np.flatnonzero(class_map != np.arange(100)).reshape(20, 2) % 5
        np.add.at(pairs, tuple(moved.T), 1)
    counts = pairs[np.triu_indices(5, 1)]
    # 2,000 blocks over 10 pairs: chi-square with 9 degrees of freedom.
    assert counts.sum() == 2000
    assert np.sum((counts - 200) ** 2 / 200) < 9 + 4.5 * np.sqrt(18)


def test_another_structure_is_refused():
    with pytest.raises(ValueError, match=r"superclass.*structure='circle'"):
        cifar100_class_map("circle")


@pytest.mark.parametrize("rate", [0.1, 0.4])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_realised_rates_fit(rate, seed):
    noisy = asymmetric(LABELS, rate, CIFAR10_CLASS_MAP, seed)
    matrix = noisy.transition_matrix
    # The map of the issue: 9->1, 2->0, 3<->5, 4->7, at `rate` of the clean labels.
    # Cats in particular lose `rate`, not the 0.4 * 0.6 of flipping them in place.
    targets = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
    for label in range(10):
        if label in targets:
            flipped = matrix[label, targets[label]]
            assert within_standard_errors(flipped, rate, 5000)
            assert matrix[label, label] == pytest.approx(1 - flipped)
        else:
            assert matrix[label, label] == 1.0
    # Five of ten classes flip.
    flippable = np.isin(LABELS, list(targets))
    assert within_standard_errors(noisy.is_wrong[flippable].mean(), rate, 25_000)
    assert noisy.noise_rate == noisy.is_wrong[flippable].mean() / 2


def test_the_realised_rates_fit_on_cifar100():
    labels = np.arange(NUM_EXAMPLES) % 100
    noisy = asymmetric(labels, 0.4, cifar100_class_map(), 0)
    assert within_standard_errors(noisy.noise_rate, 0.4, NUM_EXAMPLES)
    # 2 of 5 classes flip.
    noisy = asymmetric(labels, 0.4, cifar100_class_map("blocks"), 0)
    assert within_standard_errors(noisy.noise_rate / 0.4, 0.4, NUM_EXAMPLES * 0.4)


def test_rates_zero_and_one_are_exact():
    class_map = np.array(CIFAR10_CLASS_MAP)
    none = asymmetric(LABELS, 0.0, class_map, 0)
    np.testing.assert_array_equal(none.labels, LABELS)
    every = asymmetric(LABELS, 1.0, class_map, 0)
    np.testing.assert_array_equal(every.labels, class_map[LABELS])
    np.testing.assert_array_equal(every.clean_labels, LABELS)
    assert every.noise_rate == 0.5


def test_a_label_hangs_on_seed_and_id_alone():
    def draw(positions):
        return asymmetric(
            LABELS[positions], 0.4, CIFAR10_CLASS_MAP, seed=7, ids=positions
        ).labels

    whole = draw(np.arange(NUM_EXAMPLES))
    shuffled = np.random.default_rng(0).permutation(NUM_EXAMPLES)
    np.testing.assert_array_equal(draw(shuffled), whole[shuffled])
    subset = shuffled[:1234]
    np.testing.assert_array_equal(draw(subset), whole[subset])
    for shard in range(4):
        positions = np.arange(shard, NUM_EXAMPLES, 4)
        np.testing.assert_array_equal(draw(positions), whole[positions])
    for example in (3, 17, NUM_EXAMPLES - 1):
        assert draw(np.array([example]))[0] == whole[example]


def test_seeds_draw_independently():
    everything_flips = np.roll(np.arange(10), 1)
    masks = [asymmetric(LABELS, 0.5, everything_flips, s).is_wrong for s in (0, 1)]
    # Both wrong: 0.5 * 0.5.
    assert within_standard_errors(np.mean(masks[0] & masks[1]), 0.25, NUM_EXAMPLES)


def test_a_higher_rate_adds_wrong_labels_and_keeps_the_old_ones():
    low, high = (asymmetric(LABELS, r, CIFAR10_CLASS_MAP, 0) for r in (0.2, 0.4))
    assert np.all(high.is_wrong[low.is_wrong])
    assert high.is_wrong.sum() > low.is_wrong.sum()


def test_it_logs_what_it_drew(caplog):
    with caplog.at_level(logging.INFO, logger="sop_keras.label_noise"):
        asymmetric(LABELS, 1.0, CIFAR10_CLASS_MAP, 0)
    assert "asymmetric label noise: 25000 of 50000 labels are wrong (50.00%)" in (
        caplog.text
    )
