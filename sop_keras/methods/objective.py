"""The objective of SOP and SOP+ (paper, eqs. 4 to 8, A.3) as functions of arrays.

Symbols of the paper and their names here, for a batch of B examples and K classes:

| paper | here | shape |
| --- | --- | --- |
| p = softmax(f(x; theta)) | `probs` | `(batch_size, num_classes)` |
| y, the one-hot observed label | `labels` | `(batch_size, num_classes)` |
| u_i, v_i | `u`, `v` | `(batch_size, 1)`, `(batch_size, num_classes)` |
| s_i | `noise` | `(batch_size, num_classes)` |
| phi(p + s) | `observed_probs` | `(batch_size, num_classes)` |
| onehot(argmax f) | `predictions` | `(batch_size, num_classes)` |
| f(x), f(UDA(x)), or their softmax | `outputs`, `strong_outputs` | the same |

Losses are returned per example, `(batch_size,)`, unweighted. The gradients of the rows
are closed forms, so that neither a tape nor a loss scale ever touches u and v.

Where the sources differ, functions take `variant`: `"paper"` is the published text;
`"reference"` is the authors' code (shengliu66/SOP at 4d991ce), which differs in what
reaches u, in clamping u*u and v*v to [0, 1], in clipping phi a second time, and in what
L_B averages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from sop_keras.core import label_checks

# A backend tensor, or anything that keras.ops turns into one.
Tensor = Any

EPSILON = 1e-4
"""The floor of phi (paper, Section 2.1)."""

LOG_FLOOR = 1e-30
"""The floor of a probability whose logarithm is taken where phi has no part.

float32 goes on to 1e-38, but the gradient of the logarithm, 1/p, must not overflow.
"""

VARIANTS = ("paper", "reference")


def estimated_noise(u: Tensor, v: Tensor, labels: Tensor, variant: str) -> Tensor:
    """Estimated label noise s = u*u*y - v*v*(1-y) (eq. 5)."""
    u_square, v_square = u * u * labels, v * v * (1.0 - labels)
    if variant == "reference":
        u_square, v_square = ops.clip(u_square, 0, 1), ops.clip(v_square, 0, 1)
    return u_square - v_square


def normalize(w: Tensor) -> Tensor:
    """Phi(w) = max(w, eps) / ||max(w, eps)||_1: back onto the simplex (eq. 6)."""
    w = ops.maximum(w, EPSILON)
    return w / ops.sum(w, axis=-1, keepdims=True)


def observed_probabilities(probs: Tensor, noise: Tensor, variant: str) -> Tensor:
    """The model of the observed label, phi(p + s)."""
    observed_probs = normalize(probs + noise)
    if variant == "reference":
        observed_probs = ops.clip(observed_probs, EPSILON, 1)
    return observed_probs


def cross_entropy_loss(observed_probs: Tensor, labels: Tensor) -> Tensor:
    """L_CE = -sum_k y_k log phi(p + s)_k (eq. 6), per example."""
    return -ops.sum(labels * ops.log(observed_probs), axis=-1)


def squared_error_loss(predictions: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
    """L_MSE = || onehot(argmax f) + s - y ||_2^2 (eq. 7, footnote 2), per example."""
    return ops.sum(ops.square(predictions + noise - labels), axis=-1)


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


def log_probabilities(outputs: Tensor, from_logits: bool = True) -> Tensor:
    """Log p of the network's outputs; finite wherever they are."""
    if from_logits:
        return ops.log_softmax(outputs, axis=-1)
    return ops.log(ops.maximum(outputs, LOG_FLOOR))


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


def batch_mean(values: Tensor, sample_weight: Tensor = None) -> Tensor:
    """The mean over the batch of a loss per example; weights leave the divisor.

    Of an empty batch, as a replica may have one, it is 0.

    Args:
        values: shape `(batch_size,)`.
        sample_weight: a factor on each, shape `(batch_size, 1)`. Defaults to `None`: 1.
    """
    if sample_weight is not None:
        values = values * sample_weight[:, 0]
    count = ops.cast(ops.shape(values)[0], "float32")
    return ops.sum(values) / ops.maximum(count, 1.0)


def u_gradient(
    u: Tensor,
    probs: Tensor,
    noise: Tensor,
    labels: Tensor,
    predictions: Tensor,
    variant: str,
    balance_weight: float = 0.0,
    class_prior: Tensor = None,
    sample_weight: Tensor | float = 1.0,
    mean: Callable[[Tensor], Tensor] = mean_over_batch,
) -> Tensor:
    """Gradient for u of what trains it, the losses summed over the batch.

    Paper: of L_CE alone, 2 u (1/S - 1/w_c) with w = max(p + s, eps), S = sum w and c
    the label; 0 where p_c + s_c < eps. Reference: of L_CE + L_MSE + lambda_B L_B,
    because u*u is detached nowhere in the authors' code. L_B is a mean over the batch:
    its part is multiplied by B here, so that the caller divides everything by B once.

    Args:
        u: the rows of u.
        probs: the network's probabilities.
        noise: s of the same rows.
        labels: one-hot observed labels.
        predictions: onehot(argmax f).
        variant: `"paper"` or `"reference"`.
        balance_weight: lambda_B.
        class_prior: the prior of L_B, shape `(num_classes,)`.
        sample_weight: a factor on each example's L_CE and L_MSE, shape
            `(batch_size, 1)`. Defaults to `1.0`.
        mean: as in `balance_loss`. Defaults to `mean_over_batch`.

    Returns:
        Shape `(batch_size, 1)`. Divide by the global batch size for the mean's.
    """
    shifted = probs + noise
    above_floor = _indicator(shifted >= EPSILON)
    w = ops.maximum(shifted, EPSILON)
    total = ops.sum(w, axis=-1, keepdims=True)
    if variant == "paper":
        by_noise = labels * (1.0 / total - 1.0 / w) * above_floor * sample_weight
        return 2.0 * u * ops.sum(by_noise, axis=-1, keepdims=True)

    phi = w / total
    clipped = ops.clip(phi, EPSILON, 1)
    by_clipped = -labels / clipped * sample_weight
    if balance_weight:
        mean_probs = mean(clipped)
        inside = _indicator((mean_probs >= EPSILON) & (mean_probs <= 1.0))
        by_mean = -class_prior / ops.clip(mean_probs, EPSILON, 1) * inside
        by_clipped = by_clipped + balance_weight * by_mean
    by_phi = by_clipped * _indicator((phi >= EPSILON) & (phi <= 1.0))
    by_w = (by_phi - ops.sum(by_phi * phi, axis=-1, keepdims=True)) / total
    by_noise = by_w * above_floor
    by_noise += 2.0 * (predictions + noise - labels) * sample_weight
    by_u_square = ops.sum(labels * by_noise, axis=-1, keepdims=True)
    return 2.0 * u * by_u_square * _indicator(u * u <= 1.0)


def v_gradient(
    v: Tensor,
    labels: Tensor,
    predictions: Tensor,
    variant: str,
    sample_weight: Tensor | float = 1.0,
) -> Tensor:
    """Gradient of L_MSE for v: -4 v_j (h_j - v_j^2) off the label, 0 on it.

    h = onehot(argmax f). The reference's clamp of v*v to [0, 1] stops the gradient
    where |v_j| > 1.

    Args:
        v: the rows of v.
        labels: one-hot observed labels.
        predictions: onehot(argmax f).
        variant: `"paper"` or `"reference"`.
        sample_weight: a factor on each example, shape `(batch_size, 1)`. Defaults to
            `1.0`.

    Returns:
        Shape `(batch_size, num_classes)`. Divide by the global batch size for the
        mean's.
    """
    gradient = -4.0 * v * (predictions - v * v) * (1.0 - labels) * sample_weight
    if variant == "reference":
        gradient = gradient * _indicator(v * v <= 1.0)
    return gradient


def check_variant(variant: Any) -> str:
    """`variant`, if it is one.

    Raises:
        ValueError: if it is not one of `VARIANTS`.
    """
    if variant not in VARIANTS:
        raise ValueError(f"`variant` must be one of {VARIANTS}. Received: {variant!r}")
    return variant


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


def _indicator(condition: Tensor) -> Tensor:
    return ops.cast(condition, "float32")
