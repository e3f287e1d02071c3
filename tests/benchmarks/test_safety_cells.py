import itertools

import pytest
from safety_cells import ALL, FACTORS, Cell, covering_cells, seconds, why_void

CLEAN, HALF = ("none", 0.0), ("symmetric", 0.4)


def cell(
    num_examples=1437, num_classes=10, imbalance=1, batch_size=128, epochs=30, **others
):
    return Cell(
        others.get("optimizer", ("sgd", 0.02)),
        others.get("noise", CLEAN),
        *(epochs, batch_size, num_examples, num_classes, imbalance),
        others.get("backbone", "mlp"),
    )


@pytest.fixture(scope="module")
def design():
    return covering_cells()


def test_every_pair_that_can_be_is_in_the_design(design):
    def pairs(one):
        return itertools.combinations(
            [(name, getattr(one, name)) for name in FACTORS], 2
        )

    every = (Cell(*values) for values in itertools.product(*FACTORS.values()))
    possible = {pair for one in every if not why_void(one) for pair in pairs(one)}
    # Of all pairs, three cannot be: a batch of 512 of 200 examples, 200 examples of 100
    # classes, and 100 classes of which one has a hundredth of another's 100 examples.
    counts = [len(values) for values in FACTORS.values()]
    total = sum(a * b for a, b in itertools.combinations(counts, 2))
    assert len(possible) == total - 3
    assert possible == {pair for one in design for pair in pairs(one)}


def test_the_design_is_large_enough_without_doubles_and_void_cells(design):
    assert len(set(design)) == len({one.name for one in design}) == len(design) >= 120
    assert [why_void(one) for one in design] == [None] * len(design)


def test_the_design_is_cheap(design):
    # Six arms, half a second each whatever the cell: 70 minutes of one core.
    assert 6 * sum(0.5 + seconds(one) for one in design) < 70 * 60


@pytest.mark.parametrize(
    ("void", "reason"),
    [
        (cell(200, batch_size=512), "batch"),
        (cell(200, 100), "200 examples"),
        # 200 = 9 others of 200 / 9.05 = 22, and 1.
        (cell(200, 10, 20), "class"),
        # 143 of each digit; 100 of each class of CIFAR-100.
        (cell(1437, 10, 100), "class"),
        (cell(10_000, 100, 100), "class"),
        (cell(10_000, backbone="cnn", epochs=100), "cnn"),
        (cell(10_000, backbone="cnn", batch_size=ALL), "cnn"),
    ],
)
def test_void(void, reason):
    assert reason in why_void(void)


@pytest.mark.parametrize(
    ("one", "sizes"),
    [
        (cell(200, 2, 100), (198, 2)),
        (cell(200, 2, 20), (190, 10)),
        (cell(1437, 10, 20), (143, 7)),
        (cell(10_000, 10, 100), (1000, 10)),
        (cell(10_000, 100, 20), (100, 5)),
    ],
)
def test_imbalance(one, sizes):
    assert (one.class_sizes, why_void(one)) == (sizes, None)


def test_name_and_steps():
    one = cell(noise=HALF, imbalance=20, batch_size=ALL)
    assert one.name == "sgd0.02-symm40-e30-ball-n1437-k10-i20-mlp"
    assert one.steps == 30
    # ceil(1437 / 128) = 12 steps an epoch.
    assert cell().steps == 360
    assert cell().name == "sgd0.02-clean-e30-b128-n1437-k10-i1-mlp"
