import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import train
from absl import flags
from absl.testing import flagsaver

from sop_keras.training.execution import Execution
from sop_keras.training.preemption import Preempted

ROOT = Path(__file__).resolve().parents[2]
DATA = os.environ.get("SOP_KERAS_DATA")


@pytest.fixture
def command(monkeypatch):
    """The launcher's main() in this process, for arguments; no flag lasts."""

    def main(*arguments):
        def parse_and_run(run, argv):
            with flagsaver.flagsaver():
                flags.FLAGS.unparse_flags()
                run(flags.FLAGS(argv))

        monkeypatch.setattr(train.app, "run", parse_and_run)
        monkeypatch.setattr(train, "show_messages", lambda: None)
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        train.main()

    return main


@pytest.fixture
def runs(monkeypatch):
    """Runs that are asked for; their training does what `runs.outcome` says."""
    made = SimpleNamespace(arguments=[], trained=[], outcome=dict)
    result = {"noise_auroc": None, "seconds": 1, "final_test_accuracy": 0.5}

    class FakeRun:
        def __init__(self, experiment, folder, files, execution, strategy):
            self.folder = folder
            made.arguments.append((experiment, folder, files, execution, strategy))

        def train(self, verbose, flags):
            made.trained.append(verbose)
            return {**result, **made.outcome()}

    monkeypatch.setattr(train, "Run", FakeRun)
    return made


@pytest.fixture
def one_of_two_machines(monkeypatch):
    """This process is what it says, 0 or 1, of two machines, without any network."""
    place = SimpleNamespace(index=1)

    def make_strategy(name):
        assert name == "multi_worker"
        resolver = SimpleNamespace(task_id=place.index)
        return SimpleNamespace(cluster_resolver=resolver)

    monkeypatch.setattr(train, "make_strategy", make_strategy)
    monkeypatch.setattr(train, "is_chief", lambda strategy: place.index == 0)
    before = signal.getsignal(signal.SIGTERM)
    yield place
    signal.signal(signal.SIGTERM, before)


def raising(error):
    def outcome():
        raise error

    return outcome


def test_all_methods_share_one_strategy(command, runs, monkeypatch):
    made = []

    def make_strategy(name):
        made.append(name)
        return tf.distribute.get_strategy()

    monkeypatch.setattr(train, "make_strategy", make_strategy)
    command("--strategy=mirrored", "--method=sop,ce", "--steps_per_execution=3")
    assert made == ["mirrored"]
    assert [one[0].method for one in runs.arguments] == ["sop", "ce"]
    for *_, execution, strategy in runs.arguments:
        assert execution == Execution(strategy="mirrored", steps_per_execution=3)
        assert strategy is tf.distribute.get_strategy()


def test_sigterm_ends_in_the_exit_code_that_asks_to_be_started_again(
    command, runs, capsys
):
    runs.outcome = raising(Preempted("Stopped by SIGTERM after epoch 3."))
    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 75
    assert capsys.readouterr().err == "Stopped by SIGTERM after epoch 3.\n"


# As TensorFlow 2.21 has them where one of two workers was killed, or started again.
LOST = (
    "Graph execution error:\n\nDetected at node x defined at (most recent call last):\n"
)
LOST += '  File "train.py", line 1, in <module>\n\nCollective ops is aborted by: '


@pytest.mark.parametrize(
    ("kind", "message", "reason"),
    [
        ("Unavailable", f"{LOST}recvmsg:Connection reset\n by peer", "recvmsg:Conn"),
        ("Aborted", f"{LOST}It has likely restarted.", "It has likely restarted."),
        ("Internal", f"{LOST}ring closed", "ring closed"),
        ("Internal", "NCCL: remote process exited", "NCCL: remote process exited"),
        ("DeadlineExceeded", "Barrier timed out.\nTasks: 1", "Barrier timed out."),
    ],
)
def test_a_lost_machine_ends_in_the_same_exit_code(
    kind, message, reason, command, runs, one_of_two_machines, capsys
):
    error = getattr(tf.errors, f"{kind}Error")(None, None, message)
    runs.outcome = raising(error)
    with pytest.raises(SystemExit) as ended:
        command("--strategy=multi_worker")
    assert ended.value.code == 75
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("A machine was lost: start the same command on all ")
    assert f"TensorFlow says: {reason}" in line
    # With its traceback, it ends in the same code.
    with pytest.raises(SystemExit) as ended:
        command("--strategy=multi_worker", "--traceback")
    assert ended.value.code == 75
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "message", "strategy"),
    [
        ("Unavailable", "Socket closed", "none"),
        ("Internal", f"{LOST}one", "mirrored"),
    ],
)
def test_one_machine_is_never_lost(
    kind, message, strategy, command, runs, one_of_two_machines, monkeypatch
):
    one_of_two_machines.index = 0
    default = tf.distribute.get_strategy()
    monkeypatch.setattr(train, "make_strategy", lambda name: default)
    error = getattr(tf.errors, f"{kind}Error")
    runs.outcome = raising(error(None, None, message))
    with pytest.raises(error):
        command(f"--strategy={strategy}")


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.InternalError(None, None, "Blas GEMM launch failed"),
        tf.errors.ResourceExhaustedError(None, None, "OOM"),
        ValueError("not so"),
        RuntimeError("not so either"),
    ],
)
def test_an_error_of_one_of_several_machines(
    error, command, runs, one_of_two_machines, capsys
):
    # Above 75, which the others end with: a job manager sees the highest code.
    one_of_two_machines.index = 0
    runs.outcome = raising(error)
    with pytest.raises(SystemExit) as ended:
        command("--strategy=multi_worker")
    assert ended.value.code == 78
    assert str(error) in capsys.readouterr().err


def test_other_errors_are_one_line(command, runs):
    runs.outcome = raising(ValueError("not so"))
    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == "error: not so"  # Python prints it, and exits with 1


@pytest.mark.parametrize("index", [0, 1])
def test_the_first_machine_alone_shows_the_results(
    index, command, runs, one_of_two_machines, capsys
):
    one_of_two_machines.index = index
    command("--strategy=multi_worker", "--method=sop,ce", "--output_dir=here")
    assert len(runs.trained) == 2
    output = capsys.readouterr().out
    if index == 0:
        assert runs.trained == [2, 2]
        assert re.search(r" sop +50\.00 .*\n +ce +50\.00 ", output)
        assert "tensorboard --logdir=here" in output
    else:
        assert runs.trained == [0, 0]
        assert output == "Worker 1 trains along; worker 0 shows the results.\n"


def test_sigterm_works_as_ever_before_a_run_trains(command, runs, one_of_two_machines):
    # TensorFlow's strategy for several machines sets a handler that does nothing here.
    signal.signal(signal.SIGTERM, lambda *_: None)
    command("--strategy=multi_worker")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def launch(*arguments, cwd=None, **options):
    command = [sys.executable, str(ROOT / "launch" / "train.py"), *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, **options
    )


@pytest.mark.slow
def test_the_command_line_from_any_directory(tmp_path):
    quick = ["--epochs=1", "--max_train_examples=100"]
    done = launch("--flagfile=digits", *quick, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r" sop +\d+\.\d\d .*\n +ce +\d+\.\d\d ", done.stdout)
    assert "tensorboard --logdir=runs/digits-seed0" in done.stdout
    for method in ("sop", "ce"):
        assert (tmp_path / "runs/digits-seed0" / method / "result.json").is_file()
    # What is deployed loads without this package, the whole model with it alone.
    for modules, file in (("keras", "backbone"), ("keras, sop_keras", "model")):
        code = f"import {modules}"
        for method in ("sop", "ce"):
            path = str(tmp_path / "runs/digits-seed0" / method / f"{file}.keras")
            code += f"; keras.saving.load_model({path!r})"
        subprocess.run([sys.executable, "-c", code], check=True)
    # Each method has its folder there, so one may be added or asked for alone.
    again = launch("--flagfile=digits", *quick, "--method=ce", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "runs/digits-seed0/ce is complete" in again.stdout
    # Errors are one line that says what to do, without a traceback.
    other = launch("--flagfile=digits", "--epochs=2", cwd=tmp_path)
    assert other.returncode == 1
    text = r"^error: runs/digits-seed0/sop holds a run of other settings \(epochs: 1"
    assert re.search(text, other.stderr, flags=re.M)
    for arguments, text in [
        (["--flagfile=nope"], "error: There is no flagfile 'nope'"),
        (["--epoch=2"], "Unknown command line flag 'epoch'"),
        (["--flagfile=digits", "extra"], "error: arguments that are no flags: extra"),
        (
            ["--flagfile=cifar10_sym40", f"--data_dir={tmp_path}"],
            r"(?s)error: .*tfds\.load\('cifar10'",
        ),
    ]:
        failed = launch(*arguments, cwd=tmp_path)
        assert failed.returncode != 0
        assert re.search(text, failed.stderr + failed.stdout), failed.stderr
        assert "Traceback" not in failed.stderr


@pytest.mark.slow
def test_killed_in_an_epoch_the_same_command_ends_in_the_same_bits(tmp_path):
    # SOP+ has all the state there is: u, v, and two views of every example.
    flags_ = ["--method=sop_plus", "--epochs=20"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert launch(*flags_, f"--output_dir={whole}").returncode == 0

    command = [sys.executable, str(ROOT / "launch" / "train.py"), *flags_]
    process = subprocess.Popen(
        [*command, f"--output_dir={cut}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    history, deadline = cut / "history.csv", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if history.exists() and len(history.read_text().splitlines()) > 5:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (cut / "result.json").exists()

    assert launch(*flags_, f"--output_dir={cut}").returncode == 0
    models = [keras.saving.load_model(path / "model.keras") for path in (whole, cut)]
    for one, other in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    states = [model.optimizer.variables for model in models]
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.slow
def test_two_logical_cpus_train_like_one_device(tmp_path):
    flags_ = ["--method=sop", "--epochs=2", "--max_train_examples=300"]
    ends = {}
    for name, more in {
        "one": ["--steps_per_execution=2", "--table_device=cpu"],
        "two": ["--strategy=mirrored", "--logical_cpus=2"],
    }.items():
        done = launch(*flags_, *more, f"--output_dir={tmp_path / name}")
        assert done.returncode == 0, done.stderr
        assert "INFO:tensorflow" not in done.stderr
        result = json.loads((tmp_path / name / "result.json").read_text())
        model = keras.saving.load_model(tmp_path / name / "model.keras")
        ends[name] = result, [weight.numpy() for weight in model.weights]
    assert ends["one"][0]["execution"]["table_device"] == "cpu"
    assert ends["one"][0]["execution"]["steps_per_execution"] == 2
    assert ends["two"][0]["execution"]["strategy"] == "mirrored"
    for one, two in zip(*(weights for _, weights in ends.values()), strict=True):
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-5 * np.abs(one).max())


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="SOP_KERAS_DATA is unset: no CIFAR-10")
@pytest.mark.parametrize(
    ("name", "schedule", "num_validation"),
    [
        ("cifar10_asym40", ["--epochs=2", "--decay_epochs=1"], 5000),
        ("cifar10_plus_asym40", ["--epochs=1"], 0),
    ],
)
def test_a_row_of_the_paper_runs_on_real_cifar10(
    name, schedule, num_validation, tmp_path
):
    done = launch(
        f"--flagfile={name}",
        f"--data_dir={DATA}/tfds",
        f"--output_dir={tmp_path / 'run'}",
        "--backbone=cnn",
        *schedule,
        "--max_train_examples=1280",
    )
    assert done.returncode == 0, done.stderr
    result = (tmp_path / "run" / "result.json").read_text()
    assert '"num_train": 1280' in result
    assert f'"num_validation": {num_validation}' in result
    # Asymmetric noise leaves 5 of 10 classes alone: 40% of half are 20% (4 standard
    # errors of 1,280: 4.5%).
    rate = float(re.search(r'"noise_rate": ([\d.]+)', result)[1])
    assert abs(rate - 0.2) < 0.045
