import csv
import math

import keras
import numpy as np
import pytest
from runs import OFTEN, history
from settings import digits

from sop_keras.data.batches.pipelines import training_batches
from sop_keras.training import inputs, network, run
from sop_keras.training.checkpoint import Checkpoints
from sop_keras.training.execution import Execution
from sop_keras.training.experiment_data import load_data
from sop_keras.training.recorder import Recorder
from sop_keras.training.run import Run
from sop_keras.training.terminate_on_nan import DivergenceError


@pytest.fixture(scope="module")
def data():
    return load_data(digits())


@pytest.fixture(scope="module")
def batches(data):
    """The ids of the 5 batches of epoch 2, and the labels, as training meets them."""
    dataset = training_batches(
        data.train,
        data.dataset,
        batch_size=64,
        epochs=2,
        initial_epoch=1,
        seed=0,
        augment="none",
    )
    return [
        (targets["index"].tolist(), targets["label"].tolist())
        for _, targets in dataset.as_numpy_iterator()
    ]


def spoil(monkeypatch, identity):
    """From epoch 2 on, an image is NaN, and so is what the network makes of it.

    ReLU alone may well make 0 of NaN.
    """

    def with_nan(images, targets):
        is_bad = (targets["index"] == identity)[:, None, None, None]
        return keras.ops.where(is_bad, math.nan, images), targets

    def batches(*args, **kwargs):
        dataset = training_batches(*args, **kwargs)
        num_before = 5 * (1 - kwargs["initial_epoch"])
        bad = dataset.skip(num_before).map(with_nan)
        return dataset.take(num_before).concatenate(bad)

    def passing_nan_on(*args):
        backbone = network.make_backbone(*args)
        zeros = 0.0 * keras.ops.sum(backbone.input, axis=(1, 2, 3))
        return keras.Model(backbone.input, backbone.output + zeros[:, None])

    monkeypatch.setattr(inputs, "training_batches", batches)
    monkeypatch.setattr(run, "make_backbone", passing_nan_on)


def diverge_in(monkeypatch, step):
    """The loss of a step of the first epoch, from 0, is NaN."""
    original = Recorder.on_train_batch_end

    def on_train_batch_end(self, index, logs=None):
        original(self, index, {"loss": math.nan} if index == step else logs)

    monkeypatch.setattr(Recorder, "on_train_batch_end", on_train_batch_end)


def listed(folder):
    with (folder / "non_finite_batch.csv").open() as file:
        return [tuple(map(int, row.values())) for row in csv.DictReader(file)]


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_the_batch_whose_loss_is_not_finite_is_named(tmp_path, monkeypatch, batches):
    ids, labels = batches[3]
    spoil(monkeypatch, ids[7])
    first = ", ".join(map(str, ids[:10]))
    with pytest.raises(
        DivergenceError,
        match=rf"loss is nan in epoch 2 after step 4, on the examples {first}, \.\.\. "
        r"\(all of them: .*non_finite_batch\.csv\).*epoch-00001-step-000003, before it",
    ):
        Run(digits(), tmp_path, execution=OFTEN).train(verbose=0)
    assert listed(tmp_path) == [
        (2, 4, identity, label) for identity, label in zip(ids, labels, strict=True)
    ]
    assert checkpoints(tmp_path)[-1] == "epoch-00001-step-000003"
    assert len(history(tmp_path)) == 1


def test_it_is_one_of_the_batches_of_an_execution(tmp_path, monkeypatch, batches):
    ids, labels = (batches[2][part] + batches[3][part] for part in (0, 1))
    spoil(monkeypatch, ids[7])
    with pytest.raises(DivergenceError, match="one of the steps 3 to 4, on"):
        Run(
            digits(),
            tmp_path,
            execution=Execution(steps_per_execution=2, checkpoint_minutes=0),
        ).train(verbose=0)
    steps = [3] * 64 + [4] * 64
    assert listed(tmp_path) == [
        (2, *row) for row in zip(steps, ids, labels, strict=True)
    ]
    assert checkpoints(tmp_path) == ["epoch-00001-step-000000"]


def test_weights_that_a_step_has_spoilt_are_no_checkpoint(
    tmp_path, monkeypatch, batches
):
    """The loss of a step is that before its update."""
    original = Recorder.on_train_batch_end

    def infinite_update(self, index, logs=None):
        if (self.progress.epoch, index) == (1, 4):
            kernel = self.model.backbone.weights[0]
            kernel.assign(np.full(kernel.shape, np.inf))
        original(self, index, logs)

    monkeypatch.setattr(Recorder, "on_train_batch_end", infinite_update)
    with pytest.raises(DivergenceError, match="kernel is not finite in epoch 2 after"):
        Run(digits(), tmp_path).train(verbose=0)
    assert [identity for *_, identity, _ in listed(tmp_path)] == batches[4][0]
    assert checkpoints(tmp_path) == ["epoch-00001-step-000000"]
    # What is kept is good.
    kept = Checkpoints(tmp_path / "checkpoints")
    assert kept.newest == "epoch-00001-step-000000"


@pytest.mark.parametrize(
    ("method", "step", "size"),
    # N = 300, B = 64: five batches each, the last of 300 - 4 * 64 = 44. Where
    # a batch of the warm-up has 2B, three: step 3, from 0, is the second one's first.
    [("elr_plus", 9, 44), ("dividemix", 3, 128)],
)
def test_batches_of_networks_that_learn_in_turn_are_those_that_they_had(
    tmp_path, monkeypatch, method, step, size
):
    original, had = inputs.RunSource.batches, []

    def batches(self, planned):
        dataset = original(self, planned)
        # Those of the epoch; earlier ones, of an example, build the networks.
        had[:] = [batch["index"].tolist() for _, batch in dataset.as_numpy_iterator()]
        return dataset

    monkeypatch.setattr(inputs.RunSource, "batches", batches)
    diverge_in(monkeypatch, step)
    with pytest.raises(DivergenceError, match=rf"in epoch 1 after step {step + 1}, on"):
        Run(digits(method), tmp_path).train(verbose=0)
    assert len(had[step]) == size
    assert [row[:3] for row in listed(tmp_path)] == [
        (1, step + 1, identity) for identity in had[step]
    ]


def test_where_the_file_cannot_be_written_the_divergence_is_said(tmp_path, monkeypatch):
    (tmp_path / "non_finite_batch.csv").mkdir(parents=True)
    diverge_in(monkeypatch, 0)
    with pytest.raises(
        DivergenceError, match=r"all of them could not be written: .*\): "
    ):
        Run(digits("ce"), tmp_path).train(verbose=0)
