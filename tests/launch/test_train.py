import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import train
import train_runs

from sop_keras.training.execution import Execution
from sop_keras.training.preemption import Preempted

ROOT = Path(__file__).resolve().parents[2]
DATA = os.environ.get("SOP_KERAS_DATA")


@pytest.fixture
def command(monkeypatch):
    """The launcher's main() in this process, for arguments."""
    monkeypatch.setattr("command.show_messages", lambda stream: None)
    return lambda *arguments: train.main(arguments)


@pytest.fixture
def runs(monkeypatch):
    """Runs that are asked for; their training does what `runs.outcome` says."""
    made = SimpleNamespace(arguments=[], trained=[], outcome=dict)
    result = {"noise_auroc": None, "seconds": 1, "final_test_accuracy": 0.5}

    class FakeRun:
        def __init__(self, experiment, folder, files, execution, strategy):
            self.folder, self.picture_folder = folder, None
            self.experiment, self.files = experiment, files
            made.arguments.append((experiment, folder, files, execution, strategy))

        def train(self, verbose, flags):
            made.trained.append(verbose)
            return {**result, **made.outcome()}

    monkeypatch.setattr("sop_keras.training.run.Run", FakeRun)
    return made


@pytest.fixture
def one_of_two_machines(monkeypatch):
    """This process is what it says, 0 or 1, of two machines, without any network."""
    place = SimpleNamespace(index=1)

    def make_strategy(name):
        assert name == "multi_worker"
        resolver = SimpleNamespace(task_id=place.index)
        return SimpleNamespace(cluster_resolver=resolver)

    monkeypatch.setattr(train_runs, "make_strategy", make_strategy)
    monkeypatch.setattr(train_runs, "is_chief", lambda strategy: place.index == 0)
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

    monkeypatch.setattr(train_runs, "make_strategy", make_strategy)
    command("--strategy=mirrored", "--method=sop,ce", "--steps_per_execution=3")
    assert made == ["mirrored"]
    assert [one[0].record.name for one in runs.arguments] == ["sop", "ce"]
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
    monkeypatch.setattr(train_runs, "make_strategy", lambda name: default)
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


def test_other_errors_are_one_line(command, runs, capsys):
    runs.outcome = raising(ValueError("not so"))
    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: not so\n"
    with pytest.raises(ValueError, match="not so"):
        command("--traceback")
    # No user can mend this one.
    runs.outcome = raising(RuntimeError("not so either"))
    with pytest.raises(RuntimeError):
        command()


def test_views_have_a_column_of_their_own():
    result = {"seconds": 1.0, "final_test_accuracy": 0.5}
    result |= {"settings": {"test_views": "flip"}, "final_test_accuracy_flip": 0.75}
    header, row = train_runs.table({"one": result}).splitlines()[-2:]
    assert header.split()[:4] == ["method", "test", "test", "views"]
    assert row.split()[:3] == ["one", "50.00", "75.00"]


def test_what_is_not_to_be_trusted_is_said_below_the_results():
    result = {"noise_auroc": None, "seconds": 1.0, "final_test_accuracy": 0.5}
    results = {"one": {**result, "doubts": ["No label is judged."]}, "other": result}
    assert train_runs.table(results).endswith("\n\none: WARNING: No label is judged.")


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
        assert re.search("tensorboard --logdir=here\n", output)
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
        command, cwd=cwd, capture_output=True, encoding="utf-8", check=False, **options
    )


@pytest.mark.slow
def test_the_command_line_from_any_directory(tmp_path, monkeypatch, in_process):
    quick = ["--epochs=1", "--max_train_examples=100"]
    done = launch("--flagfile=digits", *quick, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r" sop +\d+\.\d\d .*\n +ce +\d+\.\d\d ", done.stdout)
    assert re.search("tensorboard --logdir=runs/digits-seed0\n", done.stdout)
    runs = [tmp_path / "runs/digits-seed0" / method for method in ("sop", "ce")]
    for run in runs:
        assert (run / "result.json").is_file()
    # What is deployed loads without this package, the whole model with it alone.
    code = "import sys, keras"
    for run in runs:
        code += f"; keras.saving.load_model({str(run / 'backbone.keras')!r})"
    code += "; assert 'sop_keras' not in sys.modules; import sop_keras"
    for run in runs:
        code += f"; keras.saving.load_model({str(run / 'model.keras')!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    # Each method has its folder there, so one may be added or asked for alone.
    monkeypatch.chdir(tmp_path)
    again = in_process(train, "--flagfile=digits", *quick, "--method=ce")
    assert again.returncode == 0, again.stderr
    assert "runs/digits-seed0/ce is complete" in again.stdout
    other = in_process(train, "--flagfile=digits", "--epochs=2")
    assert other.returncode == 1
    text = r"^error: runs/digits-seed0/sop holds a run of other settings \(epochs: 1"
    assert re.search(text, other.stderr, flags=re.M)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--flagfile=nope"], "error: There is no flagfile 'nope'"),
        (["--epoch=2"], "error: Unknown command line flag 'epoch'"),
        (["--flagfile=digits", "extra"], "error: arguments that are no flags: extra"),
        (
            ["--flagfile=cifar10_sym40", "--data_dir=."],
            r"(?s)error: .*tfds\.load\('cifar10'",
        ),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(arguments, text, in_process):
    failed = in_process(train, *arguments)
    assert failed.returncode == 1
    assert re.search(text, failed.stderr + failed.stdout), failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
def test_two_logical_cpus_train_like_one_device(tmp_path, in_process):
    def one(*arguments):
        return in_process(train, *arguments)

    flags_ = ["--method=sop", "--epochs=2", "--max_train_examples=300"]
    ends = {}
    for name, start, more in (
        ("one", one, ["--steps_per_execution=2", "--table_device=cpu"]),
        # A process has as many logical CPUs as it began with.
        ("two", launch, ["--strategy=mirrored", "--logical_cpus=2"]),
    ):
        done = start(*flags_, *more, f"--output_dir={tmp_path / name}")
        assert done.returncode == 0, done.stderr
        assert "INFO:tensorflow" not in done.stderr
        result = json.loads((tmp_path / name / "result.json").read_text("utf-8"))
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
    name, schedule, num_validation, tmp_path, in_process
):
    done = in_process(
        train,
        f"--flagfile={name}",
        f"--data_dir={DATA}/tfds",
        f"--output_dir={tmp_path / 'run'}",
        "--backbone=mlp",
        *schedule,
        "--max_train_examples=1280",
    )
    assert done.returncode == 0, done.stderr
    result = (tmp_path / "run" / "result.json").read_text("utf-8")
    assert '"num_train": 1280' in result
    assert f'"num_validation": {num_validation}' in result
    # Asymmetric noise leaves 5 of 10 classes alone: 40% of half are 20% (4 standard
    # errors of 1,280: 4.5%).
    rate = float(re.search(r'"noise_rate": ([\d.]+)', result)[1])
    assert abs(rate - 0.2) < 0.045
