import numpy as np

from sop_keras.methods.sop_scan import LogHistogram


def test_buckets_are_fifths_of_a_decade():
    histogram = LogHistogram()
    # log10: -3.9 twice, 0.699 and two that lie outside.
    histogram.add(np.array([10**-3.9, -(10**-3.9), 5.0, 0.0, 100.0]))
    found = [row for row in histogram.buckets().tolist() if row[2]]
    expected = [[-16, -15.8, 1], [-4, -3.8, 2], [0.6, 0.8, 1], [0.8, 1, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert histogram.buckets().shape == (85, 3)  # 17 decades
    histogram.add(np.array([0.0, 100.0, 5.0]), times=-1)
    np.testing.assert_allclose(histogram.buckets(), [[-4, -3.8, 2]])
