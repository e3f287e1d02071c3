"""MixUp (Zhang et al. 2018): cross entropy on examples mixed in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import keras
from keras import ops

from sop_keras.core.batch import Batch, Tensor
from sop_keras.methods.cross_entropy import CrossEntropy
from sop_keras.methods.mixup_record import MixUpSettings
from sop_keras.methods.probability_scores import ProbabilityScored
from sop_keras.randomness.keyed_tensors import symmetric_beta_tensor, uniform_tensor


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class MixUp(ProbabilityScored, CrossEntropy, MixUpSettings):
    """Cross entropy on convex combinations of pairs of examples and of their labels.

    In each step one share lambda is drawn from Beta(alpha, alpha) and one permutation
    of the batch, as in the authors' code (facebookresearch/mixup-cifar10 at eaff31a):

        x~ = lambda x + (1 - lambda) x[perm],    the same of one-hot labels.

    Both hang on the model's seed (0 where it has none) and the number of the step
    alone. The larger of lambda and 1 - lambda is taken for the example's own: a
    permutation and its inverse are equally likely, so that the mixed batch is the same
    in another order, and what is recorded of an example is mostly of itself.

    `accuracy` in training is of mixed examples, under the labels that were given; what
    is recorded in training is too. Evaluation and label issues are of unmixed ones.

    Args:
        alpha: not negative; 0 mixes nothing, and is cross entropy. Defaults to `1.0`.

    Raises:
        ValueError: if alpha is negative or not finite. In the making of a model, for a
            backbone with an input of integers, unless alpha is 0.

    Reference: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk
    Minimization", ICLR 2018, eqs. 1 and 2.
    """

    @property
    def mixes_inputs(self) -> bool:
        """Unless alpha is 0."""
        return self.alpha > 0

    def mix(self, batch: Batch, rows: Mapping[str, Tensor]) -> Batch:
        """Each example with its partner in the whole batch."""
        if self.alpha == 0:
            return batch
        labels = batch.gather(batch.labels)
        share, order = draws(self.alpha, batch.seed, batch.step, ops.shape(labels)[0])
        return mix_batch(batch, share, ops.take(order, batch.places(), axis=0))


def mix_batch(batch: Batch, share: Tensor, partners: Tensor) -> Batch:
    """The batch with every example mixed with its partner.

    Args:
        batch: as it came.
        share: lambda, of an example itself, a scalar in [0, 1].
        partners: their places in the whole batch, integers `(n,)`.
    """

    def mixed(values: Tensor) -> Tensor:
        values = ops.convert_to_tensor(values, "float32", sparse=False)
        return mix_pairs(values, batch.gather(values), partners, share)

    views = tuple(keras.tree.map_structure(mixed, view) for view in batch.views)
    if batch.weights is None:
        return replace(batch, views=views, labels=mixed(batch.labels))
    # The weighted mean of both labels' cross entropies, as one weight and one row.
    weights = mixed(batch.weights)
    labels = mixed(batch.weights * batch.labels)
    labels = labels / ops.where(weights > 0, weights, 1.0)
    return replace(batch, views=views, labels=labels, weights=weights)


def draws(
    alpha: float, seed: int, step: Tensor, batch_size: Tensor
) -> tuple[Tensor, Tensor]:
    """What a step draws: the share of an example itself, and everyone's partner.

    Args:
        alpha: above 0.
        seed: an integer in `[0, 2**64)`.
        step: the number of the step, an integer scalar.
        batch_size: how many examples it has.

    Returns:
        max(lambda, 1 - lambda) with lambda of Beta(alpha, alpha), a float32 scalar; and
        a permutation, integers `(batch_size,)`.
    """
    share = symmetric_beta_tensor(alpha, seed, "mixup: share", step)
    places = ops.arange(batch_size)
    order = ops.argsort(uniform_tensor(seed, "mixup: partners", step, places))
    return ops.maximum(share, 1.0 - share), order


def mix_pairs(values: Tensor, whole: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    """Mix pairs: lambda x + (1 - lambda) x[partners].

    Args:
        values: x of some examples, shape `(n, ...)`.
        whole: of those that the partners are among, shape `(m, ...)`.
        partners: their places there, integers `(n,)`.
        share: lambda, a scalar in [0, 1].

    Returns:
        The shape of `values`.
    """
    return share * values + (1.0 - share) * ops.take(whole, partners, axis=0)
