from types import SimpleNamespace

import keras
import numpy as np
import pytest

from sop_keras.auditing import feature_rows
from sop_keras.auditing.head import moments, train_head
from sop_keras.auditing.head_settings import HeadSettings, steps_of_epoch
from sop_keras.auditing.judgement import judge
from sop_keras.label_issues.detection import auroc


class Rows:
    def __init__(self, values):
        self.values = np.asarray(values, np.float32)
        self.num_features = self.values.shape[1]

    def __len__(self):
        return len(self.values)

    def take(self, positions):
        return self.values[positions]


def blobs(num_examples=600, rate=0.3):
    """Two clouds of features, 6 standard deviations apart; wrong labels; which are."""
    rng = np.random.default_rng(0)
    classes = rng.integers(2, size=num_examples)
    features = rng.normal(size=(num_examples, 8)) + 5
    features[:, 0] += 6 * classes
    is_wrong = rng.random(num_examples) < rate
    return Rows(features), np.where(is_wrong, 1 - classes, classes), is_wrong


@pytest.fixture(scope="module")
def trained():
    """A head, what it was trained with, and what was told of its progress."""
    rows, labels, is_wrong = blobs()
    trusted = np.flatnonzero(is_wrong)[:10]
    told = []
    head = train_head(
        rows, labels, 2, trusted=trusted, progress=lambda *one: told.append(one)
    )
    return SimpleNamespace(
        head=head,
        rows=rows,
        labels=labels,
        is_wrong=is_wrong,
        trusted=trusted,
        told=told,
    )


def blocks_of(rows, monkeypatch):
    """Features are looked at in blocks of so many rows."""
    monkeypatch.setattr(feature_rows, "_BLOCK_NUMBERS", rows * 3)
    return rows


def test_moments_are_numpys_whatever_the_mean(monkeypatch):
    # More than two blocks; a mean 10,000 times the standard deviation.
    rng = np.random.default_rng(0)
    count = 2 * blocks_of(1_000, monkeypatch) + 17
    values = rng.normal(size=(count, 3)) * [0.1, 1, 10] + [1_000, 10_000, 0]
    rows = Rows(values)
    mean, std = moments(rows)
    exact = rows.values.astype(np.float64)
    assert (mean.dtype, std.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(std, exact.std(axis=0), rtol=1e-6)


def test_a_constant_feature_is_left_as_it_is():
    values = np.full((5, 2), 7.0)
    values[:, 1] = [0, 1, 2, 3, 4]
    mean, std = moments(Rows(values))
    assert mean.tolist() == [7, 2]
    # The variance of 0 to 4 is (4 + 1 + 0 + 1 + 4) / 5 = 2.
    assert std.tolist() == [1, np.float32(np.sqrt(2))]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(bad, monkeypatch):
    block = blocks_of(1_000, monkeypatch)
    values = np.random.default_rng(0).normal(size=(block + 20, 3))
    values[[block + 3, block + 9], [0, 1]] = bad
    with pytest.raises(ValueError, match="first for the example at place 1003"):
        moments(Rows(values))


def test_features_that_are_all_alike_are_refused():
    with pytest.raises(ValueError, match="features of all 9 examples are alike"):
        train_head(Rows(np.full((9, 3), 2.5)), np.arange(9) % 3, 3)


@pytest.mark.parametrize(
    ("num_examples", "steps"),
    [
        (1, 1),
        (2, 1),  # one batch of both
        (20, 1),  # batches of 16 are not full
        (100, 6),  # 100 / 16
        (200, 16),  # 200 / 16 = 12, up to a multiple of 8
        (1_000, 64),  # 1,000 / 16 = 62
        (50_000, 104),  # 98 batches of 512
        (1_000_000, 1_960),  # 1,954 batches of 512
    ],
)
def test_steps_of_an_epoch(num_examples, steps):
    assert steps_of_epoch(num_examples) == steps


def test_l2_holds_few_examples_back_more_as_far_as_steps_are_stable():
    settings = HeadSettings()
    assert settings.l2_of(50_000, 1_280) == pytest.approx(0.8 * 1_280 / 50_000)
    # A tenth of (1 + 0.9) / 0.02; and where nothing moves, nothing is unstable.
    assert settings.l2_of(100, 20_000) == pytest.approx(9.5)
    assert HeadSettings(learning_rate=0.1).l2_of(100, 20_000) == pytest.approx(1.9)
    assert HeadSettings(learning_rate=0.0).l2_of(100, 20_000) == pytest.approx(160)
    assert HeadSettings(l2=160.0).l2_of(100, 20_000) == 160

    def growth(l2):
        """What v <- 0.9 v - 0.02 * 2 l2 w, w <- w + v make of (w, v), a step."""
        step = 0.02 * 2 * l2
        return abs(np.linalg.eigvals([[1 - step, 0.9], [-step, 0.9]])).max()

    # Both roots have the modulus sqrt(0.9) up to 0.02 * 2 l2 = (1 + sqrt(0.9))^2. One
    # is -1 at 0.02 * 2 l2 = 2 * 1.9, where 0.8 D / n is for D = 118.75 n.
    assert growth(9.5) == pytest.approx(0.9**0.5)
    assert growth(0.8 * 118.7) < 1 < growth(0.8 * 118.8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_examples", "num_features", "share"), [(30, 4_096, 1.0), (100, 20_000, 0.95)]
)
def test_a_head_of_many_features_and_few_examples_does_not_diverge(
    num_examples, num_features, share
):
    # Both have more than 118.75 features an example, a tenth of which tell the classes.
    rng = np.random.default_rng(0)
    labels = np.arange(num_examples) % 2
    features = rng.normal(size=(num_examples, num_features))
    features[:, : num_features // 10] += 6 * labels[:, None]
    head = train_head(Rows(features), labels, 2)
    kernel, _ = head.model.backbone.layers[-1].get_weights()
    assert np.abs(kernel).max() < 1
    assert np.mean(judge(head, Rows(features), labels).quality > 0.5) >= share


@pytest.mark.slow
def test_wrong_labels_of_two_clouds_are_found(trained):
    head, labels, is_wrong = trained.head, trained.labels, trained.is_wrong
    said = judge(head, trained.rows, labels)
    assert auroc(-said.quality, is_wrong) > 0.99
    assert np.mean((said.quality < 0.5) == is_wrong) > 0.95
    np.testing.assert_array_equal(said.suggested, 1 - labels)
    least, most = said.num_wrong_interval
    assert least < is_wrong.sum() < 1.1 * most
    # What it predicts is the class, and the labels agree as far as they are right.
    assert head.accuracies[-1] == pytest.approx(1 - is_wrong.mean(), abs=0.02)


@pytest.mark.slow
def test_logits_are_those_of_the_network(trained):
    np.testing.assert_allclose(
        trained.head.logits(trained.rows.values),
        trained.head.model.backbone.predict_on_batch(trained.rows.values),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.slow
def test_rows_of_trusted_examples_stay_neutral(trained):
    issues = trained.head.model.label_issues(trained.rows.values, trained.labels)
    quality = issues.set_index("id")["label_quality"]
    assert (quality[trained.trusted] == 1).all()
    others = np.setdiff1d(np.flatnonzero(trained.is_wrong), trained.trusted)
    assert (quality[others] < 1).all()


@pytest.mark.slow
def test_progress_is_told_after_each_epoch(trained):
    epochs = HeadSettings().epochs
    assert len(trained.head.accuracies) == epochs
    assert [one[:2] for one in trained.told] == [
        (one, epochs) for one in range(1, epochs + 1)
    ]
    seconds = [one[2] for one in trained.told]
    assert seconds[0] > 0
    assert seconds == sorted(seconds)


@pytest.mark.slow
def test_the_same_bits_twice(trained):
    again = train_head(trained.rows, trained.labels, 2, trusted=trained.trusted)
    np.testing.assert_array_equal(
        trained.head.logits(trained.rows.values), again.logits(trained.rows.values)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "mean"), [("float32", 0), ("mixed_bfloat16", 1024)])
def test_the_first_step_is_plain_descent(policy, mean):
    # One example a class at +1 and -1 (mean 0, deviation 1), one step at the rate 0.1
    # from zero weights. Both have p = 1/2, so that the mean gradient of the kernel is
    # ((1/2 - 1) x 1 + (1/2) x -1) / 2 = -1/2 for class 0, 1/2 for class 1, and that of
    # the bias 0. L2's is 0 there, and SOP's rows start too near 0 to be seen. Likewise
    # about a mean of 1024; in bfloat16 both would be 1024.
    settings = HeadSettings(epochs=1, learning_rate=0.1, l2=5.0)
    rows = Rows([[mean + 1.0], [mean - 1.0]])
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        head = train_head(rows, np.array([0, 1]), 2, settings)
    finally:
        keras.config.set_dtype_policy(before)
    kernel, bias = head.model.backbone.layers[-1].get_weights()
    np.testing.assert_allclose(kernel, [[0.05, -0.05]], rtol=1e-4)
    np.testing.assert_allclose(bias, [0, 0], atol=1e-6)
