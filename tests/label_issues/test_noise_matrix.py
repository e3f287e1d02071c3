import numpy as np

from sop_keras.label_issues.noise_matrix import noise_matrix, transition_rates


def test_matrix_by_hand():
    true, given = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 2, 2])
    matrix = noise_matrix(true, given, 4)
    expected = [[2, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert matrix.tolist() == expected
    rates = transition_rates(matrix)
    np.testing.assert_allclose(rates[0], [2 / 3, 1 / 3, 0, 0])
    assert rates[3].tolist() == [0, 0, 0, 0]  # a class that has no examples
