import contextlib
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from sop_keras.files.atomic import OutputError, check_room, replacing, write_atomically
from sop_keras.training.checkpoint import Checkpoints
from sop_keras.training.model_size import file_size
from sop_keras.training.progress import Progress


@contextlib.contextmanager
def no_file_above(num_bytes):
    """A disk where larger files do not fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def network(num_weights):
    return keras.Sequential(
        [keras.Input((num_weights,)), keras.layers.Dense(1, use_bias=False)]
    )


def test_write_atomically_leaves_one_file(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    write_atomically(path, "new")
    assert path.read_text("utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    with (
        no_file_above(1000),
        pytest.raises(
            OutputError, match=r"a\.txt could not be written: File too large"
        ),
    ):
        write_atomically(path, "new" * 1000)
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_leave_no_part_either(tmp_path):
    def fail():
        with replacing(tmp_path / "a") as partial:
            partial.write_text("half", encoding="utf-8")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_free_bytes_are_those_of_the_disk(tmp_path):
    with pytest.raises(
        OutputError, match=r"no/a could .* No such file.* ([\d,]+) bytes"
    ):
        write_atomically(tmp_path / "no" / "a", "text")


def test_room_for_a_model(tmp_path):
    # A million weights of 4 bytes do not fit in 4 MB, with what HDF5 adds.
    path = tmp_path / "a.weights.h5"
    with no_file_above(4_000_000):
        check_room(path, file_size(network(900_000)))
        with pytest.raises(OSError, match="File too large"):
            check_room(path, file_size(network(1_000_000)))
    check_room(path, file_size(network(1_000_000)))
    assert list(tmp_path.iterdir()) == []


def test_room_for_the_optimizer_too(tmp_path):
    model = network(600_000)  # 2.4 MB, and the momentum as much
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    with no_file_above(4_000_000):
        check_room(tmp_path / "a", file_size(model))
        model.optimizer.build(model.trainable_variables)
        with pytest.raises(OSError, match="File too large"):
            check_room(tmp_path / "a", file_size(model))


def test_a_checkpoint_without_room_leaves_those_before_it(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    model = network(100_000)
    model.compile("sgd", "mse")
    checkpoints.save(model, Progress(seed=0, epoch=1))
    checkpoints.save(model, Progress(seed=0, epoch=2))
    with (
        no_file_above(100_000),
        pytest.raises(
            OutputError, match="epoch-00003-step-000000 could not be written"
        ),
    ):
        checkpoints.save(model, Progress(seed=0, epoch=3))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch-00001-step-000000",
        "epoch-00002-step-000000",
    ]
    assert checkpoints.restore(model).epoch == 2


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A disk of 16 MB."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"No disk of 16 MB can be mounted here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


# What fills the disk in a run: after which call, how many bytes it leaves, where the
# rows of the examples are, and what cannot be written then.
FULL = {
    # Before the second checkpoint of three: not a byte left, and not enough.
    "checkpoint": (
        "recorder.Recorder.on_epoch_begin",
        2,
        0,
        None,
        "epoch-00002-step-000000",
    ),
    "part": (
        "recorder.Recorder.on_epoch_begin",
        2,
        50_000,
        None,
        "epoch-00002-step-000000",
    ),
    "rows": ("recorder.Recorder.on_epoch_begin", 2, 0, "disk", r"table/u\.undo-\w+"),
    # After it, and before a row of history.csv, or of TensorBoard's figures.
    "history": ("recorder.Recorder._save", 2, 0, None, "history.csv"),
    "tensorboard": ("recorder.write_atomically", 1, 0, None, "tensorboard"),
    # After the last epoch: the models, the label issues.
    "model": ("recorder.Scalars.write", 3, 0, None, "model.keras"),
    "issues": ("run.summarize", 1, 0, None, "label_issues.csv"),
}


@pytest.fixture(scope="module")
def ends(small_disk):
    """By the name of a case: how `full_disk.py` ended; all in one process."""
    script = str(Path(__file__).with_name("full_disk.py"))
    cases = json.dumps({name: case[:-1] for name, case in FULL.items()})
    done = subprocess.run(
        [sys.executable, script, str(small_disk), cases],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_ends_in_one_message(ends, name):
    end, what = ends[name], FULL[name][-1]
    said = rf"{what} could not be written: No space left on device"
    assert re.search(said, end["error"])
    assert f"The last checkpoint, {end['checkpoints'][-1]}, is intact" in end["error"]
    assert "\n" not in end["error"]
    assert end["partial"] == []
    # With room again, the same command ends well.
    assert end["is_complete"]
