"""Runs that a sieve, a first training or a first run is a part of, stopped in each."""

import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from runs import OFTEN, InterruptionError, assert_same_end, history, interrupt_at
from settings import digits

from sop_keras import methods
from sop_keras.training.run import Run

pytestmark = pytest.mark.slow

EPOCHS = 3
SETTINGS = {"epochs": EPOCHS, "decay_epochs": (2,)}


def stop(experiment, folder, monkeypatch, epoch):
    """Begin a run that is stopped in an epoch of the first training that has it."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=epoch)
        with pytest.raises(InterruptionError):
            Run(experiment, folder, execution=OFTEN).train(verbose=0)


@pytest.mark.parametrize(
    ("method", "epochs"),
    [
        ("cores2", [2]),  # with the sieve at work, and r counted within an epoch
        ("forward", [1, EPOCHS]),  # before its fresh start, and after
    ],
)
def test_it_ends_as_if_it_had_never_stopped(tmp_path, monkeypatch, method, epochs):
    experiment = digits(method, **SETTINGS)
    Run(experiment, tmp_path / "whole").train(verbose=0)
    for epoch in epochs:
        folder = tmp_path / str(epoch)
        stop(experiment, folder, monkeypatch, epoch)
        Run(experiment, folder).train(verbose=0)
        assert_same_end(tmp_path / "whole", folder)
    rows = history(tmp_path / "whole")
    assert len(rows) == EPOCHS * (2 if method == "forward" else 1)
    rates = [float(row["learning_rate"]) for row in rows]
    # As an epoch ends, the rate is that of the next step.
    if method == "forward":  # in both trainings
        np.testing.assert_allclose(rates, 2 * [0.02, 0.002, 0.002], rtol=1e-6)
    else:  # beta is 0, 2, 2
        np.testing.assert_allclose(rates[1:], [0.002 / 3, 0.002 / 3], rtol=1e-6)


def test_what_is_best_is_of_the_training_for_the_result(tmp_path):
    experiment = digits("forward", epochs=1, schedule="constant")
    result = Run(experiment, tmp_path).train(verbose=0)
    assert len(history(tmp_path)) == 2
    assert result["best_epoch"] == 2


def test_a_run_before_the_run_stopped_in_either(tmp_path, monkeypatch):
    settings = methods.record("cores_star").settings(sieve_epochs=5)
    experiment = replace(digits("cores_star", **SETTINGS), method=settings)
    whole = tmp_path / "whole"
    result = Run(experiment, whole).train(verbose=0)
    # The seconds are those of both.
    before = Run(
        replace(experiment, **settings.first_run()), whole / "first_run"
    ).result
    assert (
        result["seconds"]
        >= before["seconds"]
        + sum(float(row["seconds"]) for row in history(whole))
        - 0.1
    )
    assert len(history(whole / "first_run")) == 5
    first = keras.saving.load_model(whole / "first_run" / "model.keras")
    model = keras.saving.load_model(whole / "model.keras")
    ids = methods.CORES2.dropped_ids(first)
    assert len(ids) > 0
    np.testing.assert_array_equal(model.method.dropped_ids, ids)
    for stopped, epoch in (("first_run", 4), ("run", 1)):
        folder = tmp_path / stopped
        if stopped == "run":  # the one before has been finished
            shutil.copytree(whole / "first_run", folder / "first_run")
        stop(experiment, folder, monkeypatch, epoch)
        assert not (folder / "result.json").exists()
        is_first_done = (folder / "first_run" / "result.json").exists()
        assert is_first_done == (stopped == "run")
        Run(experiment, folder).train(verbose=0)
        assert_same_end(whole, folder)
        assert_same_end(whole / "first_run", folder / "first_run")
    # Begun with other settings before: refused.
    other = replace(experiment, method=replace(settings, sieve_epochs=6))
    with pytest.raises(ValueError, match="sieve_epochs"):
        Run(other, whole).train(verbose=0)
