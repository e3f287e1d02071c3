"""Images of no class: what speaks for any class in them is little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sop_keras.auditing.feature_rows import (
    FeatureRows,
    Scale,
    blocks,
    sample,
    scale_of,
    take_finite,
)

# Ridge, a fraction of what all examples weigh, on features of standard deviation 1.
_RIDGE = 0.1

# An example is marked if its score is above this: with ten classes and more, and with
# three to nine, where more images lie between all classes than of no class.
_LEAST_SCORE, _LEAST_SCORE_OF_FEW = 0.8, 0.85
_MANY, _FEW = 10, 3


@dataclass(frozen=True)
class Outliers:
    """How much each example is unlike all that was learnt.

    Args:
        outlier_score: float32, shape `(n,)`, at most 1: 0 for an example with as much
            evidence of a class as half of all have, 1 for one with none.
        is_outlier: bool, likewise: whether it is marked.
    """

    outlier_score: np.ndarray
    is_outlier: np.ndarray


def find_outliers(features: FeatureRows, labels: np.ndarray) -> Outliers:
    """Score each example by how little speaks for any class.

    A linear regression of the classes' indicators on the features, with a ridge and
    classes of one weight, gives outputs f that sum to 1 over K classes. An image of a
    class has one that stands out; features that the regression knows nothing of leave
    all at 1 / K. The evidence of an example is `max_k f_k - 1 / K`, and

        outlier_score = 1 - evidence / (median of all evidences),

    so that wrong labels, which make all outputs less, leave it as it is. Distances to
    class centres, to neighbours, or in whitened features are worse than chance for
    drawings, noise and blank images among photographs: these have features near to the
    mean, and are near to each other.

    Marked are scores above 0.8 with ten classes or more, above 0.85 with three to nine.
    With two, an image between both looks like one of none: none is marked. An image of
    something else that looks like one of the classes (a lorry among cars) is not found.

    Features are read twice, in blocks: some 300 MB of memory are enough for any number
    of examples with 1,280 features.

    Args:
        features: of n examples.
        labels: integers, shape `(n,)`; some may be wrong, and outliers have any.

    Raises:
        ValueError: if there are not as many labels as examples, or fewer than two
            classes, or features are not finite or all the same.

    Example:
    ```python
    outliers = find_outliers(embedded, labels)
    np.argsort(-outliers.outlier_score)[:20]  # the first to look at
    ```
    """
    classes, codes = _checked_classes(labels, len(features))
    scale = scale_of(take_finite(features, sample(features)))
    weights = _regression(features, codes, len(classes), scale)
    evidence = np.empty(len(features))
    for places, rows in blocks(features, beside=len(classes)):
        outputs = scale.with_constant(rows) @ weights
        evidence[places] = outputs.max(axis=1) - 1 / len(classes)
    typical = np.median(evidence)
    # Outputs sum to 1, so no evidence is below 0, but for rounding.
    score = 1 - evidence.clip(0) / max(typical, np.finfo(np.float32).tiny)
    return Outliers(score.astype(np.float32), score > least_score(len(classes)))


def least_score(num_classes: int) -> float:
    """Above which score an example is marked; no score is above 1.

    Args:
        num_classes: how many classes have examples.
    """
    if num_classes < _FEW:
        return 1.0
    return _LEAST_SCORE if num_classes >= _MANY else _LEAST_SCORE_OF_FEW


def _checked_classes(
    labels: np.ndarray, num_examples: int
) -> tuple[np.ndarray, np.ndarray]:
    """The classes that are there, and the place of each label's among them."""
    labels = np.asarray(labels)
    if labels.shape != (num_examples,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`labels` must be {num_examples} integers, one for each example. "
            f"Received: {labels.dtype} of shape {labels.shape}."
        )
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            "Outliers are told by what speaks for one class or another: `labels` must "
            f"be of two at least. Received: {len(classes)}."
        )
    return classes, codes


def _regression(
    features: FeatureRows, codes: np.ndarray, num_classes: int, scale: Scale
) -> np.ndarray:
    """Weights of the features and of the constant, float32 `(D + 1, num_classes)`."""
    num_features = features.num_features
    counts = np.bincount(codes, minlength=num_classes)
    of_class = len(codes) / num_classes / counts
    products = np.zeros((num_features + 1, num_features + 1))
    with_labels = np.zeros((num_features + 1, num_classes))
    for places, rows in blocks(features, beside=num_classes):
        columns = scale.with_constant(rows)
        codes_here = codes[places]
        weighted = columns * of_class[codes_here, None].astype(np.float32)
        products += weighted.T @ columns
        indicators = np.zeros((len(places), num_classes), np.float32)
        indicators[np.arange(len(places)), codes_here] = 1
        with_labels += weighted.T @ indicators
    ridge = np.full(num_features + 1, _RIDGE * len(codes))
    ridge[-1] = 0
    products[np.diag_indices_from(products)] += ridge
    return np.linalg.solve(products, with_labels).astype(np.float32)
