import numpy as np

from sop_keras.methods.probability_scores import score_by_probability


def test_the_probability_of_a_label():
    probs = np.float32([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1], [1, 0, 0]])
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs)
    found = score_by_probability(log_probs, np.array([1, 0, 2]))
    np.testing.assert_array_equal(found["suggested_label"], [2, 1, 0])
    np.testing.assert_allclose(found["label_quality"], [0.2, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(
        found["noise_score"], [-np.log10(0.2), -np.log10(0.5), 300], rtol=1e-5
    )
