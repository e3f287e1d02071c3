"""Tables that store a few slots of a row: what they hold, and what they forget."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import NoisyLabelModel, SOPModel, methods
from sop_keras.core import compact_rows
from sop_keras.core.example_tables import ExampleTables
from sop_keras.core.table import Table, stored

N, D, K, SLOTS = 60, 5, 30, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype("float32")
# At random, of classes that are more and less frequent: there is something to learn.
Y = RNG.permutation((X @ RNG.normal(size=(D, K))).argmax(axis=-1))


def array(rows):
    return np.asarray(rows, np.float32)


def test_a_row_by_hand():
    first = array([[0.1, -0.2, 0.1, 0.1, 0.1]])
    empty = compact_rows.first_rows(1, 2)
    assert np.asarray(empty).tolist() == [[-1, -1, 0, 0, -1, 0]]
    np.testing.assert_array_equal(compact_rows.expanded(empty, first), first)
    # 3 grew, 1 shrank, the rest is as it was.
    rows = array([[0.1, -0.15, 0.1, 0.5, 0.1]])
    one = compact_rows.compacted(rows, empty, first)
    assert np.asarray(one).tolist() == [[3, -1, 0.5, 0, -1, 0]]
    known = array([[0.1, -0.2, 0.1, 0.5, 0.1]])
    np.testing.assert_array_equal(compact_rows.expanded(one, first), known)
    # What has a slot keeps it where it shrinks; 1 grows below 0.
    rows = array([[0.1, -0.3, 0.1, 0.05, 0.1]])
    two = compact_rows.compacted(rows, one, first)
    assert np.asarray(two).tolist() == [[1, 3, array(-0.3), array(0.05), -1, 0]]
    np.testing.assert_array_equal(compact_rows.expanded(two, first), rows)
    # Two more grow: those that did not go back to what they were.
    rows = array([[0.4, -0.3, 0.1, 0.05, 0.2]])
    three = compact_rows.compacted(rows, two, first)
    assert np.asarray(three).tolist() == [[0, 4, array(0.4), array(0.2), -1, 2]]
    known = array([[0.4, -0.2, 0.1, 0.1, 0.2]])
    np.testing.assert_array_equal(compact_rows.expanded(three, first), known)
    assert np.asarray(compact_rows.evictions(three)).tolist() == [2]


def test_a_level_row_by_hand():
    first = array(np.full((1, 5), 0.1))
    empty = compact_rows.first_rows(1, 2)
    # 3 grew; the rest shrank as one.
    rows = array([[0.08, 0.08, 0.08, 0.5, 0.08]])
    one = compact_rows.compacted(rows, empty, first, is_level=True)
    expected = array([[3, -1, 0.5, 0, 0.08, 0]])
    np.testing.assert_array_equal(one, expected)
    np.testing.assert_array_equal(compact_rows.expanded(one, first), rows)
    # 0 and 1 grew, below what they were at first; the smaller one has no slot.
    rows = array([[0.09, 0.085, 0.06, 0.4, 0.06]])
    two = compact_rows.compacted(rows, one, first, is_level=True)
    expected = array([[0, 1, 0.09, 0.085, 0.06, 1]])
    np.testing.assert_array_equal(two, expected)
    known = array([[0.09, 0.085, 0.06, 0.06, 0.06]])
    np.testing.assert_array_equal(compact_rows.expanded(two, first), known)


def test_equal_rows_are_equal():
    equal = compact_rows.equal_rows(2, 3, 0.25)
    first = array(RNG.normal(size=(2, 5)))
    assert (np.asarray(compact_rows.expanded(equal, first)) == 0.25).all()


@pytest.mark.parametrize("num_columns", [9, 3000, 21_841])
def test_columns_are_exact_at_any_number_of_classes(num_columns):
    first = np.full((3, num_columns), 1e-8, np.float32)
    rows = first.copy()
    rows[0, [0, num_columns - 1]] = 0.7, -0.2
    rows[1, num_columns - 2] = 1e-7
    kept = compact_rows.compacted(rows, compact_rows.first_rows(3, 2), first)
    np.testing.assert_array_equal(compact_rows.expanded(kept, first), rows)


def network():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])


def model_of(table, rate=None, seed=3, slots=SLOTS, **arguments):
    model = SOPModel(
        network(), N, K, seed=seed, table=table, table_slots=slots, **arguments
    )
    model.compile(keras.optimizers.SGD(0.3, momentum=0.9), **rates(rate))
    return model


def rates(rate):
    return {} if rate is None else {"u_optimizer": rate, "v_optimizer": rate}


def whole(model):
    return {k: np.asarray(v) for k, v in model.tables.rows(np.arange(N)).items()}


def equally_started(rate, jit_compile="auto", **arguments):
    """A model with all entries, and one with slots, of the same first values."""
    dense, compact = (model_of(table, rate, **arguments) for table in STORED)
    for name, rows in whole(compact).items():
        dense.tables.write(name, np.arange(N), rows)
    for name, rows in whole(dense).items():
        compact.tables.write(name, np.arange(N), rows)
    for one in (dense, compact):
        one.compile(
            keras.optimizers.SGD(0.3, momentum=0.9),
            jit_compile=jit_compile,
            **rates(rate),
        )
    return dense, compact


STORED = ("dense", "compact")


@pytest.mark.parametrize(
    ("rate", "arguments", "jit_compile"),
    [
        (None, {}, False),
        (None, {}, True),
        (10.0, {"init_std": 1e-4, "table_device": "cpu"}, False),
        (3.0, {"init_std": 1e-4, "variant": "reference"}, False),
    ],
    ids=["auto", "auto XLA", "numbers on host", "reference"],
)
def test_a_training_is_that_of_all_entries(rate, arguments, jit_compile):
    slots = {"slots": 13}  # nothing is forgotten
    models = equally_started(rate, jit_compile, **slots, **arguments)
    data = (X, Y)
    for one in models:
        one.fit(*data, batch_size=8, epochs=12, shuffle=False, verbose=0)
    dense, compact = map(whole, models)
    assert np.abs(dense["v"]).max() > 0.05  # they did learn something
    assert models[1].tables.num_evicted() == 0
    # Unpredicted entries shrink by up to 4 alpha / B v^3 a visit in one of them alone.
    std = arguments.get("init_std", 1e-8)
    lost = 12 * 4 * (rate or 0.0) / 8 * (4 * std) ** 3
    for name in "uv":
        np.testing.assert_allclose(
            compact[name], dense[name], rtol=1e-3, atol=max(1e-6, lost)
        )
    kernels = (model.backbone.get_weights()[0] for model in models)
    np.testing.assert_allclose(*kernels, rtol=1e-3, atol=1e-5)


def test_what_has_no_slot_is_counted_and_forgotten():
    model = model_of("compact", slots=1, rate=10.0, init_std=1e-2)
    table = model.tables
    first = np.asarray(table.rows([0])["v"])[0]
    sizes = np.argsort(np.abs(first))
    rows = np.array(table.rows([0, 1])["v"])
    rows[0, sizes[:3]] = 0.5, 0.6, 0.4
    table.write("v", [0, 1], rows)
    assert table.num_evicted() == 2
    expected = first.copy()
    expected[sizes[1]] = 0.6
    np.testing.assert_array_equal(np.asarray(table.rows([0])["v"])[0], expected)
    model.reset_examples([0])
    assert table.num_evicted() == 0
    np.testing.assert_array_equal(np.asarray(table.rows([0])["v"])[0], first)


def test_equal_ids_and_kept_rows_of_a_batch():
    kinds = [Table("v", K, std=1e-3, is_sparse=True, slots=3)]
    tables = ExampleTables(kinds, N, seed=0)
    before = {
        name: np.asarray(rows) for name, rows in tables.rows(np.arange(4)).items()
    }
    ids = np.array([2, 1, 2, 3])
    brought = np.zeros((4, K), np.float32)
    brought[[0, 1, 2, 3], [5, 5, 6, 7]] = 1.0
    kept = np.array([[False], [False], [False], [True]])
    tables.update(
        ids, {"v": brought}, lambda old, new: {"v": old["v"] + new["v"]}, kept=kept
    )
    expected = before["v"].copy()
    expected[2, [5, 6]] += 1.0
    expected[1, 5] += 1.0
    np.testing.assert_array_equal(tables.rows(np.arange(4))["v"], expected)


@pytest.mark.parametrize(("seed", "rate"), [(3, None), (None, 10.0)])
def test_saved_and_loaded_to_the_bit(seed, rate, tmp_path):
    model = model_of("compact", rate, seed, init_std=1e-4)
    model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.table, loaded.table_slots) == ("compact", SLOTS)
    seed = None if seed is None else 8
    other = model_of("compact", rate, seed, init_std=1e-4)
    other.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    other.load_weights(tmp_path / "model.weights.h5")
    for one in (loaded, other):
        for name, rows in whole(model).items():
            np.testing.assert_array_equal(whole(one)[name], rows)
    for one in (model, loaded):
        one.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for name, rows in whole(model).items():
        np.testing.assert_array_equal(whole(loaded)[name], rows)


@pytest.mark.parametrize("saved_by", [None, 10.0])
def test_a_file_says_what_is_not_stored(saved_by, tmp_path):
    model = model_of("compact", saved_by, init_std=1e-4)
    model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    saved = whole(model)
    level = np.float32(1e-4)
    # Rates that set themselves compare how rows grow: those begin alike.
    assert ((saved["v"] == level).mean() > 0.5) == (saved_by is None)
    # Nothing is compiled in one, the other kind of rates in the other.
    loaded = [keras.saving.load_model(tmp_path / "model.keras", compile=False)]
    loaded.append(model_of("compact", None if saved_by else 10.0, init_std=1e-4))
    loaded[1].set_weights(model.get_weights())
    for one in loaded:
        for name, rows in saved.items():
            np.testing.assert_array_equal(whole(one)[name], rows)
    # What compile says afterwards is so of all rows at once.
    rate = "auto" if saved_by else 10.0
    loaded[0].compile("sgd", u_optimizer=rate, v_optimizer=rate)
    assert ((whole(loaded[0])["v"] == level).mean() > 0.5) == (saved_by is not None)


def test_a_step_that_was_compiled_before_weights_were_set():
    level = model_of("compact", None, init_std=1e-4).get_weights()
    model = model_of("compact", 10.0, init_std=1e-4)
    model.fit(X, Y, batch_size=N, verbose=0)
    gate = [np.zeros(one.shape) for one in model.weights[len(level) :]]
    model.set_weights(level + gate)
    model.fit(X, Y, batch_size=N, verbose=0)
    stored = np.asarray(model.tables.v_slots)
    values = stored[:, SLOTS : 2 * SLOTS][stored[:, :SLOTS] >= 0]
    assert len(values) > N // 2
    # 1 + 4 alpha_v / B times init_std, at the predicted class.
    np.testing.assert_allclose(values, 1e-4 * (1 + 4 * 10 / N), rtol=1e-5)


@pytest.mark.parametrize(
    ("of_file", "of_model", "message"),
    [
        ("compact", "dense", 'saved with table="compact".*made with table="dense"'),
        ("dense", "compact", 'saved with table="dense".*made with table="compact"'),
    ],
)
def test_files_of_another_kind_are_refused(of_file, of_model, message, tmp_path):
    path = tmp_path / "model.weights.h5"
    model_of(of_file).save_weights(path)
    with pytest.raises(ValueError, match=message):
        model_of(of_model).load_weights(path)


def test_files_of_other_slots_and_of_other_methods_are_refused(tmp_path):
    path = tmp_path / "model.weights.h5"
    model_of("compact").save_weights(path)
    with pytest.raises(ValueError, match="in another way"):
        model_of("compact", slots=3).load_weights(path)
    # One table more or less is no matter of how tables are stored.
    other = NoisyLabelModel(network(), N, K, method=methods.ELR())
    with pytest.raises(ValueError, match=r"(?s)\A(?!.*compact)"):
        other.load_weights(path)


def test_rows_that_a_person_has_confirmed_and_new_examples():
    model = model_of("compact", 10.0, init_std=1e-4)
    model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    model.trust([7, 9])
    assert not whole(model)["v"][[7, 9]].any()
    model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    assert not whole(model)["v"][[7, 9]].any()
    old = whole(model)
    model.grow(N + 10)
    assert model.tables.v_slots.shape == (N + 10, 2 * SLOTS + 2)
    for name, rows in whole(model).items():
        np.testing.assert_array_equal(rows, old[name])
    fresh = np.asarray(model.tables.rows(np.arange(N, N + 10))["v"])
    np.testing.assert_array_equal(
        fresh, model.tables.first_rows(np.arange(N, N + 10))["v"]
    )
    issues = model.label_issues(X, {"label": Y, "index": np.arange(N)})
    assert np.isfinite(issues["label_quality"]).all()


def test_corrected_labels_start_anew_within_a_stream():
    model = model_of("compact", 10.0, init_std=1e-4)
    model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    changed = Y.copy()
    changed[5] = (Y[5] + 1) % K
    targets = {"label": changed, "index": np.arange(N)}
    data = tf.data.Dataset.from_tensor_slices((X, targets)).batch(N)
    model.compile(keras.optimizers.SGD(0.0), u_optimizer=0.0, v_optimizer=0.0)
    before = whole(model)["v"]
    model.fit(data, changed_labels="reset", verbose=0)
    first = np.asarray(model.tables.first_rows(np.arange(N))["v"])
    after = whole(model)["v"]
    np.testing.assert_array_equal(after[5], first[5])
    np.testing.assert_array_equal(np.delete(after, 5, 0), np.delete(before, 5, 0))


def test_a_table_that_could_not_be_held():
    # 84 GB dense; 76 bytes a row here.
    examples, classes = 1_000_000, 21_000
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential([keras.Input((2,)), keras.layers.Dense(classes)])
    model = SOPModel(backbone, examples, classes, table="compact")
    assert model.tables.v_slots.shape == (examples, 18)
    model.compile(keras.optimizers.SGD(0.1))
    ids = np.array([0, 999_999, 5])
    y = {"label": np.array([0, 20_999, 7]), "index": ids}
    logs = model.train_on_batch(np.ones((3, 2), "float32"), y, return_dict=True)
    assert logs["loss"] == pytest.approx(np.log(classes), rel=0.2)


def test_which_tables_are_stored_in_slots():
    tables = (Table("v", 1000, std=1e-8, is_sparse=True), Table("t", 1000))
    assert [one.slots for one in stored(tables, "dense", 8)] == [None, None]
    assert [one.slots for one in stored(tables, "compact", 5)] == [5, None]
    # With another loss of v, other entries grow than predicted ones.
    for loss, is_sparse in (("mse", True), ("ce", False), ("mse_of_p", False)):
        method = methods.SOP(10.0, 10.0, v_loss=loss)
        assert method.tables(K)[1].is_sparse == is_sparse


def test_what_is_predicted_now_takes_the_slot_of_what_was_before():
    kinds = [Table("v", 100, std=1e-8, is_sparse=True, slots=3)]
    tables = ExampleTables(kinds, 1, seed=0)

    def visit(column, visits):
        brought = np.zeros((1, 100), np.float32)
        brought[0, column] = 1.0
        for _ in range(visits):
            tables.update(
                [0],
                {"v": brought},
                lambda old, new: {"v": old["v"] * (1.0 + 0.3 * new["v"])},
            )

    first = np.abs(np.asarray(tables.rows([0])["v"])[0])
    for column in (10, 20, 30):
        visit(column, 5)
    assert tables.num_evicted() == 0
    visit(40, 60)
    row = np.abs(np.asarray(tables.rows([0])["v"])[0])
    # 1.3^60 times what it was: in every visit from the first one on.
    np.testing.assert_allclose(row[40], first[40] * 1.3**60, rtol=1e-4)
    assert tables.num_evicted() == 1
    assert (row[[10, 20, 30]] == first[[10, 20, 30]]).sum() == 1


def test_weights_that_are_set_and_a_model_that_has_grown(tmp_path):
    model = model_of("compact", 10.0, seed=1, init_std=1e-4)
    model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    other = model_of("compact", 10.0, seed=2, init_std=1e-4)
    other.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    other.set_weights(model.get_weights())
    model.grow(N + 10)
    model.save(tmp_path / "grown.keras")
    loaded = keras.saving.load_model(tmp_path / "grown.keras")
    for one in (other, loaded):
        found = np.asarray(one.tables.rows(np.arange(N))["v"])
        np.testing.assert_array_equal(found, whole(model)["v"])
        one.fit(X[:8], {"label": Y[:8], "index": np.arange(8)}, verbose=0)
    np.testing.assert_array_equal(
        other.tables.rows(np.arange(N))["v"], loaded.tables.rows(np.arange(N))["v"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table": "sparse"}, "`table` must be"),
        ({"table": "compact", "table_slots": 0}, "table_slots"),
        ({"table": "compact", "table_slots": 14}, "at most 13"),
    ],
)
def test_what_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        SOPModel(network(), N, K, **arguments)


def test_a_method_without_such_a_table():
    with pytest.raises(ValueError, match="this method has none"):
        NoisyLabelModel(network(), N, K, method=methods.CrossEntropy(), table="compact")
