"""CORES*: the authors' phase 2 through `fit`, limits, and the ids of phase 1."""

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf
from trajectory import Offset

from sop_keras import NoisyLabelModel, methods

FILE = golden.arrays("cores_phase2_k10")
KEPT, DROPPED, K = 16, 8, 10
N = KEPT + DROPPED
RATIO = float(FILE["ratio_unsup"])


def trained(dropped=range(KEPT, N), weights=None, **arguments):
    """Losses and gradients, (T, 32, K), of the file's batches; the model.

    A batch is 16 labelled examples and 8 pairs; the network sees the strong views, then
    the weak ones of what is dropped.
    """
    method = methods.CORESStar(dropped_ids=dropped, **arguments)
    rows = N + len(method.dropped_ids)
    model = NoisyLabelModel(Offset((rows, K)), N, K, method=method)
    model.compile(keras.optimizers.SGD(1.0))
    losses, gradients = [], []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            offset = model.backbone.offset
            losses.append(dict(logs))
            gradients.append(-offset.numpy())
            offset.assign(np.zeros(offset.shape))
            model.reset_metrics()

    strong = np.concatenate([FILE["logits_sup"], FILE["logits_strong"]], axis=1)
    # Weak views of what is kept are not looked at, nor labels of what is dropped.
    others = np.full_like(FILE["logits_sup"], 99.0)
    weak = np.concatenate([others, FILE["logits_weak"]], axis=1)
    for step, labels in enumerate(FILE["y_sup"]):
        given = np.concatenate([labels, np.full(DROPPED, step % K)])
        targets = {"label": given, "index": np.arange(N)}
        element = ((weak[step], strong[step]), targets)
        if weights is not None:
            element = (*element, np.float32(weights))
        batches = tf.data.Dataset.from_tensors(element)
        # Labels are others in each of the file's steps.
        options = {"changed_labels": "keep", "callbacks": [Watch()], "verbose": 0}
        model.fit(batches, **options)
    return losses, np.stack(gradients), model


def test_the_authors_trajectory():
    losses, gradients, model = trained(consistency_weight=RATIO)
    found = {
        "loss": np.array([one["loss"] for one in losses]),
        "sup_loss": np.array([one["ce_loss"] for one in losses]),
        "grad_logits_sup": gradients[:, :KEPT],
        "grad_logits_strong": gradients[:, KEPT:N],
    }
    for name, values in found.items():
        assert golden.error(values, FILE[name]) < 1e-5, name
    assert not gradients[:, N:].any()
    assert not FILE["grad_logits_weak"].any()
    assert model.tables.dropped.numpy()[:, 0].tolist() == KEPT * [0] + DROPPED * [1]


def test_without_the_ratio_it_is_cross_entropy_of_what_is_kept():
    losses, gradients, _ = trained(consistency_weight=0.0)
    expected = FILE["sup_loss"]
    assert golden.error(np.array([one["loss"] for one in losses]), expected) < 1e-6
    assert golden.error(gradients[:, :KEPT], FILE["grad_logits_sup"]) < 1e-5
    assert not gradients[:, KEPT:].any()


def test_equal_views_cost_nothing():
    method = methods.CORESStar(dropped_ids=[1], consistency_weight=2.0)
    model = NoisyLabelModel(Offset((3, 2)), 2, 2, method=method)
    model.compile(keras.optimizers.SGD(1.0))
    x = np.array([[1.0, -1.0], [0.3, 2.0]], np.float32)
    history = model.fit((x, x), np.array([0, 0]), batch_size=2, verbose=0).history
    assert history["consistency_loss"] == [0.0]
    np.testing.assert_allclose(history["loss"], np.log1p(np.exp(-2.0)), rtol=1e-6)


@pytest.mark.parametrize("dropped", [range(N), ()])
def test_where_one_kind_is_missing_its_part_is_0(dropped):
    losses, gradients, _ = trained(dropped=dropped)
    part = "ce_loss" if dropped else "consistency_loss"
    assert {one[part] for one in losses} == {0.0}
    assert np.isfinite([one["loss"] for one in losses]).all()
    assert np.isfinite(gradients).all()


def test_its_steps_are_not_compiled():
    model = NoisyLabelModel(Offset((2, 2)), 4, 2, method=methods.CORESStar())
    model.compile("sgd")
    assert model.jit_compile is False
    with pytest.raises(ValueError, match=r"differs from batch to batch\. Leave"):
        model.compile("sgd", jit_compile=True)


def test_weights_leave_the_divisors():
    weights = np.arange(N) / N
    found, _, _ = trained(weights=weights, consistency_weight=1.0)
    plain = FILE["logits_sup"] - np.log(
        np.exp(FILE["logits_sup"]).sum(-1, keepdims=True)
    )
    losses = -np.take_along_axis(plain, FILE["y_sup"][..., None], -1)[..., 0]
    expected = (losses * weights[:KEPT]).mean(axis=1)
    assert golden.error(np.array([one["ce_loss"] for one in found]), expected) < 1e-5


def test_the_ids_come_from_phase_1_and_stay_in_the_file(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    y = rng.integers(0, 4, 40)

    def network():
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])

    first = NoisyLabelModel(network(), 40, 4, method=methods.CORES2())
    first.compile(keras.optimizers.SGD(0.5))
    first.fit(x, y, batch_size=8, epochs=5, verbose=0)
    ids = methods.CORES2.dropped_ids(first)
    assert 0 < len(ids) < 40
    method = methods.CORESStar(dropped_ids=ids)
    model = NoisyLabelModel(network(), 40, 4, method=method)
    model.compile(keras.optimizers.SGD(0.5))
    model.fit((x, x + 0.1), y, batch_size=8, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.method == method
    np.testing.assert_array_equal(np.flatnonzero(loaded.tables.dropped.numpy()), ids)
    # What starts anew under another label is kept.
    loaded.reset_examples(ids[:1])
    assert loaded.tables.dropped.numpy()[ids[0]] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dropped_ids": [1, 1]}, "must be different ids. Received 2, of which 1 are"),
        ({"dropped_ids": [-1]}, "`dropped_ids` must be an integer of at least 0"),
        ({"dropped_ids": [0.5]}, "`dropped_ids` must be an integer of at least 0"),
        ({"consistency_weight": -1}, "`consistency_weight` must be a finite number"),
        ({"dropped_ids": [4]}, r"ids 0 to 3 .*, for 'dropped', ids from 4 to 4: are"),
    ],
)
def test_what_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        NoisyLabelModel(Offset((2, 2)), 4, 2, method=methods.CORESStar(**arguments))
