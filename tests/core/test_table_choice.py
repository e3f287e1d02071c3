"""When `table="auto"` is compact."""

import logging

import keras
import numpy as np
import pytest

from sop_keras import SOPModel
from sop_keras.core.table import Table
from sop_keras.core.table_choice import chosen_kind


def kind_of(
    num_examples, classes, *, rate=10.0, std=1e-8, slots=8, is_sparse=True, **arguments
):
    tables = (
        Table("u", 1, std=std),
        Table("v", classes, std=std, is_sparse=is_sparse, shrinks_by=4.0),
    )
    rates = {"u": 1.0, "v": rate}
    return chosen_kind("auto", tables, rates, slots, num_examples, **arguments)


def test_by_size():
    # 4 N (K + 1) bytes: 2.2 MB for CIFAR-10; 1 GB is 250,000,000 numbers.
    assert kind_of(50_000, 10) == "dense"
    assert kind_of(250_000, 999) == "dense"
    assert kind_of(250_001, 999) == "compact"
    # 2 x 8 + 2 numbers are no fewer than those of 18 classes.
    assert kind_of(100_000_000, 18) == "dense"
    assert kind_of(100_000_000, 19) == "compact"
    assert kind_of(100_000_000, 19, slots=9) == "dense"
    assert kind_of(1_200_000, 1_000, is_sparse=False) == "dense"


@pytest.mark.parametrize(
    ("rate", "std", "batch_size", "visits", "kind"),
    [
        # 4 x 80 / 64 x 30 x (5 x 8.5e-5)^3 = 1.15e-8.
        (80.0, 8.5e-5, 64, 30, "compact"),
        # x 261 visits is 1.0018e-7, x 260 9.98e-8.
        (80.0, 8.5e-5, 64, 260, "compact"),
        (80.0, 8.5e-5, 64, 261, "dense"),
        # A batch of 1 and 1,000 visits: 2.5e-5. At 1e-8, 4e-17.
        (80.0, 8.5e-5, 1, 1_000, "dense"),
        (80.0, 1e-8, 1, 1_000, "compact"),
        # As if `compile` had put 100 in its place: 5e-17 and, at 1e-4, 5e-5.
        ("auto", 1e-8, 1, 1_000, "compact"),
        ("auto", 1e-4, 1, 1_000, "dense"),
        (keras.optimizers.schedules.CosineDecay(1.0, 100), 1e-8, 64, 30, "dense"),
    ],
)
def test_by_what_slots_do_not_keep(rate, std, batch_size, visits, kind):
    found = kind_of(
        1_200_000, 1_000, rate=rate, std=std, batch_size=batch_size, visits=visits
    )
    assert found == kind


def test_it_says_what_it_takes(caplog):
    caplog.set_level(logging.INFO, "sop_keras")
    kind_of(50_000, 10)
    assert '"dense": 2,200,000 bytes' in caplog.text
    kind_of(1_200_000, 1_000)
    assert '"compact", with 8 slots a row: dense, the tables take 4,804,800,000 ' in (
        caplog.text
    )
    assert not [one for one in caplog.records if one.levelno > logging.INFO]
    kind_of(1_200_000, 1_000, rate=80.0, std=8.5e-5)
    assert caplog.records[-1].levelno == logging.WARNING
    # 4 x 80 x 1000 x 7.677e-11
    assert "4 x 80.0 / 1 x 1000 visits x 4.3e-04^3, 2.5e-05 and more" in caplog.text


def test_a_model_is_what_was_taken(tmp_path):
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1_000)])
    small = SOPModel(backbone, 1_000, 1_000, table="auto")
    assert (small.table, small.tables.v.shape) == ("dense", (1_000, 1_000))
    model = SOPModel(backbone, 300_000, 1_000, table="auto", table_slots=4)  # 1.2 GB
    assert (model.table, model.tables.v_slots.shape) == ("compact", (300_000, 10))
    model.compile(keras.optimizers.SGD(0.1))
    y = {"label": np.array([0, 999]), "index": np.array([0, 299_999])}
    model.train_on_batch(np.ones((2, 2), "float32"), y)
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").table == "compact"
