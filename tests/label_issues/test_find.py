import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import SOPModel, with_index
from sop_keras.core.lookup import UniqueIds
from sop_keras.label_issues.find import COLUMNS

PIXELS = np.array([[2, 1, 0], [0, 1, 2], [1, 3, 0], [0, 0, 0]], np.float32)
LABELS = np.array([0, 0, 1, 2])


# Predicted class, probability, and the label: that of LABELS.
RECORD = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 2]], np.float32)


def make_model(trained=True, num_examples=4, **kwargs):
    """Logits are the inputs; u and v are as set."""
    backbone = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    model = SOPModel(backbone, num_examples, 3, init_std=0.0, **kwargs)
    u, v = (
        np.zeros((num_examples, 1), "float32"),
        np.zeros((num_examples, 3), "float32"),
    )
    u[1], v[1, 2] = 0.9, 0.3
    model.noise_table.u.assign(u)
    model.noise_table.v.assign(v)
    if trained:
        model.training_record.table.assign(RECORD)
    return model


def expected_quality():
    """By the formula, in float64: the second example alone has noise, 0.81 + 0.09."""
    probs = np.exp(PIXELS.astype(float))
    own = (probs / probs.sum(axis=1, keepdims=True))[np.arange(4), LABELS]
    return own / (own + np.sqrt([0, 0.9, 0, 0]) * (1 - own))


def test_table_of_arrays():
    issues = make_model().label_issues(PIXELS, LABELS)
    assert tuple(issues.columns) == COLUMNS
    assert issues["id"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(issues["label_quality"], expected_quality(), rtol=1e-6)
    assert issues["is_label_issue"].tolist() == [False, True, False, False]
    assert issues["suggested_label"][1] == 2
    assert issues["given_label"].tolist() == LABELS.tolist()


def test_probabilities_and_one_hot_labels():
    probs = np.array([[0.25, 0.5, 0.25]], np.float32)
    backbone = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    model = SOPModel(backbone, 1, 3, from_logits=False, init_std=0.0)
    model.training_record.table.assign([[0.0, 0.0, 0.0]])
    model.noise_table.u.assign([[0.5]])
    issues = model.label_issues(probs, np.eye(3)[[0]])
    # 0.25 / (0.25 + 0.5 * 0.75)
    assert issues["label_quality"][0] == pytest.approx(0.4, rel=1e-6)


def test_columns_by_hand():
    # s is (0.4, -0.01, -0.09) and (-0.1, 0, 0.1); what comes of it: test_sop_scores.py.
    probs = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], np.float32)
    backbone = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    model = SOPModel(backbone, 2, 3, init_std=0.0)
    model.training_record.table.assign([[0.0, 0.5, 0.0], [2.0, 0.8, 2.0]])
    model.noise_table.u.assign(np.sqrt([[0.4], [0.1]]))
    model.noise_table.v.assign(np.sqrt([[0.0, 0.01, 0.09], [0.1, 0.0, 0.0]]))
    issues = model.label_issues(np.log(probs), np.array([0, 2]))
    assert issues["given_label"].tolist() == [0, 2]
    assert issues["suggested_label"].tolist() == [2, 0]
    np.testing.assert_allclose(issues["given_label_prob"], [0.5, 0.8], rtol=1e-6)
    np.testing.assert_allclose(issues["suggested_label_prob"], [0.2, 0.1], rtol=1e-6)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, place):
        part = slice(2 * place, 2 * place + 2)
        return PIXELS[part], {"label": LABELS[part], "index": np.arange(4)[part]}


def generator():
    yield from (Batches()[place] for place in range(2))


def test_all_kinds_of_data_give_the_same():
    model = make_model()
    expected = model.label_issues(PIXELS, LABELS)
    arrays = with_index(tf.data.Dataset.from_tensor_slices((PIXELS, LABELS)))
    for data in (arrays.batch(3), Batches(), generator(), lambda _: arrays.batch(3)):
        assert model.label_issues(data).equals(expected)
    y = {"label": LABELS, "index": np.arange(4)}
    assert model.label_issues(PIXELS, y, batch_size=1).equals(expected)


def test_scored_in_pieces(monkeypatch):
    model = make_model()
    expected = model.label_issues(PIXELS, LABELS)
    monkeypatch.setattr("sop_keras.label_issues.find._ENTRIES_AT_ONCE", 6)
    assert model.label_issues(PIXELS, LABELS, batch_size=1).equals(expected)


def test_order_of_the_data_is_kept():
    order = np.array([2, 0, 3])
    y = {"label": LABELS[order], "index": order}
    issues = make_model().label_issues(PIXELS[order], y)
    assert issues["id"].tolist() == [2, 0, 3]
    np.testing.assert_allclose(
        issues["label_quality"], expected_quality()[order], rtol=1e-6
    )


def test_examples_never_trained_on_are_not_known(caplog):
    model = make_model()
    record = RECORD.copy()
    record[1] = -1
    model.training_record.table.assign(record)
    issues = model.label_issues(PIXELS, LABELS, num_issues=4)
    assert np.isnan(issues["label_quality"]).tolist() == [False, True, False, False]
    assert np.isnan(issues["noise_score"]).tolist() == [False, True, False, False]
    assert issues["is_label_issue"].tolist() == [True, False, True, True]
    assert "1 of 4 examples have never been in a training batch" in caplog.text


@pytest.mark.parametrize(
    "weights",
    [{"sample_weight": np.array([1, 0.5, 0, 1])}, {"class_weight": {1: 0.0}}],
)
def test_examples_of_weight_0_are_not_known(weights, caplog):
    model = make_model(trained=False)
    model.compile("sgd")
    # Label 1 is that of the third example alone.
    model.fit(PIXELS, LABELS, verbose=0, **weights)
    issues = model.label_issues(PIXELS, LABELS, num_issues=4)
    unknown = [False, False, True, False]
    assert np.isnan(issues["label_quality"]).tolist() == unknown
    assert np.isnan(issues["noise_score"]).tolist() == unknown
    assert (~issues["is_label_issue"]).tolist() == unknown
    assert "1 of 4 examples have never been in a training batch, or with" in caplog.text
    assert "3 labels are marked as issues, not 4" in caplog.text


def test_labels_that_were_not_trained_on():
    with pytest.raises(ValueError, match=r"2 of 4 examples.*index 2, whose label is 2"):
        make_model().label_issues(PIXELS, LABELS[[0, 1, 3, 2]])


def test_a_training_too_short_to_tell_says_so(caplog):
    model = make_model()
    model.label_issues(PIXELS, LABELS)
    assert not caplog.records
    model.noise_table.u.assign(np.full((4, 1), 1e-8))
    model.noise_table.v.assign(np.zeros((4, 3)))
    model.label_issues(PIXELS, LABELS)
    assert "hardly grown: the largest ||s||_1 is 1e-16" in caplog.text


def test_sop_plus_takes_one_view():
    model = make_model(consistency_weight=0.9)
    quality = model.label_issues(PIXELS, LABELS)["label_quality"]
    np.testing.assert_allclose(quality, expected_quality(), rtol=1e-6)


def test_before_training():
    with pytest.raises(ValueError, match=r"has not been trained.*Call fit\(\) first"):
        make_model(trained=False).label_issues(PIXELS, LABELS)


def test_after_training_and_after_a_reload(tmp_path):
    model = make_model(trained=False)
    model.compile(keras.optimizers.SGD(0.0), u_optimizer=0.0, v_optimizer=0.0)
    model.fit(PIXELS, LABELS, verbose=0)
    issues = model.label_issues(PIXELS, LABELS)
    np.testing.assert_allclose(issues["label_quality"], expected_quality(), rtol=1e-6)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert again.label_issues(PIXELS, LABELS).equals(issues)


@pytest.mark.parametrize(("x", "y", "message"), [
    (PIXELS[:3], LABELS[:3], "3 examples without ids.*num_examples=4.*their ids"),
    (PIXELS, {"label": LABELS, "index": [0, 1, 2, 4]}, r"Index 4 is outside \[0, 4\)"),
    (PIXELS, {"label": LABELS, "index": [0, 1, 2, 2]}, "index 2 came 2 times"),
    (PIXELS, {"label": LABELS[:3], "index": [0, 1, 2]}, "as many inputs"),
    (PIXELS, LABELS[:3], "Received the lengths"),
    (PIXELS, LABELS + 1, r"Label 3 is not in \[0, 3\)"),
    (PIXELS, None, "`y` is missing"),
    (np.where(PIXELS == 3, np.nan, PIXELS), LABELS, "NaN or infinite"),
])  # fmt: skip
def test_bad_data(x, y, message):
    if isinstance(y, dict):
        y = {name: np.array(value) for name, value in y.items()}
    with pytest.raises(ValueError, match=message):
        make_model().label_issues(x, y)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "2"])
def test_bad_batch_sizes(batch_size):
    text = f"`batch_size` must be an integer .* Received: batch_size={batch_size!r}"
    with pytest.raises(ValueError, match=text):
        make_model().label_issues(PIXELS, LABELS, batch_size=batch_size)


def test_ids_come_once_whether_in_one_batch_or_in_two():
    ids = UniqueIds(4)
    ids.add(np.array([3, 0]))
    with pytest.raises(ValueError, match="index 3 came 2 times"):
        ids.add(np.array([2, 3]))
    with pytest.raises(ValueError, match="index 1 came 3 times"):
        ids.add(np.array([1, 1, 1]))
    with pytest.raises(ValueError, match=r"Index 4 is outside \[0, 4\)"):
        ids.add(np.array([4]))
    ids.add(np.array([1, 2]))  # what was refused has not come


def test_bad_streams():
    model = make_model()
    plain = tf.data.Dataset.from_tensor_slices((PIXELS, LABELS))
    cases = {
        "need the index of every example": plain.batch(2),
        "leave repeat": with_index(plain).batch(2).repeat(),
        "came 2 times": with_index(plain).batch(2).repeat(2),
        "come example by example": with_index(plain),
    }
    for message, data in cases.items():
        with pytest.raises(ValueError, match=message):
            model.label_issues(data)


def test_a_stream_without_an_end_that_does_not_say_so():
    def endless():
        while True:
            yield from generator()

    with pytest.raises(ValueError, match="index 0 came 2 times"):
        make_model().label_issues(endless())
