"""The equations of ELR+ as functions of tensors, and its ramps.

ELR+ (Liu, Niles-Weed, Razavian, Fernandez-Granda, "Early-Learning Regularization
Prevents Memorization of Noisy Labels", NeurIPS 2020) trains two networks on examples
mixed in pairs. Each has targets of its own, which the weight average of the other one
makes of unmixed examples. Symbols and their names here, for n examples and K classes:

| symbol | here | shape |
| --- | --- | --- |
| t, of the batch | `targets` | `(n, num_classes)` |
| softmax of the peer's average | `peer_probs` | `(n, num_classes)` |
| y~, t~: mixed labels, mixed targets | `labels`, `mixed_targets` | `(n, num_classes)` |
| log p of mixed examples | `log_probs` | `(n, num_classes)` |
| s, the step, counted from 1 | `step` | an integer scalar |

    t <- beta t + (1 - beta) peer_probs,   then   t~ = l t + (1 - l) t[partners],
    loss = mean CE(y~, p) + ramp(s) lambda mean log(1 - <clip(p), t~>).

`methods.mixup.mix_pairs` mixes. What the text leaves open is as in the authors' code
(shengliu66/ELR at 934af53, ELR_plus). Losses are returned of each example, `(n,)`,
unweighted.
"""

from __future__ import annotations

from keras import ops

from sop_keras.core.batch import Tensor
from sop_keras.losses.label_loss import at_label
from sop_keras.methods.elr import LEAST_PROBABILITY


def updated_targets(targets: Tensor, peer_probs: Tensor, beta: float) -> Tensor:
    """Beta t + (1 - beta) p: targets of after a visit, constants.

    Args:
        targets: of before; 0 at first.
        peer_probs: what the peer's weight average says of the unmixed examples.
        beta: in [0, 1]; of 0, a target is the peer's last word.
    """
    return ops.stop_gradient(beta * targets + (1.0 - beta) * peer_probs)


def reweighted_labels(labels: Tensor, mixed_targets: Tensor) -> Tensor:
    """Mixed labels times mixed targets, divided by their sum.

    The authors' code does so with 100 classes: of the two labels in a pair, that which
    targets believe in gains. Where targets leave nothing of either, labels stay.
    """
    products = labels * mixed_targets
    sums = ops.sum(products, axis=-1, keepdims=True)
    is_left = sums > 0
    return ops.where(is_left, products / ops.where(is_left, sums, 1.0), labels)


def cross_entropy_losses(log_probs: Tensor, labels: Tensor) -> Tensor:
    """-sum_k y~_k log p_k of each example."""
    return -at_label(labels, log_probs)


def regularization_losses(log_probs: Tensor, mixed_targets: Tensor) -> Tensor:
    """log(1 - <clip(p), t~>) of each example.

    p is clipped to `LEAST_PROBABILITY` and 1 less it, and passes no gradient beyond.
    """
    probs = ops.clip(ops.exp(log_probs), LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    return ops.log(1.0 - ops.sum(probs * mixed_targets, axis=-1))


def ramp(step: Tensor, length: int) -> Tensor:
    """exp(-5 (1 - min(s, L) / L)^2): from exp(-5) to 1 in L steps; 1 for L = 0.

    Args:
        step: s, an integer scalar.
        length: L, not negative.

    Returns:
        float32, of the shape of `step`.
    """
    if length == 0:
        return ops.ones_like(step, dtype="float32")
    done = ops.cast(ops.minimum(step, length), "float32") / length
    return ops.exp(-5.0 * ops.square(1.0 - done))


def ramped_decay(step: Tensor, decay: float, length: int) -> Tensor:
    """How much of itself a weight average keeps in step s: decay * ramp(s + 1).

    Args:
        step: s, counted from 1.
        decay: in [0, 1]; of 0, the average is the network.
        length: of the ramp; 0 for none.
    """
    return decay * ramp(step + 1, length)


def averaging_decay(step: Tensor, decay: float) -> Tensor:
    """The same without a ramp: min(1 - 1 / (s + 1), decay).

    While 1 - 1 / (s + 1) is the smaller, all steps so far count the same.

    Args:
        step: s, counted from 1.
        decay: in [0, 1].
    """
    steps = ops.cast(step, "float32")
    return ops.minimum(1.0 - 1.0 / (steps + 1.0), decay)
