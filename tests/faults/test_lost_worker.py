"""Two workers of the launcher: undisturbed, one killed, one told to stop."""

import re
import signal
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "core"), str(TESTS / "training")]

import train  # noqa: E402
from cluster import ROOT, Workers  # noqa: E402
from runs import assert_same_end, history  # noqa: E402

pytestmark = pytest.mark.slow

# 300 examples in batches of 24: 13 steps an epoch. Workers ask each other each 10 steps
# whether to save, which they do each time.
FLAGS = [
    "--flagfile=digits.flags",
    "--method=sop",
    "--max_train_examples=300",
    "--batch_size=24",
    "--epochs=5",
    "--schedule=step",
    "--decay_epochs=4",
]
COMMAND = [
    *(ROOT / "launch" / "train.py", *FLAGS),
    *("--deterministic", "--strategy=multi_worker"),
]
SAVE_OFTEN = "--checkpoint_minutes=0.00001"
SECONDS = 300


def variables(folder):
    """All that a training changes, of the saved model."""
    model = keras.saving.load_model(folder / "model.keras")
    found = list(model.variables)
    for name in ("optimizer", "u_optimizer", "v_optimizer"):
        if hasattr(model, name):
            found += getattr(model, name).variables
    return [variable.numpy() for variable in found]


def pair(output, folder, *more):
    return Workers([[*COMMAND, *more, f"--output_dir={output}"]] * 2, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`alone`, `worker-0` and `worker-1`: the output of undisturbed trainings."""
    folder = tmp_path_factory.mktemp("undisturbed")
    commands = [[*COMMAND, f"--output_dir={folder}/worker-{i}"] for i in range(2)]
    with Workers(commands, folder) as workers, pytest.MonkeyPatch.context() as patch:
        # Alone in this process, meanwhile. Op determinism could not be switched off
        # again for the tests that follow.
        patch.setattr("command.show_messages", lambda stream: None)
        train.main([*FLAGS, "--nodeterministic", f"--output_dir={folder}/alone"])
        workers.check([0, 0], SECONDS)
        assert "AUROC" in workers.output(0)
        assert "AUROC" not in workers.output(1)
    return folder


def files(folder):
    """Relative paths; the names of TensorBoard's files end in process numbers."""
    paths = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(re.sub(r"tfevents.*", "tfevents", path) for path in paths)


def test_the_first_worker_alone_writes(folder):
    assert not (folder / "worker-1").exists()
    assert files(folder / "worker-0") == files(folder / "alone")


def test_two_workers_end_like_one_process(folder):
    alone, workers = folder / "alone", folder / "worker-0"
    for expected, actual in zip(variables(alone), variables(workers), strict=True):
        bound = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)
    for expected, actual in zip(history(alone), history(workers), strict=True):
        # No worker knows the norm of the network's whole gradient.
        assert expected.keys() - actual.keys() <= {"gradient_norm"}
        for name in actual.keys() - {"seconds"}:
            if actual[name] == expected[name] == "":  # 0 / 0
                continue
            assert float(actual[name]) == pytest.approx(float(expected[name]), rel=1e-5)


def wait_for(path, workers):
    end = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < end, f"no {path}: {workers.output(0)}"
        assert all(process.poll() is None for process in workers.processes)
        time.sleep(0.01)


def test_a_run_whose_workers_are_lost_or_stopped_ends_like_an_undisturbed_one(
    folder, tmp_path
):
    output = tmp_path / "output"

    def interrupt(worker, number, epochs, codes):
        """Send a worker a signal after some epochs; gives what both have printed."""
        with pair(output, tmp_path, SAVE_OFTEN) as workers:
            name = f"epoch-{epochs:05d}-step-000000"
            wait_for(output / "checkpoints" / name, workers)
            workers.processes[worker].send_signal(number)
            workers.check(codes, SECONDS)
            return workers.output(0), workers.output(1)

    # Either worker notices by itself that the other one is gone.
    lost = "A machine was lost: .*same command on all machines"
    texts = interrupt(1, signal.SIGKILL, 1, [75, -signal.SIGKILL])
    assert re.search(lost, texts[0])
    texts = interrupt(0, signal.SIGKILL, 2, [-signal.SIGKILL, 75])
    assert re.search(lost, texts[1])
    assert not (output / "result.json").exists()

    # Both stop after the same batch, whose checkpoint is there.
    texts = interrupt(1, signal.SIGTERM, 3, [75, 75])
    first, second = (
        re.search(r"Stopped by SIGTERM after (.*);", text)[1] for text in texts
    )
    assert first == second
    epoch = int(re.search(r"epoch (\d+)", first)[1])
    step = re.match(r"batch (\d+) of", first)
    place = (epoch - 1, int(step[1])) if step else (epoch, 0)
    newest = sorted((output / "checkpoints").iterdir())[-1]
    assert newest.name == "epoch-{:05d}-step-{:06d}".format(*place)

    with pair(output, tmp_path) as workers:
        workers.check([0, 0], SECONDS)
    assert_same_end(folder / "worker-0", output)
