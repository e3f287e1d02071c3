import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_class_weight

from sop_keras.core.class_weights import class_weight_table

EXPECTED = [0.5, 1, 3, 1]
LABELS = np.array([0, 0, 0, 2, 2, 3])


@pytest.mark.parametrize(
    "class_weight",
    [
        {0: 0.5, np.int64(2): 3},
        pd.Series({0: 0.5, 2: 3.0}),
        EXPECTED,
        tuple(EXPECTED),
        np.array(EXPECTED),
    ],
)
def test_all_forms_give_one_table(class_weight):
    table = class_weight_table(class_weight, 4)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, EXPECTED)


@pytest.mark.parametrize("labels", [LABELS, LABELS.tolist(), np.eye(4)[LABELS]])
def test_balanced(labels):
    # Of 6 labels, three classes have 3, 2 and 1: 6 / (3 * 3), 6 / (3 * 2), 6 / 3.
    expected = np.float32([2 / 3, 1, 1, 2])
    np.testing.assert_array_equal(class_weight_table("balanced", 4, labels), expected)
    classes = np.unique(LABELS)
    of_sklearn = compute_class_weight("balanced", classes=classes, y=LABELS)
    np.testing.assert_allclose(expected[classes], of_sklearn, rtol=1e-7)


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({4: 1.0}, r"`class_weight` has the key 4, which is no class of \[0, 4\)"),
        ({-1: 1.0}, r"has the key -1, which"),
        ({0.5: 1.0}, r"has the key 0.5, which"),
        ({"cat": 1.0}, r"has the key 'cat', which"),
        (
            {1: -1.0},
            r"`class_weight\[1\]` must be finite and non-negative. Received: -1",
        ),
        ({1: np.nan}, r"`class_weight\[1\]` must be finite"),
        ([1, 1, np.inf, 1], r"`class_weight\[2\]` must be finite"),
        (np.ones(3), r"There are 4 classes\. Received: float64 of shape \(3,\)"),
        (np.ones((4, 1)), r"Received: float64 of shape \(4, 1\)"),
        (["a"] * 4, r"`class_weight` must be a dict .* or \"balanced\""),
        (2.0, r"Received: float64 of shape \(\)"),
        ("auto", r"or \"balanced\", as in scikit-learn\. Received: 'auto'"),
        ("balanced", r"needs all labels before .*np.bincount\(labels\)"),
    ],
)
def test_wrong_class_weights(class_weight, message):
    with pytest.raises(ValueError, match=message):
        class_weight_table(class_weight, 4)
