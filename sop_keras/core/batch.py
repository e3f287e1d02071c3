"""What the parts of a method are given of a batch, and of what networks say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keras import ops

# A backend tensor, or anything that keras.ops turns into one.
Tensor = Any


@dataclass(frozen=True)
class Batch:
    """A batch as a method sees it: n examples, K classes.

    Args:
        views: the inputs: one view, or as many as the method's `num_views`.
        given_labels: the labels as they came: integers `(n,)` or one-hot `(n, K)`; of
            a mixed batch, its `labels`.
        labels: the same, one-hot, float32 `(n, K)`.
        ids: integers, `(n,)`.
        weights: a factor on each example's losses, `(n, 1)`; None for 1.
        size: how many examples the step of the networks takes the mean of, a float32
            scalar. The gradient of a row is divided by it.
        mean: the mean of `(n, K)` over all examples that the step takes, `(K,)`;
            gradients pass through it.
        gather: the values of all examples that the step takes, `(n, ...)` of each part
            in which a batch is trained on: what is chosen or paired within a batch is
            chosen within the whole.
        places: gives where this part's examples are among them, integers `(n,)`.
        step: how many batches there have been, an integer scalar: a key of draws.
        num_examples: N, the rows of the tables.
        seed: of draws, an integer in [0, 2**64): the model's; 0 where it has none.
        rates: the learning rates of this step, by table; without those that the method
            sets by itself.
        scheduled: the numbers of the method's `schedule` in this epoch, by name.
        state: the method's own variables, by name.
        network: the place of the network that learns, where they learn in turn: 0 of
            the backbone, 1 of the peer.
        phase: of the training, as the method's `phase` says.
        step_in_pass: how many batches there have been in this pass of this network, an
            integer scalar; where networks learn in turn.
        batch_size: as `fit` was given it, where networks learn in turn.
        ask: gives what a network says of a view, `(n, K)`, a constant: its outputs,
            float32. Takes the network's place, the view, `training` (whether in the
            mode of training, False by default), and `averaged` (whether to ask the
            running average of its weights, in the mode of training, which leaves the
            network's own averages of BatchNormalization alone).
        was_given: gives the labels as they came from the data, before a person
            corrected some (`trust`), one-hot, `(n, num_classes)`; of the batch as it
            came, before `mix`.
        is_new: gives which examples were not trained on before, bool `(n, 1)`.
        from_logits: whether what `ask` gives are logits (True) or probabilities.
        seen: what the network says of the examples as they came, outputs `(n, K)`, if
            `mix` has asked: for the record and the metrics, in place of the first n of
            what is trained on.
        extra: what `mix` hands on to the other parts, by name.
    """

    views: tuple[Any, ...]
    given_labels: Tensor
    labels: Tensor
    ids: Tensor
    weights: Tensor | None
    size: Tensor
    mean: Callable[[Tensor], Tensor]
    gather: Callable[[Tensor], Tensor]
    places: Callable[[], Tensor]
    step: Tensor
    num_examples: int
    seed: int = 0
    rates: Mapping[str, Tensor] = field(default_factory=dict)
    scheduled: Mapping[str, Tensor] = field(default_factory=dict)
    state: Mapping[str, Tensor] = field(default_factory=dict)
    network: int = 0
    phase: str = ""
    step_in_pass: Tensor = 0
    batch_size: int | None = None
    ask: Callable[..., Tensor] | None = None
    was_given: Callable[[], Tensor] | None = None
    is_new: Callable[[], Tensor] | None = None
    from_logits: bool = True
    seen: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def mean_loss(self, values: Tensor) -> Tensor:
        """The mean of a loss of each example, `(n,)`; weights leave the divisor.

        Of an empty batch, as a replica may have one, it is 0.
        """
        return mean_loss(values, self.weights)


def mean_loss(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """As `Batch.mean_loss`, for weights of shape `(n, 1)` or None."""
    if weights is not None:
        values = values * weights[:, 0]
    count = ops.cast(ops.shape(values)[0], "float32")
    return ops.sum(values) / ops.maximum(count, 1.0)


@dataclass(frozen=True)
class Outputs:
    """What a network says of a batch, float32, `(n, K)` each.

    Args:
        views: its outputs for each view.
        probs: its probabilities for the first view.
        predictions: onehot(argmax) of the first view.
        from_logits: whether its outputs are logits (True) or probabilities.
    """

    views: tuple[Tensor, ...]
    probs: Tensor
    predictions: Tensor
    from_logits: bool
