"""The golden trajectories through `SOPModel.fit`, one fit over the thirty batches."""

import functools
from dataclasses import replace

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import SOPModel
from sop_keras.core import example_tables
from sop_keras.core import model as model_module

BOUND = 1e-5
FILES = golden.names("paper_*", "ref_sop_*", "ref_bal_*", "ref_cons*")


class Offset(keras.Model):
    """The given logits plus a weight that starts at 0.

    After a step of SGD with a rate of 1 it is minus the gradient of the logits.
    """

    def __init__(self, views):
        super().__init__()
        # Two views are one batch, the weak one first.
        self.offset = self.add_weight(shape=(16 * views, 10), initializer="zeros")

    def call(self, inputs):
        return inputs + self.offset


class Recorder(keras.callbacks.Callback):
    """The tables, the offset and the metrics of every single call of the step."""

    def __init__(self, model):
        super().__init__()
        self.u, self.v = [], []
        self.offsets, self.logs = [], []
        self.add_rows(model)

    def add_rows(self, model):
        rows = model.noise_table.rows(np.arange(64))
        self.u.append(rows["u"].numpy())
        self.v.append(rows["v"].numpy())

    def on_train_batch_end(self, batch, logs=None):
        self.add_rows(self.model)
        self.logs.append(logs)
        self.model.reset_metrics()
        for weight in self.model.trainable_weights:
            self.offsets.append(weight.numpy())
            weight.assign(np.zeros_like(weight))


def write_dense(model, file):
    model.noise_table.u.assign(file.u[0])
    model.noise_table.v.assign(file.v[0])


def compiled(file, backbone, model_arguments=None, **compile_arguments):
    model = SOPModel(
        backbone,
        64,
        10,
        variant=file.variant,
        consistency_weight=file.consistency_weight,
        balance_weight=file.balance_weight,
        **(model_arguments or {}),
    )
    model.compile(
        optimizer=keras.optimizers.SGD(1.0),
        u_optimizer=keras.optimizers.SGD(float(file["lr_u"])),
        v_optimizer=keras.optimizers.SGD(float(file["lr_v"])),
        **compile_arguments,
    )
    return model


def fit(file, model, write=write_dense):
    write(model, file)
    targets = {"label": file["y"][file["idx"]], "index": file["idx"]}
    x = file.views if file.consistency_weight else file["logits"]
    batches = tf.data.Dataset.from_tensor_slices((x, targets))
    recorder = Recorder(model)
    model.fit(batches, callbacks=[recorder], verbose=0)
    return recorder


def identity():
    return keras.Sequential([keras.Input((10,)), keras.layers.Identity()])


@pytest.fixture(scope="module")
def model_of():
    """The model of a file: of those that differ in their data alone, the same one."""

    @functools.cache
    def made(kind, jit_compile):
        file = golden.load(f"{kind}_mixed")
        return compiled(file, Offset(len(file.views)), jit_compile=jit_compile)

    return made


# Compilation is slow, and these files meet every branch: two views, with every loss.
COMPILED = ["paper_sopplus_batch_k10_mixed", "ref_consbal_k10_mixed"]


@pytest.mark.parametrize(
    ("name", "jit_compile"),
    [(name, False) for name in FILES] + [(name, True) for name in COMPILED],
)
def test_tables_losses_and_gradients_of_every_step(name, jit_compile, model_of):
    file = golden.load(name)
    recorder = fit(file, model_of(name.rpartition("_")[0], jit_compile))
    losses = {
        key: np.array([log[key] for log in recorder.logs]) for key in recorder.logs[0]
    }
    gradients = -np.stack(recorder.offsets)
    if file.variant == "paper":
        expected = {
            "loss": (losses["loss"], file["loss"]),
            "ce": (losses["ce_loss"], file["ce"].mean(axis=1)),
            "mse": (losses["mse_loss"], file["mse"].mean(axis=1)),
            "logits": (gradients, file["grad_logits_detached"]),
        }
        if file.consistency_weight:
            consistency = losses["consistency_loss"], file["cons"].mean(axis=1)
            expected["consistency"] = consistency
            expected["balance"] = losses["balance_loss"], file["bal"]
    else:  # their value counts L_MSE in
        expected = {
            "loss": (losses["loss"] + losses["mse_loss"], file["loss"]),
            "logits": (gradients, file["grad_logits"]),
        }
    expected["u"] = np.stack(recorder.u), file.u
    expected["v"] = np.stack(recorder.v), file.v
    errors = {key: golden.error(*pair) for key, pair in expected.items()}
    assert max(errors.values()) < BOUND, errors


# The step is that of the files above: one view alone, and two with every loss.
@pytest.mark.parametrize("name", ["paper_sop_batch_k10_p1", "ref_consbal_k10_mixed"])
def test_a_backbone_without_weights(name):
    file = golden.load(name)
    recorder = fit(file, compiled(file, identity()))
    assert golden.error(np.stack(recorder.u), file.u) < BOUND
    assert golden.error(np.stack(recorder.v), file.v) < BOUND


@pytest.mark.parametrize("jit_compile", [False, True])
def test_several_steps_in_one_execution(jit_compile):
    # 7 does not divide 30: the last execution is a shorter one.
    file = golden.load("paper_sop_batch_k10_p1")
    options = {"steps_per_execution": 7, "jit_compile": jit_compile}
    recorder = fit(file, compiled(file, identity(), **options))
    seen = [0, 7, 14, 21, 28, 30]
    assert golden.error(np.stack(recorder.u), file.u[seen]) < BOUND
    assert golden.error(np.stack(recorder.v), file.v[seen]) < BOUND


OF_SLOTS = {
    # Of these files, five wrong classes are predicted for one example, and fewer for
    # all others; unstored entries are the file's own, in place of draws.
    "tiny": (5, "draws"),
    # Entries that nothing predicts shrink by more than rounding: all are stored.
    "p1": (10, "slots"),
    "mixed": (10, "slots"),
}


@pytest.mark.parametrize("start", OF_SLOTS)
@pytest.mark.parametrize("kind", ["paper_sopplus_batch", "ref_consbal"])
def test_rows_of_slots(kind, start, monkeypatch):
    file = golden.load(f"{kind}_k10_{start}")
    slots, first_values = OF_SLOTS[start]

    def stored_all_the_same(tables, kind, slots):
        # Although such slots take more than a row of 10 classes.
        return [replace(one, slots=slots if one.is_sparse else None) for one in tables]

    def draws_of_the_file(seed, use, ids, columns):
        assert use == "rows of v"
        return tf.gather(tf.constant(file.v[0], tf.float32), ids[:, 0])

    def write(model, file):
        table = model.noise_table
        table.u.assign(file.u[0])
        if first_values == "slots":
            columns = np.broadcast_to(np.arange(10), (64, 10))
            stored = [columns, file.v[0], np.full((64, 1), -1), np.zeros((64, 1))]
            table.v_slots.assign(np.concatenate(stored, axis=1))

    monkeypatch.setattr(model_module, "stored", stored_all_the_same)
    if first_values == "draws":
        monkeypatch.setattr(example_tables, "normal_tensor", draws_of_the_file)
    # Draws of N(0, 1) are the file's values themselves.
    options = {"table": "compact", "table_slots": slots, "init_std": 1.0}
    recorder = fit(file, compiled(file, identity(), options), write)
    assert recorder.model.noise_table.v_slots.shape == (64, 2 * slots + 2)
    assert recorder.model.noise_table.num_evicted() == 0
    assert golden.error(np.stack(recorder.u), file.u) < BOUND
    assert golden.error(np.stack(recorder.v), file.v) < BOUND
