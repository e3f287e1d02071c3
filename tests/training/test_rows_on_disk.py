"""Runs whose rows are on disk: checkpoints without them, and what they go back to."""

import os
import shutil

import numpy as np
import pytest
from runs import InterruptionError, assert_same_end, interrupt_at
from settings import digits

from sop_keras.core.disk_rows import rows_on_disk
from sop_keras.files import journaled_rows
from sop_keras.files.atomic import OutputError
from sop_keras.files.row_journal import RowsFileError
from sop_keras.training import run as run_module
from sop_keras.training.checkpoint import CheckpointError
from sop_keras.training.execution import Execution
from sop_keras.training.run import Run

pytestmark = pytest.mark.slow

# After every batch; a row waits in memory for few others.
OFTEN = Execution(checkpoint_minutes=1e-9, table_device="disk")
IN_MEMORY = Execution(checkpoint_minutes=1e-9)
ON_DISK = Execution(table_device="disk")
TABLES = {"dense": {}, "compact": {"table": "compact", "table_slots": 3}}


def experiment(table="compact"):
    return digits(epochs=2, decay_epochs=(1,), **TABLES[table])


@pytest.fixture(autouse=True)
def few_wait(monkeypatch):
    monkeypatch.setattr(journaled_rows, "_MOST_FRESH_ROWS", 20)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """By the kind of the table, the folder of a run in memory."""
    folders = {}
    for table in TABLES:
        folders[table] = tmp_path_factory.mktemp(table)
        Run(experiment(table), folders[table]).train(verbose=0)
    return folders


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run on disk that was stopped after batch 3 of epoch 2."""
    return stop(tmp_path_factory.mktemp("stopped"), "compact")


@pytest.fixture(scope="module")
def stopped_in_memory(tmp_path_factory):
    """Likewise, of a run in memory."""
    return stop(tmp_path_factory.mktemp("in memory"), "compact", IN_MEMORY)


def stop(folder, table, execution=OFTEN):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journaled_rows, "_MOST_FRESH_ROWS", 20)
        interrupt_at(patch, epoch=1, batch=2)
        with pytest.raises(InterruptionError):
            Run(experiment(table), folder, execution=execution).train(verbose=0)
    return folder


@pytest.fixture
def copy(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "run")


def newest(folder):
    return sorted((folder / "checkpoints").iterdir())[-1]


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("table", TABLES)
def test_a_run_on_disk_is_one_in_memory_and_goes_on_to_the_same_end(
    tmp_path, whole, table, copy
):
    folder = copy if table == "compact" else stop(tmp_path / table, table)
    files = sorted(path.name for path in (folder / "table").iterdir())
    names = {"u", "v" if table == "dense" else "v_slots"}
    names |= {"record_table", "record_trusted"}
    # The rows, and the journals of two checkpoints.
    assert {name.partition(".")[0] for name in files} == names
    assert len(files) == 3 * len(names)
    Run(experiment(table), folder, execution=ON_DISK).train(verbose=0)
    assert_same_end(whole[table], folder)
    assert not (folder / "table").exists()


def test_from_the_older_checkpoint_where_the_newest_is_damaged(copy, whole):
    cut(newest(copy) / "model.weights.h5")
    Run(experiment(), copy, execution=ON_DISK).train(verbose=0)
    assert_same_end(whole["compact"], copy)


def test_of_the_rows_a_checkpoint_has_what_changed(copy, stopped_in_memory):
    rows = sum(path.stat().st_size for path in copy.glob("table/*[a-z]"))
    other = (newest(stopped_in_memory) / "model.weights.h5").stat().st_size
    own = (newest(copy) / "model.weights.h5").stat().st_size
    assert other - own > 0.8 * (rows - 4 * 4096)
    # 64 rows of 4 (u), 32 (v), 12 and 4 bytes, with 8 for the id of each.
    journals = sorted(copy.glob("table/v_slots.undo-*"), key=lambda p: p.stat().st_size)
    pieces = -(-64 // 20)
    assert journals[-1].stat().st_size <= pieces * 20 + 64 * (8 + 32)


def test_rows_move_to_disk_and_stay_there(tmp_path, whole, copy, stopped_in_memory):
    shutil.copytree(stopped_in_memory, tmp_path / "memory")
    Run(experiment(), tmp_path / "memory", execution=ON_DISK).train(verbose=0)
    assert_same_end(whole["compact"], tmp_path / "memory")
    with pytest.raises(CheckpointError, match=r"on disk, in .*table: .*_device=disk"):
        Run(experiment(), copy).train(verbose=0)
    Run(experiment(), copy, execution=ON_DISK).train(verbose=0)
    assert_same_end(whole["compact"], copy)


def lose(folder):
    shutil.rmtree(folder / "table")


def of_another_run(folder):
    other = stop(folder.parent / "other", "compact")
    shutil.rmtree(folder / "table")
    (other / "table").replace(folder / "table")


def of_another_size(folder):
    other = folder.parent / "other"
    (other / "checkpoints").mkdir(parents=True)
    rows = journaled_rows.JournaledRows(other / "u", 7, 1)
    rows.mark("0" * 16)
    (other / "u").replace(folder / "table" / "u")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lose, CheckpointError, "rows that were in .*u are missing"),
        (of_another_run, CheckpointError, "they are those of another run"),
        (of_another_size, RowsFileError, "7 rows of 1 numbers, the model"),
        (lambda folder: cut(folder / "table" / "v_slots"), RowsFileError, "was cut"),
        (
            lambda folder: (folder / "table" / "record_table").unlink(),
            RowsFileError,
            "record_table is missing",
        ),
    ],
    ids=["lost", "other", "size", "cut", "file"],
)
def test_rows_that_are_not_the_runs_are_refused(copy, damage, error, message):
    damage(copy)
    with pytest.raises(error, match=message):
        Run(experiment(), copy, execution=ON_DISK).train(verbose=0)
    assert len(list((copy / "checkpoints").iterdir())) == 2


def test_a_full_disk_leaves_the_last_checkpoint(copy, whole, monkeypatch):
    pwrite, calls = os.pwrite, []

    def full(descriptor, data, place):
        if "v_slots.undo" in os.readlink(f"/proc/self/fd/{descriptor}"):
            calls.append(place)
            if len(calls) > 1:
                raise OSError(28, os.strerror(28))
        return pwrite(descriptor, data, place)

    last = newest(copy).name
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(
            OutputError,
            match=rf"v_slots.undo-\w* could not be .*No space.* {last}, is intact",
        ) as raised:
            Run(experiment(), copy, execution=ON_DISK).train(verbose=0)
    assert "\n" not in str(raised.value)
    Run(experiment(), copy, execution=ON_DISK).train(verbose=0)
    assert_same_end(whole["compact"], copy)


def test_no_room_for_the_rows(tmp_path, monkeypatch):
    def full(descriptor, start, size):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"u could not be .* There is no checkpoint"):
        Run(experiment(), tmp_path, execution=ON_DISK).train(verbose=0)


def test_rows_of_no_checkpoint_are_nobodys(copy, whole):
    shutil.rmtree(copy / "checkpoints")
    Run(experiment(), copy, execution=ON_DISK).train(verbose=0)
    assert_same_end(whole["compact"], copy)


def test_rows_that_are_not_finite_end_a_run(tmp_path, monkeypatch):
    def spoilt(*arguments, **options):
        model = compile_model(*arguments, **options)
        rows = next(one for one in rows_on_disk(model) if one.path.endswith("v_slots"))
        rows.scatter([3], [[1, -1, -1, np.inf, 0, 0, -1, 0]])
        return model

    compile_model = run_module.compile_model
    monkeypatch.setattr(run_module, "compile_model", spoilt)
    with pytest.raises(ValueError, match=r"table/v_slots is not finite in epoch 1"):
        Run(experiment(), tmp_path, execution=ON_DISK).train(verbose=0)
