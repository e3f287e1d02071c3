"""ELR: the authors' trajectory, the running average by hand, and limiting cases."""

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import NoisyLabelModel, methods
from sop_keras.methods.elr import score_targets


class Offset(keras.Model):
    """The given logits plus a weight: after a step of SGD(1), minus their gradient."""

    def __init__(self, shape):
        super().__init__()
        self.offset = self.add_weight(shape=shape, initializer="zeros")

    def call(self, inputs):
        return inputs + self.offset


class Watch(keras.callbacks.Callback):
    """What each step comes to; every step begins from the given logits again."""

    def __init__(self, ids):
        super().__init__()
        self.ids, self.losses, self.gradients, self.targets = ids, [], [], []

    def on_train_batch_end(self, batch, logs=None):
        offset = self.model.backbone.offset
        self.losses.append(logs["loss"])
        self.gradients.append(-offset.numpy())
        self.targets.append(self.model.tables.target.numpy()[self.ids[batch]])
        offset.assign(np.zeros(offset.shape))
        self.model.reset_metrics()


def trained(logits, ids, labels, jit_compile=False, **numbers):
    """After a step on each of some batches of the examples `ids`."""
    method, shape = methods.ELR(**numbers), logits.shape[1:]
    model = NoisyLabelModel(Offset(shape), ids.max() + 1, shape[-1], method=method)
    model.compile(keras.optimizers.SGD(1.0), jit_compile=jit_compile)
    targets = {"label": labels[ids], "index": ids}
    batches = tf.data.Dataset.from_tensor_slices((logits, targets))
    watch = Watch(ids)
    model.fit(batches, callbacks=[watch], verbose=0)
    return model, watch


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_authors_trajectory(jit_compile):
    file = golden.arrays("elr_k10")
    numbers = {"target_momentum": 0.7, "regularization_weight": 3.0}
    assert numbers == {
        "target_momentum": float(file["beta"]),
        "regularization_weight": float(file["lam"]),
    }
    model, watch = trained(
        file["logits"], file["idx"], file["y"], jit_compile, **numbers
    )
    found = {
        "loss": np.array(watch.losses),
        "grad_logits": np.stack(watch.gradients),
        "target_rows": np.stack(watch.targets),
        "target_final": model.tables.target.numpy(),
    }
    for name, values in found.items():
        assert golden.error(values, file[name]) < 1e-5, name


def test_without_the_regulariser_it_is_cross_entropy():
    file = golden.arrays("ref_ce_k10")
    logits, ids = file["logits"][:, :16], file["idx"]
    _, watch = trained(logits, ids, file["y"], regularization_weight=0.0)
    assert golden.error(np.array(watch.losses), file["loss_1view"]) < 1e-5
    assert golden.error(np.stack(watch.gradients), file["grad_logits_1view"]) < 1e-5


def test_targets_of_equal_predictions_and_of_equal_ids():
    # p = (0.6, 0.4) and (0.2, 0.8), three visits; example 2 is twice in each batch.
    probs = np.float32([[0.6, 0.4], [0.2, 0.8], [0.6, 0.4], [0.2, 0.8]])
    logits = np.tile(np.log(probs), (3, 1, 1))
    ids = np.tile([0, 1, 2, 2], (3, 1))
    model, _ = trained(logits, ids, np.array([0, 1, 0]), target_momentum=0.9)
    # From 0, t = (1 - 0.9^3) p after three visits; of example 2, of the mean of both.
    expected = (1 - 0.9**3) * np.array([[0.6, 0.4], [0.2, 0.8], [0.4, 0.6]])
    np.testing.assert_allclose(model.tables.target.numpy(), expected, rtol=1e-5)


def test_the_targets_tell_wrong_labels():
    targets = np.array([[0.1, 0.2, 0.6], [0.4, 0.1, 0.5]])
    found = score_targets(targets, np.array([1, 0]))
    np.testing.assert_array_equal(found["suggested_label"], [2, 2])
    # t_y / (t_y + t_j): 0.2 / 0.8, and 0.4 / 0.9; -log10 of 0.2 / 0.9, and of 0.4.
    np.testing.assert_allclose(found["label_quality"], [0.25, 4 / 9])
    np.testing.assert_allclose(found["noise_score"], [np.log10(4.5), np.log10(2.5)])


def test_an_example_of_no_visit_is_half_right():
    found = score_targets(np.zeros((1, 3)), np.array([1]))
    assert found["label_quality"] == 0.5
    assert np.isfinite(found["noise_score"]).all()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"target_momentum": 1.1}, r"`target_momentum` must be a number in \[0, 1\]"),
        ({"regularization_weight": -1.0}, "`regularization_weight` must be a finite"),
    ],
)
def test_numbers_out_of_range(numbers, message):
    with pytest.raises(ValueError, match=message):
        methods.ELR(**numbers)
