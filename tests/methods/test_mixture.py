"""The mixture that says which losses are small: published fits, by hand, and limits."""

import time
import warnings

import golden
import numpy as np
import pytest

from sop_keras.methods.mixture import fit_mixture, normalized, two_means

FILE = golden.arrays("dividemix_gmm_k10")
TRAINED = golden.arrays("dividemix_train_k10")
EPOCHS = len(FILE["ref_input"])
# On this epoch's losses, and on the mean of the last up to five.
FITS = [(kind, epoch) for kind in ("", "_mean5") for epoch in range(EPOCHS)]


@pytest.mark.parametrize(("kind", "epoch"), FITS)
def test_the_published_fit_from_its_own_start(kind, epoch):
    def published(name):
        return FILE[f"ref_{name}{kind}"][epoch]

    found = fit_mixture(published("input"), published("init"))
    for name, values in (
        ("prob", found.posterior),
        ("means", found.means),
        ("variances", found.variances),
        ("weights", found.weights),
    ):
        np.testing.assert_allclose(values, published(name), rtol=0, atol=1e-10)
    assert found.num_iterations == published("num_iterations")


@pytest.mark.parametrize(("kind", "epoch"), FITS)
def test_from_the_best_split_it_is_no_further_than_the_published_fits_are(kind, epoch):
    # Their k-means starts at random; `ref_seed_spread` is how far that moves a value.
    values, expected = (FILE[f"ref_{name}{kind}"][epoch] for name in ("input", "prob"))
    spread = FILE[f"ref_seed_spread{kind}"][epoch]
    difference = np.abs(fit_mixture(values).posterior - expected).max()
    assert difference <= spread + 1e-10


def test_the_published_divisions_of_a_training():
    probs = TRAINED["ref_prob"]
    for epoch, network in np.ndindex(probs.shape[:2]):
        values = TRAINED["ref_normalized_loss"][epoch, network]
        started = fit_mixture(values, TRAINED["ref_init"][epoch, network])
        expected = probs[epoch, network]
        np.testing.assert_allclose(started.posterior, expected, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(
            fit_mixture(values).posterior > 0.5, expected > 0.5
        )


def test_normalised_losses():
    for raw, expected in zip(
        FILE["raw_loss"], FILE["ref_normalized_loss"], strict=True
    ):
        np.testing.assert_allclose(normalized(raw), expected, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(normalized(np.float32([3, 1, 2])), [1, 0, 0.5])
    np.testing.assert_array_equal(normalized(np.full(3, 7.5)), np.zeros(3))
    np.testing.assert_array_equal(normalized(np.array([2.0])), [0])
    # The last up to five epochs' mean is what the published fit at 90% noise is of.
    for epoch, expected in enumerate(FILE["ref_input_mean5"]):
        last = FILE["raw_loss"][max(0, epoch - 4) : epoch + 1]
        mean = np.mean([normalized(raw) for raw in last], axis=0)
        np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_scikit_learns_mixture(seed):
    mixture = pytest.importorskip("sklearn.mixture")
    rng = np.random.default_rng(seed)
    values = normalized(np.append(rng.gamma(1, 0.2, 300), rng.normal(2, 0.7, 200)))
    found = fit_mixture(values)

    is_small = two_means(values)
    parts = values[is_small], values[~is_small]
    peer = mixture.GaussianMixture(
        n_components=2,
        max_iter=10,
        tol=1e-2,
        reg_covar=5e-4,
        weights_init=[len(part) / len(values) for part in parts],
        means_init=[[part.mean()] for part in parts],
        precisions_init=[[[1 / (part.var() + 5e-4)]] for part in parts],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that ten iterations may not be enough
        peer.fit(values[:, None])
    expected = peer.predict_proba(values[:, None])[:, peer.means_.argmin()]
    np.testing.assert_allclose(found.posterior, expected, rtol=0, atol=1e-10)
    assert found.num_iterations == peer.n_iter_


def best_split(values):
    """The least sum of squares over all splits between neighbours, one by one."""
    ordered = np.sort(values)
    sums = [
        sum(((part - part.mean()) ** 2).sum() for part in np.split(ordered, [place]))
        for place in range(1, len(ordered))
    ]
    return min(sums)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_split_of_all(seed):
    rng = np.random.default_rng(seed)
    values = rng.gamma(0.5, size=30).round(1)  # many are equal
    is_small = two_means(values)
    parts = values[is_small], values[~is_small]
    assert parts[0].max() < parts[1].min()
    found = sum(((part - part.mean()) ** 2).sum() for part in parts)
    np.testing.assert_allclose(found, best_split(values), rtol=1e-12)


def test_the_best_split_by_hand():
    # {0, 1}, {5, 6}: 1/2 + 1/2. Of {0}, {1, 2} and {0, 1}, {2}, as good, the first.
    np.testing.assert_array_equal(two_means(np.array([6.0, 0, 5, 1])), [0, 1, 0, 1])
    np.testing.assert_array_equal(two_means(np.array([2.0, 1, 0])), [0, 0, 1])
    # {0}, {1, 1, 2}: 2/3. The equal ones apart would be 1/2 + 1/2.
    np.testing.assert_array_equal(two_means(np.array([1.0, 2, 0, 1])), [0, 0, 1, 0])


def test_two_values_by_hand():
    # Each its own component: variances 5e-4, and the other one's posterior is of the
    # order of exp(-1 / 0.001). A second iteration changes nothing, and is the last.
    found = fit_mixture(np.array([1.0, 0.0]))
    np.testing.assert_allclose(found.posterior, [0, 1], atol=1e-300)
    np.testing.assert_allclose(found.means, [0, 1], atol=1e-14)
    np.testing.assert_allclose(found.variances, [5e-4] * 2)
    np.testing.assert_allclose(found.weights, [0.5] * 2)
    assert found.num_iterations == 2


@pytest.mark.parametrize("values", [[0.3], [0.25] * 9, [0.0, 0.0]])
def test_equal_losses_all_count_as_small(values):
    found = fit_mixture(np.array(values))
    np.testing.assert_array_equal(found.posterior, np.ones(len(values)))
    assert (found.weights == [1, 0]).all()
    assert found.num_iterations == 0


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 1],
        [0] * 9 + [1],
        [0] + [1] * 9,
        [0.5, 0.5 + 1e-16, 0.5 + 1e-9],
        [0, 5e-324],
        [0, 1e30, 1],
        list(range(-3, 0)),
    ],
)
def test_few_values_never_give_nan(values):
    found = fit_mixture(np.array(values, float))
    for numbers in (found.posterior, found.means, found.variances, found.weights):
        assert np.isfinite(numbers).all()
    assert (found.posterior >= 0).all()
    assert (found.posterior <= 1).all()


def test_the_order_of_the_losses_does_not_matter():
    values = FILE["ref_input"][1]
    order = np.random.default_rng(0).permutation(len(values))
    expected = fit_mixture(values).posterior[order]
    np.testing.assert_allclose(fit_mixture(values[order]).posterior, expected, 1e-12)


def test_the_posterior_is_of_the_smaller_mean_wherever_it_started():
    values = FILE["ref_input"][3]
    reverse = fit_mixture(values, ~two_means(values))
    np.testing.assert_allclose(reverse.posterior, fit_mixture(values).posterior, 1e-9)
    assert reverse.means[0] < reverse.means[1]


@pytest.mark.parametrize(
    ("values", "start", "message"),
    [
        (
            [0.1, np.nan, np.inf],
            None,
            "2 of 3 losses are not .* nan at place 1",
        ),
        ([], None, r"`losses` must be .* at least one\. .* shape \(0,\)"),
        ([[0.1]], None, r"Received: an array of shape \(1, 1\)"),
        ([0.0, 1.0], [True], r"`start` must be booleans of shape \(2,\)"),
        ([0.0, 1.0], [True, True], r"some of each kind\. .* of which 2 are true"),
    ],
)
def test_what_cannot_be(values, start, message):
    with pytest.raises(ValueError, match=message):
        fit_mixture(np.array(values), start)
    if start is None:
        with pytest.raises(ValueError, match=message):
            normalized(np.array(values))


def test_a_large_data_set_takes_no_time():
    # 0.01 s on one core, of 0.2 s; the least of five, for others may be at work.
    values = np.random.default_rng(0).gamma(1, size=50_000)
    times = []
    for _ in range(5):
        before = time.perf_counter()
        fit_mixture(normalized(values))
        times.append(time.perf_counter() - before)
    assert min(times) < 0.2
