"""Runs that are stopped inside an epoch, and go on from there."""

import os
import signal
import threading

import keras
import numpy as np
import pytest
from runs import OFTEN, InterruptionError, assert_same_end, history, interrupt_at
from settings import digits

from sop_keras.training.checkpoint import CheckpointError, Checkpoints
from sop_keras.training.execution import Execution
from sop_keras.training.preemption import Preempted
from sop_keras.training.recorder import Recorder
from sop_keras.training.run import Run

pytestmark = pytest.mark.slow

# 300 examples in batches of 64: 5 of them.
STEPS = 5


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("complete")
    Run(digits(), folder).train(verbose=0)
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        # Rates that set themselves, and rows of slots.
        {
            **{"method": "sop_plus", "u_learning_rate": None, "v_learning_rate": None},
            **{"table": "compact", "table_slots": 3},
        },
        {"method": "ce", "precision": "mixed_float16"},
        # Stopped after 3 batches of epoch 2: 8 in all, 2 of 3 gradients are summed up.
        {"gradient_accumulation_steps": 3},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_in_an_epoch_it_goes_on_after_the_last_checkpoint(
    tmp_path, monkeypatch, settings
):
    experiment = digits(epochs=2, decay_epochs=(1,), **settings)
    Run(experiment, tmp_path / "whole").train(verbose=0)
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=1, batch=2)
        with pytest.raises(InterruptionError):
            Run(experiment, tmp_path / "cut", execution=OFTEN).train(verbose=0)
    expected = ["epoch-00001-step-000002", "epoch-00001-step-000003"]
    assert names(tmp_path / "cut") == expected
    begun = []
    original = keras.Model.fit

    def fit(self, *args, **kwargs):
        begun.append((kwargs["initial_epoch"], kwargs["steps_per_epoch"]))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", fit)
    Run(experiment, tmp_path / "cut").train(verbose=0)
    assert begun == [(1, STEPS - 3)]
    assert_same_end(tmp_path / "whole", tmp_path / "cut")
    regularizers = {"consistency_loss", "balance_loss"}
    recorded = regularizers & set(history(tmp_path / "whole")[0])
    assert recorded == (regularizers if experiment.record.name == "sop_plus" else set())


def test_every_batch_of_a_training_may_be_the_last(tmp_path, monkeypatch):
    # Each process ends after the first batch that it trains on: 2 epochs of 3.
    experiment = digits(epochs=2, decay_epochs=(1,), batch_size=100)
    Run(experiment, tmp_path / "whole").train(verbose=0)
    original = Checkpoints.save

    def save(self, model, progress):
        original(self, model, progress)
        if progress.step:
            raise InterruptionError

    stopped = 0
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        while True:
            try:
                Run(experiment, tmp_path / "cut", execution=OFTEN).train(verbose=0)
                break
            except InterruptionError:
                stopped += 1
    # The last batch of an epoch is followed by its evaluation, and that by a batch.
    assert stopped == 2 * (3 - 1)
    assert_same_end(tmp_path / "whole", tmp_path / "cut")


def test_several_batches_in_an_execution_are_the_same_training(
    tmp_path, monkeypatch, complete
):
    # Executions of 2 batches: batches 0 and 1, 2 and 3, then 4 alone.
    execution = Execution(steps_per_execution=2, checkpoint_minutes=1e-9)
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=1, batch=1)
        with pytest.raises(InterruptionError):
            Run(digits(), tmp_path, execution=execution).train(verbose=0)
    assert names(tmp_path) == ["epoch-00001-step-000000", "epoch-00001-step-000002"]
    result = Run(digits(), tmp_path, execution=execution).train(verbose=0)
    assert result["execution"]["steps_per_execution"] == 2
    assert_same_end(complete, tmp_path)


def test_the_seconds_of_an_epoch_are_those_of_all_its_parts(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("sop_keras.training.recorder.time.monotonic", lambda: now[0])
    original = Recorder.on_train_batch_end

    def two_seconds_a_batch(self, index, logs=None):
        now[0] += 2
        original(self, index, logs)
        if stop and (self.progress.epoch, index) == (0, 2):
            raise InterruptionError

    monkeypatch.setattr(Recorder, "on_train_batch_end", two_seconds_a_batch)
    # A checkpoint each 3 seconds: after 2 batches, and after 4.
    execution = Execution(checkpoint_minutes=3 / 60)
    stop = True
    with pytest.raises(InterruptionError):
        Run(digits(epochs=1), tmp_path, execution=execution).train(verbose=0)
    assert names(tmp_path) == ["epoch-00000-step-000002"]
    now[0], stop = 1000.0, False
    Run(digits(epochs=1), tmp_path, execution=execution).train(verbose=0)
    assert float(history(tmp_path)[0]["seconds"]) == 2 * STEPS


def test_without_minutes_there_is_a_checkpoint_an_epoch(tmp_path, monkeypatch):
    interrupt_at(monkeypatch, epoch=2)
    with pytest.raises(InterruptionError):
        Run(digits(), tmp_path, execution=Execution(checkpoint_minutes=0)).train(
            verbose=0
        )
    assert names(tmp_path) == ["epoch-00001-step-000000", "epoch-00002-step-000000"]


def terminate_at(monkeypatch, method, epoch, index):
    """Send SIGTERM to this process when the recorder is called in this epoch."""
    original = getattr(Recorder, method)

    def terminated(self, received, logs=None):
        if (self.progress.epoch, received) == (epoch, index):
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, received, logs)

    monkeypatch.setattr(Recorder, method, terminated)


@pytest.mark.parametrize(
    ("method", "index", "place", "text"),
    [
        ("on_train_batch_end", 1, (1, 2), "after batch 2 of epoch 2"),
        # The last one of an epoch: its evaluation comes first.
        ("on_train_batch_end", 4, (2, 0), "after epoch 2"),
        ("on_epoch_end", 1, (2, 0), "after epoch 2"),
    ],
)
def test_sigterm_saves_and_stops(
    tmp_path, monkeypatch, complete, method, index, place, text
):
    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        terminate_at(patch, method, epoch=1, index=index)
        with pytest.raises(Preempted, match=f"{text}.*same command"):
            Run(digits(), tmp_path).train(verbose=0)
    assert signal.getsignal(signal.SIGTERM) == handler
    epoch, step = place
    assert names(tmp_path)[-1] == f"epoch-{epoch:05d}-step-{step:06d}"
    Run(digits(), tmp_path).train(verbose=0)
    assert_same_end(complete, tmp_path)


def test_sigterm_while_the_data_are_loaded_stops_before_the_first_batch(
    tmp_path, monkeypatch
):
    from sop_keras.training import run

    def load_data(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*args)

    original = run.load_data
    monkeypatch.setattr(run, "load_data", load_data)
    with pytest.raises(Preempted, match="before its first batch"):
        Run(digits(), tmp_path).train(verbose=0)
    assert not (tmp_path / "checkpoints").exists()


def test_in_another_thread_signals_are_left_alone(tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    seen = []

    def train():
        Run(digits(epochs=1), tmp_path).train(verbose=0)
        seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [handler]


def test_checkpoints_of_another_seed_are_refused(tmp_path, monkeypatch):
    interrupt_at(monkeypatch, epoch=1)
    for seed in (0, 1):
        with pytest.raises(InterruptionError):
            Run(digits(seed=seed), tmp_path / str(seed)).train(verbose=0)
    (tmp_path / "0" / "checkpoints").rename(tmp_path / "1" / "old")
    (tmp_path / "1" / "checkpoints").rename(tmp_path / "1" / "own")
    (tmp_path / "1" / "old").rename(tmp_path / "1" / "checkpoints")
    with pytest.raises(CheckpointError, match="seed=0; this one has seed=1"):
        Run(digits(seed=1), tmp_path / "1").train(verbose=0)


def test_the_networks_precision_leaves_u_and_v_in_float32(tmp_path):
    policy = keras.config.dtype_policy().name
    Run(digits(epochs=1, precision="mixed_bfloat16"), tmp_path).train(verbose=0)
    assert keras.config.dtype_policy().name == policy
    model = keras.saving.load_model(tmp_path / "model.keras")
    dense = [
        one for one in model.backbone.layers if one.name != "logits" and one.weights
    ]
    assert {one.compute_dtype for one in dense} == {"bfloat16"}
    # int64 counts the examples that were trained on.
    assert {weight.dtype for weight in model.weights} == {"float32", "int64"}
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)
