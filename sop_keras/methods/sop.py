"""SOP: sparse over-parameterisation (paper, Algorithm 1).

Its equations are `sop_objective`, the rates of u and v that set themselves `sop_gate`.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core.batch import Batch, Outputs, Tensor
from sop_keras.core.example_tables import ExampleTables
from sop_keras.core.method import Method
from sop_keras.core.probabilities import log_probabilities
from sop_keras.core.table import Table
from sop_keras.label_issues.doubts import Doubt, Evidence
from sop_keras.methods import (
    sop_doubts,
    sop_gate,
    sop_regularizers,
    sop_scores,
    sop_visits,
)
from sop_keras.methods import sop_objective as objective
from sop_keras.methods.sop_record import V_LOSSES, VARIANTS, check_v_loss
from sop_keras.methods.sop_scan import SOPScan
from sop_keras.validation import check_choice_of, check_number

_FIRST_STD = 1e-8  # the paper's


class NoiseTable(ExampleTables):
    """The tables u and v."""


@keras.saving.register_keras_serializable(package="sop_keras")
@dataclass(frozen=True)
class SOP(Method):
    """SOP, and with positive weights SOP+ (paper, Algorithm 1; Appendix A.3).

    Beside the network f, every training example i owns u_i and v_i; the estimated noise
    s_i = u_i*u_i*y_i - v_i*v_i*(1-y_i) absorbs the error of its label, and implicit
    regularisation keeps it sparse. L_CE trains the network and u, L_MSE trains v.

    u is stored as one column: only the entry of u_i at the label occurs in s_i, and the
    label of an example is fixed.

    Args:
        u_learning_rate: alpha_u: a number, constant through training, a
            LearningRateSchedule or a plain SGD. Defaults to `"auto"`: u grows by what
            the network knows (`sop_gate`), in trainings of any length.
        v_learning_rate: alpha_v, likewise.
        init_std: u and v start as draws from N(0, init_std^2), or at init_std itself
            where their rate is `"auto"`. Defaults to `"auto"`: the paper's 1e-8. Where
            the rates are numbers, a short training needs more: see `suggest_uv_rates`.
        variant: `"paper"` follows the published text, `"reference"` the authors' code
            where the two differ. Defaults to `"paper"`.
        consistency_weight: lambda_C of SOP+ (0.9 in the paper). If positive, training
            takes pairs of views. Defaults to `0.0`.
        balance_weight: lambda_B of SOP+ (0.1 in the paper), the weight of the
            class-balance loss. Defaults to `0.0`.
        class_prior: the prior of the class-balance loss: `num_classes` numbers that sum
            to 1, `"uniform"`, or `"empirical"`, the frequencies of the given labels
            (without those of weight 0). Every `fit` on arrays counts its labels anew.
            Other training goes on with the last count, which is saved with the weights,
            and needs one; for streams, see `empirical_class_prior`. Defaults to `None`:
            uniform.
        v_loss: what trains v: `"mse"`, L_MSE of the one-hot prediction; `"mse_of_p"`,
            of p in its place (footnote 2); or `"ce"`, L_CE (A.1). The latter two are
            not the paper's method, but show why it is as it is, and need a number for
            alpha_v. Defaults to `"mse"`.

    Raises:
        ValueError: for a number or a name that cannot be.

    Reference: Liu, Zhu, Qu, You, "Robust Training under Label Noise by
    Over-parameterization", ICML 2022.
    """

    u_learning_rate: Any = "auto"
    v_learning_rate: Any = "auto"
    init_std: float | str = "auto"
    variant: str = "paper"
    consistency_weight: float = 0.0
    balance_weight: float = 0.0
    class_prior: Any = None
    v_loss: str = "mse"

    finds_label_issues = True
    tables_kind = NoiseTable
    views_help = (
        "Training takes two views where consistency_weight is set (lambda_C, 0.9 in "
        "the paper); evaluation and prediction take one."
    )
    pairs_help = (
        "With a consistency_weight, every example is trained on in two views; with "
        "consistency_weight=0, one is enough."
    )

    def __post_init__(self) -> None:
        for name in ("consistency_weight", "balance_weight"):
            number = check_number(name, getattr(self, name))
            object.__setattr__(self, name, number)
        for name in ("u_learning_rate", "v_learning_rate", "init_std"):
            value = getattr(self, name)
            if isinstance(value, str):
                check_choice_of(name, value, ("auto",))
            elif isinstance(value, numbers.Real) or name == "init_std":
                object.__setattr__(self, name, check_number(name, value))
        check_choice_of("variant", self.variant, VARIANTS)
        check_choice_of("v_loss", self.v_loss, V_LOSSES)
        sets_itself = isinstance(self.v_learning_rate, str)
        check_v_loss(self.v_loss, sets_itself, self.variant)
        prior = sop_regularizers.storable_class_prior(self.class_prior)
        object.__setattr__(self, "class_prior", prior)

    @property
    def first_std(self) -> float:
        """`init_std` as a number."""
        return _FIRST_STD if isinstance(self.init_std, str) else self.init_std

    @property
    def num_views(self) -> int:
        """L_C alone sees the second one."""
        return 2 if self.consistency_weight else 1

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """L_CE and L_MSE, and of SOP+ those with a weight."""
        parts = ["ce_loss", "mse_loss"]
        parts += ["consistency_loss"] * (self.consistency_weight > 0)
        parts += ["balance_loss"] * (self.balance_weight > 0)
        return tuple(parts)

    @property
    def row_rates(self) -> Mapping[str, Any]:
        """alpha_u and alpha_v."""
        return {"u": self.u_learning_rate, "v": self.v_learning_rate}

    def tables(self, num_classes: int) -> tuple[Table, ...]:
        """U and v."""
        return (
            Table("u", 1, std=self.first_std),
            Table(
                "v",
                num_classes,
                std=self.first_std,
                is_sparse=self.v_loss == "mse",  # else others than predicted ones grow
                shrinks_by=4.0,  # eq. 7, of a class that is not predicted
            ),
        )

    def check(self, num_classes: int) -> None:
        """The class prior must have an entry a class."""
        sop_regularizers.check_class_prior(self.class_prior, num_classes)

    def state(self, num_classes: int) -> Mapping[str, np.ndarray]:
        """The prior of L_B where labels are counted for it, and the gate of rates.

        The prior is all 0 until labels are counted.
        """
        state = {}
        if self.class_prior == "empirical":
            state["class_prior"] = np.zeros(num_classes, np.float32)
        if "auto" in (
            rate for rate in self.row_rates.values() if isinstance(rate, str)
        ):
            state |= sop_gate.first_state(num_classes)
        return state

    def begin(
        self,
        labels: np.ndarray | None,
        num_classes: int,
        state: Mapping[str, np.ndarray],
        num_seen: Callable[[], int] | None = None,
    ) -> Mapping[str, np.ndarray]:
        """Count the labels for L_B, and what the gate has seen of the examples."""
        new = sop_visits.seen_before(state, num_seen)
        if not self.balance_weight or "class_prior" not in state:
            return new
        prior = state["class_prior"]
        return new | sop_regularizers.counted_prior(labels, num_classes, prior)

    def after_reset(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Labels that were wrong may be right now."""
        return sop_gate.after_reset(state)

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_CE + lambda_C L_C + lambda_B L_B; v and u are constants in it."""
        labels = batch.labels
        noise = objective.estimated_noise(rows["u"], rows["v"], labels, self.variant)
        observed = objective.observed_probabilities(outputs.probs, noise, self.variant)
        if self._set_itself(batch):
            log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
            losses = objective.label_loss(log_probs, noise, labels, self.first_std)
        else:
            losses = objective.cross_entropy_loss(observed, labels)
        parts = {"ce_loss": batch.mean_loss(losses)}
        loss = parts["ce_loss"]
        if self.consistency_weight:
            weak, strong = outputs.views
            consistency = sop_regularizers.consistency_loss(
                weak, strong, outputs.from_logits
            )
            parts["consistency_loss"] = batch.mean_loss(consistency)
            loss = loss + self.consistency_weight * parts["consistency_loss"]
        if self.balance_weight:
            parts["balance_loss"] = sop_regularizers.balance_loss(
                outputs.probs, observed, self._prior(batch), self.variant, batch.mean
            )
            loss = loss + self.balance_weight * parts["balance_loss"]
        return loss, parts

    def updated_state(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """What the gate of adaptive rates has seen."""
        if not self._set_itself(batch):
            return {}
        counts = sop_gate.which_count(outputs.probs, batch.weights)
        probs = ops.where(counts > 0, outputs.probs, 0.0)
        labels = batch.was_given() if batch.was_given else batch.labels
        said = sop_gate.what_is_said(probs, outputs.predictions, labels)
        is_new = sop_visits.which_are_new(batch)
        whole = batch.gather(ops.concatenate([said, counts, is_new], axis=-1))
        return sop_gate.updated_state(
            self._gate_state(batch),
            said=whole[:, :-2],
            counts=whole[:, -2],
            num_new=sop_visits.number_of(whole[:, -1], batch.gather(batch.ids)),
            mean_probs=batch.mean(probs),
            num_examples=batch.num_examples,
        )

    def row_steps(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """The gradients of L_CE for u and of L_MSE for v (eqs. 6, 7), of the mean.

        Where a rate is adaptive, by how much the row is to grow.
        """
        set_itself = self._set_itself(batch)
        steps = self._gated_steps(outputs, rows, batch) if set_itself else {}
        steps = {name: steps[name] for name in set_itself}
        if len(set_itself) == len(self.row_rates):
            return steps
        return {**self._gradients(outputs, rows, batch), **steps}

    def _gradients(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        u, v, labels = rows["u"], rows["v"], batch.labels
        noise = objective.estimated_noise(u, v, labels, self.variant)
        weights = 1.0 if batch.weights is None else batch.weights
        by_u = objective.u_gradient(
            u,
            outputs.probs,
            noise,
            labels,
            outputs.predictions,
            self.variant,
            balance_weight=self.balance_weight,
            class_prior=self._prior(batch),
            sample_weight=weights,
            mean=batch.mean,
        )
        if self.v_loss == "ce":
            by_v = objective.v_gradient_of_cross_entropy(
                v, outputs.probs, noise, labels, weights
            )
        else:
            by_v = objective.v_gradient(
                v, labels, self._explained(outputs), self.variant, weights
            )
        return {"u": by_u / batch.size, "v": by_v / batch.size}

    def _explained(self, outputs: Outputs) -> Tensor:
        """What L_MSE has s explain the label from (footnote 2)."""
        return outputs.probs if self.v_loss == "mse_of_p" else outputs.predictions

    def row_losses(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """L_MSE, which trains v (eq. 7)."""
        noise = objective.estimated_noise(
            rows["u"], rows["v"], batch.labels, self.variant
        )
        mse = objective.squared_error_loss(
            self._explained(outputs), noise, batch.labels
        )
        return {"mse_loss": batch.mean_loss(mse)}

    def updated_rows(
        self,
        rows: Mapping[str, Tensor],
        steps: Mapping[str, Tensor],
        rates: Mapping[str, Tensor],
    ) -> Mapping[str, Tensor]:
        """u, v <- P(u - alpha_u grad L_CE), P(v - alpha_v grad L_MSE) (Algorithm 1).

        P projects to [-1, 1]; the reference's clamps stand in its losses instead. Where
        a rate is adaptive, rows grow by their steps.
        """
        new = {name: rows[name] - rates[name] * steps[name] for name in rates}
        if self.variant == "paper":
            new = {name: ops.clip(row, -1.0, 1.0) for name, row in new.items()}
        for name in steps.keys() - rates.keys():
            new[name] = sop_gate.grown(rows[name], steps[name], self.first_std)
        return new

    def scores(
        self,
        log_probs: np.ndarray,
        rows: Mapping[str, np.ndarray],
        labels: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """By s and the network's prediction (`sop_scores`)."""
        noise = self.estimated_noise(rows, labels)
        return sop_scores.score_labels(log_probs, noise, labels)

    def doubts(self, evidence: Evidence) -> tuple[Doubt, ...]:
        """Those of any method, and where u and v grew too late or too early."""
        return sop_doubts.sop_doubts(evidence, bool(evidence.figures))

    def figures(self, state: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The gate of adaptive rates, where there has been one."""
        return sop_gate.figures(state)

    def class_figures(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the gate believes of a class, 0 where the network has not learnt it."""
        return sop_gate.class_figures(state)

    def scan(self, labels: np.ndarray, num_classes: int) -> SOPScan:
        """What u and v say of all labels."""
        return SOPScan(labels, num_classes, self.first_std, self.estimated_noise)

    def estimated_noise(
        self, rows: Mapping[str, np.ndarray], labels: np.ndarray
    ) -> np.ndarray:
        """The estimated noise s of rows, `(n, num_classes)`, for labels `(n,)`."""
        one_hot = ops.one_hot(labels, rows["v"].shape[1], dtype="float32")
        noise = objective.estimated_noise(rows["u"], rows["v"], one_hot, self.variant)
        return ops.convert_to_numpy(noise)

    def _set_itself(self, batch: Batch) -> list[str]:
        return [name for name in self.row_rates if name not in batch.rates]

    def _gate_state(self, batch: Batch) -> dict[str, Tensor]:
        names = sop_gate.first_state(1)
        return {name: ops.convert_to_tensor(batch.state[name]) for name in names}

    def _gated_steps(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """By how much u, and v at the predicted class, grow; or all of a row shrinks.

        u stops where s explains the label: where its gradient ends, w_c = S.
        """
        u, v, labels, probs = rows["u"], rows["v"], batch.labels, outputs.probs
        given = ops.sum(probs * labels, axis=-1, keepdims=True)
        gate = sop_gate.gate_of(self._gate_state(batch))
        step = sop_gate.steps(gate, given, labels, outputs.predictions)
        if batch.weights is not None:
            step = step * ops.cast(batch.weights > 0, "float32")
        up, down = ops.maximum(step, 0.0), ops.minimum(step, 0.0)
        noise = objective.estimated_noise(u, v, labels, "paper")
        log_probs = log_probabilities(outputs.views[0], outputs.from_logits)
        left = objective.unexplained_share(log_probs, noise, labels, self.first_std)
        at_prediction = outputs.predictions * (1.0 - v * v)
        return {
            "u": up * left + down,
            "v": (up * at_prediction + down) * (1.0 - labels),
        }

    def _prior(self, batch: Batch) -> Tensor:
        if "class_prior" in batch.state:
            return batch.state["class_prior"]
        num_classes = batch.labels.shape[1]
        return sop_regularizers.check_class_prior(self.class_prior, num_classes)
