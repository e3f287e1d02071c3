"""Several replicas train like one device on the same batches."""

import re

import numpy as np
import pytest
from train_on_replicas import CASES, METHODS, OF_FOUR

from sop_keras import methods

SAVED = [".keras", ".h5"]
# Rows of (1, 2), (3, 4), (5, 6), (7, 8), in the parts of 2 and of 4 replicas.
SIZES = {2: (3, 1), 4: (2, 1, 1, 0)}


def values_of(found, case):
    """The arrays of a case by name, and whether replicas have copies of them."""
    return {
        name: (value, "/state/" in name)
        for name, value in found.items()
        if name.startswith(f"{case}/")
    }


def assert_like_one_device(results, number, case):
    expected, found = (values_of(results[each], case) for each in (1, number))
    assert expected.keys() == found.keys()
    for name, (value, is_state) in found.items():
        one = expected[name][0]
        if is_state:
            assert all(np.array_equal(copy, value[0]) for copy in value), name
            one, value = one[0], value[0]
        assert np.abs(value - one).max() <= 1e-5 * np.abs(one).max(), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "case"),
    [
        *((2, case) for case in (*map(" ".join, CASES), "host table", "digits")),
        *((4, case) for case in map(" ".join, OF_FOUR)),
    ],
)
def test_replicas_train_like_one_device(results, number, case):
    assert_like_one_device(results, number, case)


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 4])
def test_rows_of_slots_on_several_as_on_one(results, number):
    assert_like_one_device(results, number, "slots")
    stored = results[number]["slots/state/v 0"]
    assert stored.shape == (number, 23, 8)  # three classes, values, rest, and a count
    assert results[number]["slots/rows v"].shape == (23, 12)
    # Which entries are given up is decided alike.
    assert results[number]["slots/tables evicted"] == stored[0, :, -1].sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("case", ["arrays", "train_on_batch", "train_on_batch auto"])
def test_other_data_too(results, case):
    assert_like_one_device(results, 2, case)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *(name for name in METHODS if not methods.record(name).load().in_turn),
        *("sieve", "mixer", "dropped"),
    ],
)
def test_methods_train_on_two_as_on_one(results, name):
    assert_like_one_device(results, 2, f"method {name}")


@pytest.mark.slow
def test_rates_that_set_themselves_have_grown_rows(results):
    # Else nothing of them would be compared above. Rows start at 1e-8.
    for number in (1, 2):
        assert np.abs(results[number]["method sop/state/u 0"]).max() > 1e-7
        assert results[number]["method sop/state/gate_totals 0"].shape == (number, 12)


@pytest.mark.slow
def test_training_starts_in_the_first_pass_over_the_data(results):
    assert_like_one_device(results, 2, "first pass")
    for number in (1, 2):  # 23 examples are 3 batches
        found = results[number]["epochs of the first pass"]
        assert sorted(found) == 3 * [0] + 3 * [1]


@pytest.mark.slow
def test_rows_follow_their_examples_on_two_as_on_one(results):
    assert_like_one_device(results, 2, "owners")
    u, trusted = (results[2][f"owners/state/{name}"] for name in ("u 0", "record 1"))
    assert u.shape == (2, 28, 1)
    assert (trusted.sum(axis=(1, 2)) == 2).all()
    assert (u[:, [1, 4]] == 0).all()
    assert (u[:, 23:] != 0).all()


@pytest.mark.slow
def test_watched_alike(results):
    # Of several, none knows the norm of the network's whole gradient.
    one = dict(results[1])
    assert one.pop("watching/history gradient_norm").min() > 0
    assert_like_one_device({1: one, 2: results[2]}, 2, "watching")
    assert "watching/history noise/estimated_rate" in results[2]
    assert results[2]["watching/history u_gradient_norm"].min() > 0


@pytest.mark.slow
def test_averages_of_weights_on_two_as_on_one(results):
    assert_like_one_device(results, 2, "averaged")
    found, state = results[2], "averaged/state"
    # 7 weights of the network; how much they are averages of, and since which epoch.
    names = [name for name in found if name.startswith(f"{state}/averaged ")]
    assert len(names) == 9
    # Of 3 epochs of 3 batches, those of the last two.
    np.testing.assert_array_equal(found[f"{state}/averaged 7"], [6.0] * 2)
    kernels = (found[f"{state}/{group} 0"][0] for group in ("network", "averaged"))
    assert np.abs(np.subtract(*kernels)).max() > 1e-3


@pytest.mark.slow
def test_what_is_compared(results):
    one, two = results[1], results[2]
    state = {name for name in two if name.startswith("paper sop+ normalized/state/")}
    # A kernel, 4 of BatchNormalization, a kernel and a bias, an SGD's steps and rate;
    # of the network's, also a momentum for each of its 5 trainable ones.
    sizes = {"network": 7, "optimizer": 7, "u_optimizer": 2, "v_optimizer": 2}
    for group, size in {**sizes, "u": 1, "v": 1, "record": 2}.items():
        assert sum(f"/{group} " in name for name in state) == size
    assert {name.split("/")[1] for name in values_of(two, "reference sop+ plain")} == {
        "state",
        "noise",
        "history accuracy",
        "history balance_loss",
        "history ce_loss",
        "history consistency_loss",
        "history loss",
        "history mse_loss",
    }
    # Of 3 epochs, of the validation data and of evaluation.
    assert two["digits/history val_loss"].shape == (3,)
    assert {"arrays/evaluated loss", "digits/evaluated accuracy"} < two.keys()
    for name in ("u 0", "v 0", "optimizer 4"):
        steps = f"arrays/state/{name}"
        assert len(one[steps]) == 1
        assert len(two[steps]) == 2
        assert np.abs(one[steps]).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_a_table_in_the_hosts_memory_is_one_for_all(results, number):
    state = "host table/state"
    assert results[number][f"{state}/network 0"].shape == (number, 6, 10)
    assert results[number][f"{state}/v 0"].shape == (1, 23, 4)
    # It ends like the tables beside the networks do.
    for name in ("network 0", "u 0", "v 0"):
        beside = results[number][f"reference sop+ plain/state/{name}"][0]
        on_host = results[number][f"{state}/{name}"][0]
        np.testing.assert_allclose(on_host, beside, atol=1e-5 * np.abs(beside).max())


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", SAVED)
def test_saved_and_loaded_with_the_strategy_and_without(results, number, kind):
    found = results[number]
    names = [name for name in found if name.startswith("saved/")]
    assert len(names) == 26  # 22, and the four variables of the gate
    for name in names:
        for scope in ("with the strategy", "without", "with it again"):
            loaded = found[name.replace("saved", f"{kind} loaded {scope}")]
            assert len(loaded) == (1 if scope == "without" else number)
            for copy in loaded:
                np.testing.assert_array_equal(copy, found[name][0])


@pytest.mark.slow
def test_a_loaded_model_trains_on_like_one_device(results):
    assert_like_one_device(results, 2, "continued")
    moved = [results[2][f"{when}/state/v 0"] for when in ("saved", "continued")]
    assert np.abs(moved[0] - moved[1]).max() > 0.01


@pytest.mark.slow
def test_a_step_reads_and_writes_rows_and_nothing_else(results):
    for name in ("u", "v"):
        found = results[2][f"operations on {name}"].tolist()
        # Of each of the two copies; ReadVariableOp would be the whole of it.
        assert found == [["ResourceGather", "ResourceScatterUpdate"]] * 2
    assert results[2]["long tensors"].size == 0


@pytest.mark.slow
def test_dropout_runs_and_replicas_stay_equal(results):
    found = values_of(results[2], "dropout")
    assert len(found["dropout/history loss"][0]) == 3
    for value, is_state in found.values():
        assert np.isfinite(value).all()
        if is_state:
            np.testing.assert_array_equal(value[0], value[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("outside of the scope", "made in the scope of a MirroredStrategy.*compile"),
        ("jit_compile", "jit_compile=True cannot be had here: with 2 replicas.*Leave"),
    ],
)
def test_what_cannot_be_had_with_several_replicas(results, what, message):
    assert re.search(message, str(results[2][f"refused {what}"]))


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, -1])
def test_an_overflow_on_any_replica_skips_the_step_on_all(results, place):
    # Keras asks the first replica alone: the others' NaN would be summed in.
    found = results[2]
    assert found[f"overflow at {place}/moved"] == 0.0
    assert found[f"overflow at {place}/scale"] == 512.0  # 1024 before


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 4])
def test_what_a_replica_computes_of_the_whole_batch(results, number):
    def found(name):
        return [results[number][f"global batch/{name} {i}"] for i in range(number)]

    rows = [[1, 2], [3, 4], [5, 6], [7, 8]]
    for size, mean, gathered in zip(
        found("size"), found("mean"), found("gathered"), strict=True
    ):
        assert size == 4.0
        np.testing.assert_allclose(mean, [4.0, 5.0], rtol=1e-6)
        np.testing.assert_array_equal(gathered, rows)
    # L = mean_0^2 = 16, of which a replica has the share of its examples.
    shares = [16 * size / 4 for size in SIZES[number]]
    np.testing.assert_allclose(found("loss"), shares, rtol=1e-6)
    # dL/dx = 2 mean_0 / 4 = 2 for the first column of every row, whoever has it.
    for size, gradient in zip(SIZES[number], found("gradient"), strict=True):
        expected = np.tile(np.float32([2.0, 0.0]), (size, 1))
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)
