"""Tables on disk: the numbers of tables in memory, and what cannot be."""

import os
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import SOPModel
from sop_keras.core import disk_rows, sparse_variable
from sop_keras.core.disk_rows import DiskRows
from sop_keras.files import journaled_rows
from sop_keras.files.atomic import OutputError
from sop_keras.files.row_journal import RowsFileError

N, D, K, SLOTS = 60, 5, 30, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype("float32")
Y = RNG.integers(0, K, N)
MARK = "0123456789abcdef"


def model_of(folder=None, table="dense", rate=10.0, run_eagerly=True, **arguments):
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    arguments = {"table": table, "table_slots": SLOTS, "init_std": 1e-2, **arguments}
    if folder is not None:
        arguments |= {"table_device": "disk", "table_folder": folder}
    model = SOPModel(network, N, K, seed=3, **arguments)
    rates = {"u_optimizer": rate, "v_optimizer": rate}
    model.compile(keras.optimizers.SGD(0.3, 0.9), run_eagerly=run_eagerly, **rates)
    return model


def trained(model, epochs=1, **arguments):
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **arguments)
    return model


def state(model):
    """All that training moves, rows whole."""
    ids = np.arange(N)
    rows = {name: np.asarray(one) for name, one in model.tables.rows(ids).items()}
    record = model.training_record
    rows["record"] = np.asarray(sparse_variable.gather(record.table, ids))
    rows["trusted"] = np.asarray(sparse_variable.gather(record.trusted, ids))
    rows["kernel"] = model.backbone.get_weights()[0]
    return rows


def assert_equal(one, other):
    expected = state(other)
    for name, found in state(one).items():
        np.testing.assert_array_equal(found, expected[name], err_msg=name)


def test_reads_and_writes_of_a_graph_take_turns(tmp_path):
    # Each row is twice the one before it: a read before its write would give 0.
    rows = DiskRows(tmp_path, "v", 50, 2)
    rows.scatter([0], np.ones((1, 2)))

    @tf.function
    def double_on():
        for place in tf.range(1, 20):
            old = rows.gather([place - 1])
            if place % 2 == 0:
                rows.scatter([place], 2.0 * old)
            else:
                rows.scatter([place], old + old)
        rows.gather([19])  # read for nothing
        rows.scatter([0], rows.gather([19]))
        return rows.gather([0, 19])

    np.testing.assert_array_equal(double_on(), np.full((2, 2), 2.0**19))
    expected = [[2.0**19] * 2, *([2.0**place] * 2 for place in range(1, 20))]
    np.testing.assert_array_equal(rows.gather(np.arange(20)), expected)


@pytest.mark.parametrize(("table", "rate"), [("compact", "auto"), ("dense", 10.0)])
def test_a_training_is_that_in_memory_to_the_bit(tmp_path, table, rate):
    models = [model_of(one, table, rate, False) for one in (None, tmp_path)]
    assert_equal(*models)  # as they start
    for model in models:
        trained(model, epochs=12)
    assert np.abs(state(models[0])["v"]).max() > 0.02  # it moved
    assert_equal(*models)
    quality = [model.label_issues(X, Y)["label_quality"] for model in models]
    np.testing.assert_array_equal(*quality)


def test_several_steps_in_an_execution(tmp_path):
    models = [model_of(folder) for folder in (None, tmp_path)]
    for model in models:
        rates = {"u_optimizer": 10.0, "v_optimizer": 10.0}
        model.compile("sgd", steps_per_execution=3, **rates)
        trained(model, 3)
    assert_equal(*models)


def test_streams_corrected_labels_and_loops_of_ones_own(tmp_path):
    def steps(model):
        targets = {"label": Y, "index": np.arange(N)}
        data = tf.data.Dataset.from_tensor_slices((X, targets)).batch(7)
        model.fit(data, epochs=2, verbose=0)
        changed = {**targets, "label": np.where(np.arange(N) < 5, (Y + 1) % K, Y)}
        data = tf.data.Dataset.from_tensor_slices((X, changed)).batch(7)
        model.fit(data, changed_labels="reset", verbose=0)
        model.trust([7, 9])
        ids = np.array([9, 3, 9, 8])
        model.train_on_batch(X[ids], {"label": changed["label"][ids], "index": ids})
        model.reset_examples([8])
        return model

    assert_equal(*(steps(model_of(folder, "compact")) for folder in (None, tmp_path)))


@pytest.mark.parametrize("table", ["dense", "compact"])
def test_files_go_from_one_kind_of_table_to_the_other(tmp_path, table):
    on_disk = trained(model_of(tmp_path / "a", table))
    in_memory = model_of(None, table)
    on_disk.save_weights(tmp_path / "disk.weights.h5")
    in_memory.load_weights(tmp_path / "disk.weights.h5")
    assert_equal(on_disk, in_memory)
    trained(in_memory)
    in_memory.save_weights(tmp_path / "memory.weights.h5")
    on_disk.load_weights(tmp_path / "memory.weights.h5")
    assert_equal(on_disk, in_memory)
    on_disk.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.table_device is None  # a file does not say what to write to
    for model in (loaded, on_disk, in_memory):
        trained(model)
    assert_equal(loaded, on_disk)
    assert_equal(in_memory, on_disk)


def test_rows_are_saved_a_piece_at_a_time(tmp_path, monkeypatch):
    model = trained(model_of(tmp_path / "a", "compact"))

    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr(DiskRows, "__array__", refuse)
    monkeypatch.setattr("sop_keras.core.disk_rows._ROWS_AT_ONCE", 7)
    model.save_weights(tmp_path / "w.weights.h5")
    other = model_of(tmp_path / "b", "compact")
    other.load_weights(tmp_path / "w.weights.h5")
    assert_equal(model, other)


def test_files_of_other_rows_are_refused(tmp_path):
    model_of(tmp_path / "a").save_weights(tmp_path / "w.weights.h5")
    for other in (model_of(tmp_path / "b", "compact"), model_of(None, "compact")):
        with pytest.raises(ValueError, match=r"in another way|with table=.compact"):
            other.load_weights(tmp_path / "w.weights.h5")


def test_further_examples(tmp_path):
    models = [model_of(folder, "compact") for folder in (None, tmp_path)]
    for model in models:
        trained(model)
        model.grow(N + 10)
        y = {"label": Y[:10], "index": np.arange(N, N + 10)}
        model.fit(X[:10], y, shuffle=False, verbose=0)
    assert_equal(*models)
    new = [np.asarray(model.tables.rows_of("v", [N, N + 9])) for model in models]
    np.testing.assert_array_equal(*new)


def test_further_examples_that_the_disk_has_no_room_for_at_first(tmp_path, monkeypatch):
    models = [trained(model_of(folder)) for folder in (None, tmp_path)]
    _, model = models
    for rows in disk_rows.rows_on_disk(model):  # u, v, and two of the record
        rows.mark(MARK)
    for one in models:
        trained(one)
    sizes = {one: one.stat().st_size for one in tmp_path.iterdir()}
    fallocate = os.posix_fallocate
    for full in range(4):  # of its calls, an array each
        calls = iter(range(100))

        def full_once(*arguments, calls=calls, full=full):
            if next(calls) == full:
                raise OSError(28, os.strerror(28))
            fallocate(*arguments)

        monkeypatch.setattr(os, "posix_fallocate", full_once)
        with pytest.raises(OutputError, match="No space left"):
            model.grow(N + 10)
        assert model.num_examples == N
        assert {one: one.stat().st_size for one in tmp_path.iterdir()} == sizes
        for rows in disk_rows.rows_on_disk(model):
            rows.check(MARK)  # that it can still go back to it
    for one in models:
        one.grow(N + 10)
    new = np.arange(N, N + 10)
    for name, rows in models[0].tables.rows(new).items():
        assert np.asarray(rows).all()
        np.testing.assert_array_equal(model.tables.rows_of(name, new), rows)
    assert_equal(*models)
    assert (model.training_record.labels(new) == -1).all()


def test_a_model_made_again_starts_anew(tmp_path):
    old = trained(model_of(tmp_path))
    before = state(old)
    new = model_of(tmp_path)
    assert_equal(new, model_of())
    for name, rows in state(old).items():  # whose files are its own
        np.testing.assert_array_equal(rows, before[name])


def test_rows_that_checkpoints_go_with_are_not_written_over(tmp_path):
    model = trained(model_of(tmp_path))
    before = state(model)
    for rows in (*model.tables.on_disk(), *model.training_record.on_disk()):
        rows.mark(MARK)
    again = model_of(tmp_path)
    with pytest.raises(RowsFileError, match=r"checkpoints go with.*none of these was"):
        trained(again)
    for rows in (*again.tables.on_disk(), *again.training_record.on_disk()):
        rows.restore(MARK)
    for name in ("u", "v", "record", "trusted"):
        np.testing.assert_array_equal(state(again)[name], before[name])


def test_a_full_disk_within_a_step_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(journaled_rows, "_MOST_FRESH_ROWS", 8)
    model = trained(model_of(tmp_path, run_eagerly=False))
    for rows in (*model.tables.on_disk(), *model.training_record.on_disk()):
        rows.mark(MARK)
    pwrite = os.pwrite

    def full(descriptor, data, place):
        if "undo" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, os.strerror(28))
        return pwrite(descriptor, data, place)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutputError, match=r"undo-.* could not be written: No space le"):
        trained(model)


def test_weights_as_arrays_are_refused(tmp_path):
    model = model_of(tmp_path)
    stop = keras.callbacks.EarlyStopping("loss", restore_best_weights=True)
    with pytest.raises(ValueError, match="restore_best_weights"):
        trained(model, callbacks=[stop])
    with pytest.raises(ValueError, match="a piece at a time"):
        model.set_weights([])


def test_what_cannot_be(tmp_path):
    with pytest.raises(ValueError, match=r"give both, or neither.*table_folder=None"):
        model_of(table_device="disk")
    with pytest.raises(ValueError, match=r"give both, or neither.*device='cpu'"):
        model_of(table_device="cpu", table_folder=tmp_path)
    model = model_of(tmp_path)
    with pytest.raises(ValueError, match="cannot reach a table on disk"):
        model.compile("sgd", jit_compile=True)
    model.compile("sgd")
    assert model.jit_compile is False


def test_several_replicas_are_refused(monkeypatch):
    several = SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(disk_rows.tf.distribute, "get_strategy", lambda: several)
    with pytest.raises(ValueError, match=r"for one device\. Received: .* 2 replicas"):
        disk_rows.check_one_device()


def test_a_strategy_of_one_device(tmp_path):
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = model_of(tmp_path, run_eagerly=False)
        trained(model, 3)
    assert_equal(model, trained(model_of(run_eagerly=False), 3))
