"""CORES*, phase 2 of CORES2 (Cheng et al. 2021): consistency on what was dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core.batch import Batch, Outputs, Tensor
from sop_keras.core.table import Table
from sop_keras.methods.probability_scores import ProbabilityScored
from sop_keras.methods.sop_regularizers import consistency_loss
from sop_keras.validation import check_integer, check_number


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class CORESStar(ProbabilityScored):
    """Labels of what the sieve kept; of what it dropped, two views that must agree.

    A new network, after phase 1 (`methods.CORES2`) has said which examples to drop. The
    objective is

        mean over kept ones of -log p_y(strong view)
        + ratio * mean over dropped ones of KL(p(weak view) || p(strong view)),

    in which the weak view's p is a constant. Labels of dropped examples are not looked
    at. Examples come as pairs (weak, strong), and the network sees the weak views of
    dropped ones alone: n + d images for a batch of n of which d are dropped. Metrics,
    and what is recorded in training, are of strong views.

    The published code draws 320 kept examples and U dropped ones for a step, with
    U = 80, 160, 240 at 20%, 40%, 60% of noise; here both come in a batch as they do in
    the data, each once an epoch, and each of the two means is over what there is of
    its kind (0 of none). Every example owns whether it is dropped: 4 bytes.

    Args:
        dropped_ids: integers, the ids of what phase 1 drops: `CORES2.dropped_ids`
            gives them.
            Defaults to `()`: of nothing, which leaves cross entropy of strong views.
        consistency_weight: the ratio, not negative; published with 20%, 40% and 60% of
            noise: 0.2, 0.4 and 0.9. Defaults to `0.4`.

    Raises:
        ValueError: for a number out of range, or an id twice; in a model, for an id
            that is none of its examples'.

    Example:
    ```python
    first = NoisyLabelModel(network, n, k, method=methods.CORES2())
    first.compile(optimizer)
    first.fit(weak, y, epochs=100)
    method = methods.CORESStar(methods.CORES2.dropped_ids(first))
    model = NoisyLabelModel(other_network, n, k, method=method)
    model.compile(other_optimizer)
    model.fit((weak, strong), y, epochs=200)
    ```

    Reference: Cheng, Zhu, Li, Gong, Sun, Liu, "Learning with Instance-Dependent Label
    Noise: A Sample Sieve Approach", ICLR 2021, Section 4.2; UCSC-REAL/cores at cf0945e.
    """

    dropped_ids: Any = ()
    consistency_weight: float = 0.4

    num_views = 2
    compiles = False  # as many views as there are dropped examples in a batch
    pairs_help = "CORES* trains on pairs of views, (weak, strong), of every example."

    def __post_init__(self) -> None:
        check_number("consistency_weight", self.consistency_weight)
        ids = [check_integer("dropped_ids", one, 0) for one in self.dropped_ids]
        if len(set(ids)) < len(ids):
            raise ValueError(
                f"`dropped_ids` must be different ids. Received {len(ids)}, of which "
                f"{len(set(ids))} are different."
            )
        object.__setattr__(self, "dropped_ids", tuple(ids))

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """Cross entropy of what is kept, consistency of what is dropped."""
        return ("ce_loss", "consistency_loss")

    def tables(self, num_classes: int) -> tuple[Table, ...]:
        """Which examples are dropped (1) or kept (0)."""
        return (Table("dropped", 1),)

    def first_rows(self) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
        """What phase 1 drops."""
        ids = np.array(self.dropped_ids, np.int64)
        return {"dropped": (ids, np.ones(len(ids)))}

    def mix(self, batch: Batch, rows: Mapping[str, Tensor]) -> Batch:
        """The strong views of all, and behind them the weak ones of what is dropped."""
        weak, strong = batch.views
        places = _dropped_places(rows)

        def joined(own: Any, others: Any) -> Any:
            return ops.concatenate([own, ops.take(others, places, axis=0)])

        return dataclasses.replace(
            batch,
            views=(keras.tree.map_structure(joined, strong, weak),),
            labels=joined(batch.labels, batch.labels),
            weights=None
            if batch.weights is None
            else joined(batch.weights, batch.weights),
        )

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean of -log p_y of what is kept, and ratio times that of the KL."""
        count = ops.shape(batch.ids)[0]
        strong, weak = outputs.views[0][:count], outputs.views[0][count:]
        labels, kept = batch.labels[:count], 1.0 - rows["dropped"][:, 0]
        losses = self.evaluation_loss(strong, labels, labels, outputs.from_logits)
        pairs = consistency_loss(
            weak, ops.take(strong, _dropped_places(rows), axis=0), outputs.from_logits
        )
        # In the order of the rows that the network saw: n, then d.
        is_kept = ops.concatenate([kept, ops.zeros_like(pairs)])
        is_pair = ops.concatenate([ops.zeros_like(kept), ops.ones_like(pairs)])
        shares = batch.mean(ops.stack([is_kept, is_pair], axis=-1))
        shares = ops.where(shares > 0, shares, 1.0)
        # Means over what there is of each in the whole batch, on whatever replica.
        of_kept = ops.concatenate([kept * losses, ops.zeros_like(pairs)])
        of_pairs = ops.concatenate([ops.zeros_like(kept), pairs])
        parts = {
            "ce_loss": batch.mean_loss(of_kept / shares[0]),
            "consistency_loss": batch.mean_loss(of_pairs / shares[1]),
        }
        weight = self.consistency_weight
        return parts["ce_loss"] + weight * parts["consistency_loss"], parts

    def get_config(self) -> dict[str, Any]:
        """The arguments, the ids as a list."""
        return {
            "dropped_ids": list(self.dropped_ids),
            "consistency_weight": self.consistency_weight,
        }


def _dropped_places(rows: Mapping[str, Tensor]) -> Tensor:
    """Where in the batch dropped examples are, integers `(d,)`."""
    (places,) = ops.nonzero(rows["dropped"][:, 0] > 0.5)
    return places
