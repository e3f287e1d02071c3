from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from sop_keras import NoisyLabelModel, SOPModel, methods
from sop_keras.data.datasets.dataset import Examples
from sop_keras.training.summary import cross_entropy, summarize


@pytest.fixture
def data():
    # Three 1x3 "images" whose pixels are the logits; mean 0 and std 1/255 leave them.
    images = np.array([[9, 0, 0], [0, 9, 0], [0, 9, 0]], np.uint8)[:, None, None, :]
    dataset = SimpleNamespace(mean=(0.0,) * 3, std=(1 / 255,) * 3, num_classes=3)
    return SimpleNamespace(
        dataset=dataset,
        train=Examples(
            np.array([4, 2, 0]), images, np.array([0, 1, 2]), np.array([0, 1, 1])
        ),
        validation=[],
        tests={"test": [None] * 7, "ilsvrc12": [None] * 5},
    )


def network():
    return keras.Sequential([keras.Input((1, 1, 3)), keras.layers.Reshape((3,))])


def cross_entropy_model():
    return NoisyLabelModel(network(), 5, 3, method=methods.CrossEntropy())


def test_figures_of_sop_by_hand(data):
    model = SOPModel(network(), num_examples=5, num_classes=3, init_std=0.0)
    u, v = np.zeros((5, 1), "float32"), np.zeros((5, 3), "float32")
    u[0], v[2, 0] = 0.5, 0.3
    model.noise_table.u.assign(u)
    model.noise_table.v.assign(v)
    record = np.zeros((5, 3))
    record[:, 2] = [2, 0, 1, 0, 0]  # the labels
    model.training_record.table.assign(record)
    history = [{"epoch": 1, "test_accuracy": 1.0, "ilsvrc12_accuracy": 1.0}]
    figures, issues = summarize(model, data, history, "log10 ||s||_1")
    assert figures["noise_score"] == "log10 ||s||_1"
    # ||s||_1: id 4 has none, id 2 has v^2 = 0.09 off its label 1, id 0 has u^2 = 0.25
    # and the one wrong label, which p_y = 1 / (e^9 + 2) makes an issue as well.
    np.testing.assert_allclose(
        10 ** issues["noise_score"], [0.0, 0.09, 0.25], rtol=1e-6, atol=1e-200
    )
    assert issues["id"].tolist() == [4, 2, 0]
    assert figures["num_label_issues"] == 1
    assert figures["noise_auroc"] == 1.0
    assert set(figures["detection"].values()) == {1.0}
    # What was in no batch does not count; here it was the wrong one.
    record[0] = -1
    model.training_record.table.assign(record)
    figures, _ = summarize(model, data, history, "log10 ||s||_1")
    assert figures["noise_auroc"] is figures["detection"]["auroc"] is None


def test_cross_entropy_by_hand():
    # Logits are log probabilities plus 7; the losses are -log of the labels' own.
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]) + 7
    losses = cross_entropy(logits, np.array([0, 1, 2]))
    np.testing.assert_allclose(losses, -np.log([0.5, 0.8, 0.6]))


def test_summary_by_hand(data):
    history = [
        {"epoch": 1, "test_accuracy": 0.6, "val_accuracy": 0.4},
        {"epoch": 2, "test_accuracy": 0.9, "val_accuracy": 0.5},
        {"epoch": 3, "test_accuracy": 0.7, "val_accuracy": 0.3},
    ]
    for row, accuracy in zip(history, (0.2, 0.3, 0.5), strict=True):
        row["ilsvrc12_accuracy"] = accuracy
    figures, issues = summarize(cross_entropy_model(), data, history, "cross entropy")
    assert issues is None
    # Predictions 0, 1, 1: right for 2 of 3 given labels, for all 3 clean ones. The loss
    # of the third, the only wrong label, is the highest: AUROC 1.
    assert figures["final_test_accuracy"] == 0.7
    assert (figures["best_test_accuracy"], figures["best_epoch"]) == (0.9, 2)
    assert figures["final_validation_accuracy"] == 0.3
    assert figures["train_accuracy_given_labels"] == pytest.approx(2 / 3)
    assert figures["train_accuracy_clean_labels"] == 1.0
    assert figures["noise_rate"] == pytest.approx(1 / 3)
    assert figures["noise_auroc"] == 1.0
    assert (figures["num_train"], figures["num_test"]) == (3, 7)
    assert figures["final_ilsvrc12_accuracy"] == 0.5
    assert figures["num_ilsvrc12"] == 5


def test_what_needs_clean_labels_or_tests_is_not_made_up(data):
    data.train = replace(data.train, clean_labels=None)
    data.tests = {}
    model = cross_entropy_model()
    figures, _ = summarize(model, data, [{"epoch": 1}], "cross entropy")
    assert figures["train_accuracy_given_labels"] == pytest.approx(2 / 3)
    for name in ("noise_rate", "noise_auroc", "train_accuracy_clean_labels"):
        assert figures[name] is None
    assert not any("test" in name for name in figures)
