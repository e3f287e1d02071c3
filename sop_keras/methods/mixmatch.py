"""The equations of DivideMix's semi-supervised step as functions of tensors.

Symbols of the paper (Li, Socher, Hoi, "DivideMix: Learning with Noisy Labels as
Semi-supervised Learning", ICLR 2020) and their names here, for n rows and K classes:

| paper | here | shape |
| --- | --- | --- |
| y, the one-hot given label | `labels` | `(n, num_classes)` |
| w, the posterior that it is right | `clean_prob` | `(n, 1)` |
| p, a mean of predictions | `probs` | `(n, num_classes)` |
| T | `temperature` | a number |
| what mixed rows are trained on | `targets` | `(n, num_classes)` |
| log p of mixed rows | `log_probs` | `(n, num_classes)` |
| lambda_u | `lambda_u` | a number |

A step has labelled examples, X, and unlabelled ones, U, in two views each:

    target of u = sharpen(co_guess(2 networks, 2 views), T)
    target of x = sharpen(co_refine(w, y, co_guess(own network, 2 views)), T)
    loss = L_X (mean over mixed rows of X) + weight * L_U (over those of U) + L_reg.

Losses are returned of each row, `(n,)`, unweighted: which rows are labelled, and the
mean over them, is for the caller to know. `core.batch.mean_loss` is 0 of no rows.
Logarithms are of `core.probabilities.log_probabilities`, finite for any finite logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras import ops

from sop_keras.core.batch import Tensor
from sop_keras.core.probabilities import LOG_FLOOR, log_probabilities
from sop_keras.losses.label_loss import at_label

RAMP_EPOCHS = 16
"""After so many epochs the loss of unlabelled rows has its whole weight."""

_LEAST_TEMPERATURE = 1e-30


def co_guess(outputs: Sequence[Tensor], from_logits: bool = True) -> Tensor:
    """The mean of the probabilities of several outputs.

    Both networks guess what unlabelled examples are in both views: four outputs. Of the
    two of the own network, it is what `co_refine` takes.

    Args:
        outputs: shape `(n, num_classes)` each.
        from_logits: whether they are logits (True) or probabilities. Defaults to
            `True`.

    Returns:
        The same shape; a constant.
    """
    probs = [ops.exp(log_probabilities(one, from_logits)) for one in outputs]
    return ops.stop_gradient(sum(probs) / len(probs))


def co_refine(clean_prob: Tensor, labels: Tensor, probs: Tensor) -> Tensor:
    """Trust labels as far as they seem right: w y + (1 - w) p.

    Args:
        clean_prob: w, by the peer's losses, in [0, 1].
        labels: one-hot, as given.
        probs: what the own network says.
    """
    return clean_prob * labels + (1.0 - clean_prob) * probs


def sharpen(probs: Tensor, temperature: float) -> Tensor:
    """Make probabilities surer: p_k^(1/T) / sum_j p_j^(1/T).

    T = 0 stands for the limit: 1 for the largest, equal parts where several are.

    Args:
        probs: of sum 1.
        temperature: T, not negative; 1 changes nothing.
    """
    probs = ops.maximum(probs, 0.0)
    # Of the largest the logarithm is exactly 0, however small T is; of all others it
    # may go to -inf. `initial` is for batches without rows, which Keras else refuses.
    largest = ops.max(probs, axis=-1, keepdims=True, initial=0.0)
    log_ratios = ops.log(probs / largest)
    return ops.softmax(log_ratios / max(temperature, _LEAST_TEMPERATURE), axis=-1)


def labeled_losses(log_probs: Tensor, targets: Tensor) -> Tensor:
    """L_X of each row: the cross entropy -sum_k t_k log p_k of its target t."""
    return -at_label(targets, log_probs)


def unlabeled_losses(log_probs: Tensor, targets: Tensor) -> Tensor:
    """L_U of each row: the mean over classes of (t_k - p_k)^2, of its target t.

    The paper has the sum over classes. The authors' code (LiJunnan1992/DivideMix at
    d9d3058) has the mean, and the published lambda_u belong to that.
    """
    return ops.mean(ops.square(targets - ops.exp(log_probs)), axis=-1)


def prior_penalty(log_probs: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
    """L_reg = sum_k (1/K) log((1/K) / mean(p)_k): 0 where all classes are as likely.

    Args:
        log_probs: of all rows, labelled or not.
        mean: gives `(num_classes,)`, the mean over all rows of the step, of which these
            may be a part; as `Batch.mean`.

    Returns:
        A scalar.
    """
    # A class whose probability underflows in all rows costs a finite loss.
    mean_probs = ops.maximum(mean(ops.exp(log_probs)), LOG_FLOOR)
    return -ops.mean(ops.log(log_probs.shape[-1] * mean_probs))


def negative_entropy(log_probs: Tensor) -> Tensor:
    """Negative entropy of each row: sum_k p_k log p_k.

    Under asymmetric noise it is added to the cross entropy of the warm-up, which would
    else leave all losses small.
    """
    return at_label(ops.exp(log_probs), log_probs)


def unlabeled_weight(
    epoch: Tensor, batch: Tensor, num_batches: Tensor, warm_up: int, lambda_u: float
) -> Tensor:
    """The weight of L_U: lambda_u clip((epoch + batch / num - warm_up) / 16, 0, 1).

    A ramp over the first `RAMP_EPOCHS` epochs after the warm-up, as in the authors'
    code.

    Args:
        epoch: from 0, the warm-up's among them.
        batch: of the epoch, from 0.
        num_batches: in the epoch; the authors count |X| // B + 1, |X| the labelled.
        warm_up: how many epochs it has.
        lambda_u: the whole weight.

    Returns:
        float32, of the shape of `epoch`.
    """
    epoch, batch, num_batches = (
        ops.cast(one, "float32") for one in (epoch, batch, num_batches)
    )
    since = epoch - warm_up + batch / num_batches
    return lambda_u * ops.clip(since / RAMP_EPOCHS, 0.0, 1.0)
