"""The equations of SOP as functions of arrays (paper, eqs. 5 to 8).

Symbols of the paper and their names here, for a batch of B examples and K classes:

| paper | here | shape |
| --- | --- | --- |
| p = softmax(f(x; theta)) | `probs` | `(batch_size, num_classes)` |
| y, the one-hot observed label | `labels` | `(batch_size, num_classes)` |
| u_i, v_i | `u`, `v` | `(batch_size, 1)`, `(batch_size, num_classes)` |
| s_i | `noise` | `(batch_size, num_classes)` |
| phi(p + s) | `observed_probs` | `(batch_size, num_classes)` |
| onehot(argmax f) | `predictions` | `(batch_size, num_classes)` |

Losses are returned per example, `(batch_size,)`, unweighted. The gradients of the rows
are closed forms, so that neither a tape nor a loss scale ever touches u and v.

Where the sources differ, functions take `variant`: `"paper"` is the published text;
`"reference"` is the authors' code (shengliu66/SOP at 4d991ce), which differs in what
reaches u, in clamping u*u and v*v to [0, 1], in clipping phi a second time, and in what
L_B averages.
"""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from sop_keras.core.batch import Tensor
from sop_keras.losses.label_loss import at_label
from sop_keras.methods.sop_regularizers import EPSILON, mean_over_batch

_SMALLEST = 1e-37  # that float32 knows well


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


def label_loss(
    log_probs: Tensor, noise: Tensor, labels: Tensor, first_std: float
) -> Tensor:
    """-log phi(p + s)_y without phi's floor of 1e-4, `(n,)`.

    Below its floor a label has no gradient: a network that is far too sure at the start
    would never learn from those that it contradicts. Here the loss is the plain cross
    entropy where rows have not grown, however small p_y is.

    Args:
        log_probs: of the network, `(n, num_classes)`.
        noise: s, likewise.
        labels: one-hot given labels, likewise.
        first_std: where u starts: of s at the label, what is beyond its square counts.
    """
    log_given = at_label(labels, log_probs)
    absorbed = _absorbed(noise, labels, first_std)
    log_label = ops.where(
        absorbed > 0, ops.logaddexp(log_given, _log(absorbed)), log_given
    )
    others = ops.maximum(ops.exp(log_probs) + noise, 0.0) * (1.0 - labels)
    total = ops.exp(log_label) + ops.sum(others, axis=-1)
    return _log(total) - log_label


def unexplained_share(
    log_probs: Tensor, noise: Tensor, labels: Tensor, first_std: float
) -> Tensor:
    """The share of u's gradient of L_CE that is left as s explains the label.

    (1/w_c - 1/S) / (1/p_c - 1) in [0, 1], with w = p + s at the label c, max(p + s,
    eps) elsewhere, and S = sum w: 1 where s = 0, 0 where all of S is at the label. No
    floor at the label: below it, labels would have no gradient that could be left, just
    where the network is surest that they are wrong.

    Args:
        log_probs: of the network, `(n, num_classes)`.
        noise: s, likewise.
        labels: one-hot given labels, likewise.
        first_std: as in `label_loss`.

    Returns:
        Shape `(n, 1)`.
    """
    # As p_c/w_c times O/S / (1 - p_c), O = S - w_c: no difference of nearly equal
    # numbers, and p_c/w_c is known where both are too small for float32.
    probs = ops.exp(log_probs)
    absorbed = _absorbed(noise, labels, first_std)[:, None]
    log_given = at_label(labels, log_probs)[:, None]
    of_network = ops.where(absorbed > 0, ops.sigmoid(log_given - _log(absorbed)), 1.0)
    elsewhere = ops.maximum(probs + noise, EPSILON) * (1.0 - labels)
    elsewhere = ops.sum(elsewhere, axis=-1, keepdims=True)
    total = ops.exp(log_given) + absorbed + elsewhere
    other_probs = ops.sum(probs * (1.0 - labels), axis=-1, keepdims=True)
    left = of_network * elsewhere / (total * ops.maximum(other_probs, _SMALLEST))
    return ops.clip(left, 0.0, 1.0)


def _absorbed(noise: Tensor, labels: Tensor, first_std: float) -> Tensor:
    """How far s at the label has grown, `(n,)`; 0 for rows where they began, or below.

    Those have s = first_std^2, which would hide any p_y that is far below it.
    """
    begun = first_std * first_std * (1.0 + 1e-6)  # float32 rounds u*u
    return ops.maximum(ops.sum(noise * labels, axis=-1) - begun, 0.0)


def _log(values: Tensor) -> Tensor:
    return ops.log(ops.maximum(values, _SMALLEST))


def cross_entropy_loss(observed_probs: Tensor, labels: Tensor) -> Tensor:
    """L_CE = -sum_k y_k log phi(p + s)_k (eq. 6), per example."""
    return -ops.sum(labels * ops.log(observed_probs), axis=-1)


def squared_error_loss(predictions: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
    """L_MSE = || onehot(argmax f) + s - y ||_2^2 (eq. 7, footnote 2), per example."""
    return ops.sum(ops.square(predictions + noise - labels), axis=-1)


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


def v_gradient_of_cross_entropy(
    v: Tensor,
    probs: Tensor,
    noise: Tensor,
    labels: Tensor,
    sample_weight: Tensor | float = 1.0,
) -> Tensor:
    """Gradient of L_CE for v (A.1): -2 v_j / S off the label, 0 on it.

    w = max(p + s, eps), S = sum w; 0 where p_j + s_j < eps. L_CE = log S - log w_c sees
    v through S alone, so that a step is away from 0 whatever the network predicts.

    Args:
        v: the rows of v.
        probs: the network's probabilities.
        noise: s of the same rows.
        labels: one-hot observed labels.
        sample_weight: a factor on each example, shape `(batch_size, 1)`. Defaults to
            `1.0`.

    Returns:
        Shape `(batch_size, num_classes)`. Divide by the global batch size for the
        mean's.
    """
    shifted = probs + noise
    total = ops.sum(ops.maximum(shifted, EPSILON), axis=-1, keepdims=True)
    above_floor = _indicator(shifted >= EPSILON)
    return -2.0 * v / total * above_floor * (1.0 - labels) * sample_weight


def _indicator(condition: Tensor) -> Tensor:
    return ops.cast(condition, "float32")
