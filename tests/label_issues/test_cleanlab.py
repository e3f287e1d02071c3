import tracemalloc
import warnings
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from sop_keras import SOPModel, with_index
from sop_keras.data.datasets.digits import load_digits
from sop_keras.label_issues.cleanlab import cleanlab_inputs, datalab_issues
from sop_keras.label_noise.symmetric import symmetric

LOGITS = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]) + 7
LABELS = np.array([0, 2, 2])


def echo(activation="linear", num_examples=3):
    """A network whose outputs are its inputs, or their probabilities."""
    layers = [keras.Input((3,)), keras.layers.Activation(activation)]
    network = keras.Sequential(layers)
    from_logits = activation == "linear"
    return SOPModel(network, num_examples, num_classes=3, from_logits=from_logits)


@pytest.mark.parametrize("activation", ["linear", "softmax"])
def test_probabilities_by_hand(activation):
    labels, pred_probs = cleanlab_inputs(echo(activation), LOGITS, LABELS, batch_size=2)
    expected = [[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]
    np.testing.assert_allclose(pred_probs, expected, rtol=1e-5)
    assert (labels.dtype, pred_probs.dtype) == (np.int64, np.float32)
    assert labels.tolist() == [0, 2, 2]


def test_rows_sum_to_1_where_float32_would_not():
    logits = np.random.default_rng(0).normal(0, 20, (1000, 3))
    model = echo(num_examples=1000)
    _, pred_probs = cleanlab_inputs(model, logits, np.zeros(1000, int))
    np.testing.assert_allclose(pred_probs.sum(axis=1), 1, rtol=0, atol=2e-7)


def test_a_stream_of_one_hot_labels_in_its_own_order():
    dataset = tf.data.Dataset.from_tensor_slices((LOGITS, np.eye(3)[LABELS]))
    batches = with_index(dataset).shuffle(3, seed=1).batch(2)
    order = np.concatenate([y["index"] for _, y in batches.as_numpy_iterator()])
    batches = with_index(dataset).shuffle(3, seed=1).batch(2)
    labels, pred_probs, ids = cleanlab_inputs(echo(), batches)
    assert sorted(order) == [0, 1, 2]
    assert (ids.tolist(), ids.dtype) == (order.tolist(), np.int64)
    assert labels.tolist() == LABELS[order].tolist()
    expected = np.exp(LOGITS[order] - 7)
    np.testing.assert_allclose(pred_probs, expected, rtol=1e-5)


def test_a_part_of_the_examples_and_no_second_copy_of_them():
    model = echo(num_examples=1000)
    y = {"label": LABELS, "index": np.array([999, 5, 70])}
    labels, pred_probs = cleanlab_inputs(model, LOGITS, y, batch_size=2)
    assert labels.tolist() == LABELS.tolist()
    np.testing.assert_allclose(pred_probs, np.exp(LOGITS - 7), rtol=1e-5)

    size, num_classes = 2000, 1000
    network = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(num_classes, kernel_initializer="zeros"),
        ]
    )
    model = SOPModel(network, size, num_classes)
    x, y = np.zeros((size, 1), np.float32), np.zeros(size, int)
    cleanlab_inputs(model, x, y)  # builds what stays
    tracemalloc.start()
    try:
        cleanlab_inputs(model, x, y, batch_size=20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The result is 8 MB, and its float64 would be 16 MB.
    assert 8e6 < peak < 12e6


def test_data_that_are_refused():
    model = echo()
    with pytest.raises(ValueError, match=r"integer of at least 1.*batch_size=-1"):
        cleanlab_inputs(model, LOGITS, LABELS, batch_size=-1)
    with pytest.raises(ValueError, match="num_examples=3"):
        cleanlab_inputs(model, LOGITS[:2], LABELS[:2])
    twice = {"label": LABELS, "index": np.array([0, 1, 1])}
    with pytest.raises(ValueError, match="index 1 came 2 times"):
        cleanlab_inputs(model, LOGITS, twice)
    dataset = with_index(tf.data.Dataset.from_tensor_slices((LOGITS, LABELS)))

    def without_end():
        yield from dataset.batch(2).repeat().as_numpy_iterator()

    with pytest.raises(ValueError, match="must come once"):
        cleanlab_inputs(model, without_end())
    with pytest.raises(ValueError, match="gave no batch"):
        cleanlab_inputs(model, (batch for batch in ()))
    logits = LOGITS.copy()
    logits[1, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        cleanlab_inputs(model, logits, LABELS)


def issues_by_hand():
    return pd.DataFrame(
        {
            "id": [2, 0, 1],
            "given_label": [0, 1, 2],
            "suggested_label": [1, 2, 0],
            "label_quality": [0.1, 0.9, 0.4],
            "noise_score": [-1.0, -9.0, -2.0],
            "given_label_prob": [0.2, 0.9, 0.3],
            "suggested_label_prob": [0.7, 0.1, 0.6],
            "is_label_issue": [True, False, True],
        }
    )


def test_datalab_columns_by_hand():
    found = datalab_issues(issues_by_hand())
    assert found.to_dict("list") == {
        "is_label_issue": [True, False, True],
        "label_score": [0.1, 0.9, 0.4],
        "given_label": [0, 1, 2],
        "predicted_label": [1, 1, 0],  # the second one's label is right
    }


def test_cleanlab_itself_takes_the_arrays():
    pytest.importorskip("cleanlab", reason="the extra [cleanlab] is not installed")
    from cleanlab import filter as cleanlab_filter
    from cleanlab import rank

    digits = load_digits().train
    pixels = digits.images.reshape(-1, 64).astype("float32") / 255
    noisy = symmetric(digits.labels, rate=0.3, num_classes=10, seed=0)
    layers = [keras.Input((64,)), keras.layers.Dense(10)]
    keras.utils.set_random_seed(0)
    model = SOPModel(keras.Sequential(layers), len(pixels), 10, init_std=1e-4)
    model.compile(keras.optimizers.SGD(0.1), u_optimizer=10.0, v_optimizer=10.0)
    model.fit(pixels, noisy.labels, batch_size=64, epochs=5, verbose=0)

    labels, pred_probs = cleanlab_inputs(model, pixels, noisy.labels)
    np.testing.assert_array_equal(labels, noisy.labels)
    # Its self-confidence is the given label's probability: a column of our own table.
    issues = model.label_issues(pixels, noisy.labels)
    quality = rank.get_label_quality_scores(labels, pred_probs)
    np.testing.assert_allclose(quality, issues["given_label_prob"], rtol=1e-5)
    found = cleanlab_filter.find_label_issues(labels, pred_probs, n_jobs=1)
    # 91% of its choice are wrong; of rows in another order it would be 28%, as of all.
    assert noisy.is_wrong[found].mean() > 0.8
    assert noisy.is_wrong.mean() < 0.3


def test_datalab_has_these_columns():
    pytest.importorskip("cleanlab", reason="the extra [cleanlab] is not installed")
    from cleanlab.datalab.internal.data_issues import DataIssues
    from cleanlab.datalab.internal.issue_manager.label import LabelIssueManager

    # Datalab itself needs Hugging Face's datasets. This is the part that finds labels,
    # and the method that shows them.
    ours = issues_by_hand()
    labels = np.tile(ours["given_label"].to_numpy(), 20)
    pred_probs = np.tile([[0.2, 0.7, 0.1], [0.1, 0.9, 0.0], [0.6, 0.1, 0.3]], (20, 1))
    manager = LabelIssueManager(
        SimpleNamespace(
            labels=labels, get_info=lambda _: {}, _label_map={0: 0, 1: 1, 2: 2}
        )
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # cleanlab's use of pandas
        manager.find_issues(pred_probs=pred_probs)
    datalab = SimpleNamespace(
        issues=manager.issues, get_info=lambda issue_name: manager.info
    )
    theirs = DataIssues.get_issues(datalab, "label")
    found = datalab_issues(ours)
    assert list(found.columns) == list(theirs.columns)
    kinds = [dtype.kind for dtype in theirs.dtypes]
    assert [dtype.kind for dtype in found.dtypes] == kinds == ["b", "f", "i", "i"]
