"""The regularisers of SOP+ (paper, Appendix A.3) as functions of arrays.

| paper | here | shape |
| --- | --- | --- |
| f(x), f(UDA(x)), or their softmax | `outputs`, `strong_outputs` | `(batch_size, K)` |
| prior_k | `class_prior` | `(num_classes,)` |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from sop_keras.core import label_checks
from sop_keras.core.batch import Tensor
from sop_keras.core.data_errors import DataError
from sop_keras.core.probabilities import LOG_FLOOR, log_probabilities

EPSILON = 1e-4
"""The floor of phi (paper, Section 2.1), and of the reference's mean prediction."""


def consistency_loss(
    outputs: Tensor, strong_outputs: Tensor, from_logits: bool = True
) -> Tensor:
    """L_C = KL(p(x) || p(UDA(x))) (A.3), per example.

    p(x) is the target and a constant: no gradient passes to `outputs`.

    Args:
        outputs: the network's for the weak view, `(batch_size, num_classes)`.
        strong_outputs: the network's for the strong view, of the same shape.
        from_logits: whether both are logits (True) or probabilities, which count as
            `LOG_FLOOR` at least: below it, no gradient passes. Defaults to `True`.

    Reference: Xie et al., "Unsupervised Data Augmentation for Consistency Training",
    NeurIPS 2020.
    """
    target = log_probabilities(ops.stop_gradient(outputs), from_logits)
    strong = log_probabilities(strong_outputs, from_logits)
    target_probs = ops.exp(target)
    # A class of target probability 0 adds 0, though its logarithms may be infinite: of
    # logits that are -inf, such as masks make, the difference alone would be NaN.
    differences = ops.where(target_probs > 0, target - strong, 0.0)
    return ops.sum(target_probs * differences, axis=-1)


def mean_over_batch(values: Tensor) -> Tensor:
    """The mean over the examples, `(num_classes,)` of `(batch_size, num_classes)`."""
    return ops.mean(values, axis=0)


def balance_loss(
    probs: Tensor,
    observed_probs: Tensor,
    class_prior: Tensor,
    variant: str,
    mean: Callable[[Tensor], Tensor] = mean_over_batch,
) -> Tensor:
    """L_B = -sum_k prior_k log mean_batch(q)_k (A.3), a scalar.

    The paper takes q = p; the reference q = phi(p + s), its mean clipped at eps.

    Args:
        probs: the network's probabilities.
        observed_probs: phi(p + s) of the same batch.
        class_prior: shape `(num_classes,)`, sums to 1.
        variant: `"paper"` or `"reference"`.
        mean: the mean over the whole batch, where this is a part of it. Defaults to
            `mean_over_batch`.
    """
    if variant == "reference":
        mean_probs = ops.clip(mean(observed_probs), EPSILON, 1)
    else:
        # A class whose probability underflows in the whole batch costs a finite loss.
        mean_probs = ops.maximum(mean(probs), LOG_FLOOR)
    return -ops.sum(class_prior * ops.log(mean_probs))


def check_class_prior(class_prior: Any, num_classes: int) -> np.ndarray | None:
    """The prior of L_B as float32, shape `(num_classes,)`.

    Args:
        class_prior: one number a class; `"uniform"` or None: all the same;
            `"empirical"`.
        num_classes: the number of classes.

    Returns:
        The prior; None for `"empirical"`, which the labels decide.

    Raises:
        ValueError: where it is none of these, or not non-negative and summing to 1.
    """
    if isinstance(class_prior, str) and class_prior == "empirical":
        return None
    if class_prior is None or (
        isinstance(class_prior, str) and class_prior == "uniform"
    ):
        return np.full(num_classes, 1.0 / num_classes, dtype=np.float32)
    try:
        prior = np.asarray(class_prior, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            '`class_prior` must be "uniform", "empirical" or one number for each '
            f"of the {num_classes} classes. Received: {class_prior!r}"
        ) from None
    if prior.shape != (num_classes,):
        raise ValueError(
            f"`class_prior` must have one entry for each of the {num_classes} classes. "
            f"Received shape {prior.shape}."
        )
    if not np.all(np.isfinite(prior)) or np.any(prior < 0):
        raise ValueError(
            f"`class_prior` must be finite and non-negative. Received: {class_prior}"
        )
    if abs(prior.sum() - 1.0) > 1e-5:
        raise ValueError(
            f"`class_prior` must sum to 1. Received a sum of {prior.sum():.6g}; divide "
            "it by its sum."
        )
    return prior.astype(np.float32)


def storable_class_prior(class_prior: Any) -> Any:
    """A class prior as a file can hold it, and as it can be compared with a name.

    Args:
        class_prior: as of `check_class_prior`, numbers in any container.
    """
    if class_prior is None or isinstance(class_prior, (str, list, tuple)):
        return class_prior
    return np.asarray(class_prior).tolist()


def empirical_class_prior(labels: Any, num_classes: int) -> np.ndarray:
    """How often each class occurs among the observed labels, a prior of L_B.

    Args:
        labels: integers in `[0, num_classes)`, shape `(n,)`, or one-hot rows
            `(n, num_classes)`; at least one.
        num_classes: the number of classes.

    Returns:
        float64 array `(num_classes,)` that sums to 1, 0 for classes that do not occur.

    Raises:
        ValueError: for no labels, or such as cannot be trained on.
    """
    labels = label_checks.check_labels(labels, num_classes)
    if not len(labels):
        raise ValueError(
            "There are no labels to count. Pass all labels of the training data."
        )
    if labels.ndim == 2:
        labels = labels.argmax(axis=1)
    return np.bincount(labels, minlength=num_classes) / len(labels)


def counted_prior(
    labels: Any, num_classes: int, last: np.ndarray
) -> dict[str, np.ndarray]:
    """The prior that counts labels where they are known, by its name.

    Args:
        labels: as of `empirical_class_prior`, or None for such as come in a stream.
        num_classes: the number of classes.
        last: the last count; all 0 where there was none.

    Raises:
        ValueError: for a stream where nothing was counted before.
    """
    if labels is not None:
        return {"class_prior": empirical_class_prior(labels, num_classes)}
    if not np.any(last):
        raise DataError(
            'class_prior="empirical" counts the labels of arrays, but those of a '
            "stream or a single batch are not known in advance. Pass the vector: "
            "class_prior=empirical_class_prior(labels, num_classes), of sop_keras."
        )
    return {}
