"""SOP: sparse over-parameterisation (paper, Algorithm 1 and eqs. 4 to 8).

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

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core.example_tables import ExampleTables, Table
from sop_keras.core.method import Batch, Method, Outputs, Tensor
from sop_keras.label_issues.doubts import Doubt, Evidence
from sop_keras.methods import sop_doubts, sop_regularizers, sop_scores
from sop_keras.methods.sop_record import VARIANTS
from sop_keras.methods.sop_regularizers import EPSILON, mean_over_batch
from sop_keras.methods.sop_scan import SOPScan
from sop_keras.validation import check_choice_of, check_number


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
        u_learning_rate: alpha_u, constant through training: a number, a
            LearningRateSchedule or a plain SGD. Defaults to `10.0`.
        v_learning_rate: alpha_v, likewise. Defaults to `10.0`.
        init_std: u and v start as draws from N(0, init_std^2). Defaults to `1e-8`. A
            short training needs more: see `suggest_uv_rates`.
        variant: `"paper"` follows the published text, `"reference"` the authors' code
            where the two differ. Defaults to `"paper"`.
        consistency_weight: lambda_C of SOP+ (0.9 in the paper). If positive, training
            takes pairs of views. Defaults to `0.0`.
        balance_weight: lambda_B of SOP+ (0.1 in the paper), the weight of the
            class-balance loss. Defaults to `0.0`.
        class_prior: the prior of the class-balance loss: `num_classes` numbers that sum
            to 1, `"uniform"`, or `"empirical"`, the frequencies of the given labels.
            Every `fit` on arrays counts its labels anew. Other training goes on with
            the last count, which is saved with the weights, and needs one; for streams,
            see `empirical_class_prior`. Defaults to `None`: uniform.

    Raises:
        ValueError: for a number or a name that cannot be.

    Reference: Liu, Zhu, Qu, You, "Robust Training under Label Noise by
    Over-parameterization", ICML 2022.
    """

    u_learning_rate: Any = 10.0
    v_learning_rate: Any = 10.0
    init_std: float = 1e-8
    variant: str = "paper"
    consistency_weight: float = 0.0
    balance_weight: float = 0.0
    class_prior: Any = None

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
        for name in ("init_std", "consistency_weight", "balance_weight"):
            number = check_number(name, getattr(self, name))
            object.__setattr__(self, name, number)
        for name in ("u_learning_rate", "v_learning_rate"):
            if isinstance(rate := getattr(self, name), numbers.Real):
                object.__setattr__(self, name, check_number(name, rate))
        check_choice_of("variant", self.variant, VARIANTS)
        if isinstance(self.class_prior, np.ndarray):  # which a file cannot hold
            object.__setattr__(self, "class_prior", self.class_prior.tolist())

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
            Table("u", 1, std=self.init_std),
            Table("v", num_classes, std=self.init_std),
        )

    def check(self, num_classes: int) -> None:
        """The class prior must have an entry a class."""
        sop_regularizers.check_class_prior(self.class_prior, num_classes)

    def state(self, num_classes: int) -> Mapping[str, np.ndarray]:
        """The prior of L_B where labels are counted for it: all 0 until they are."""
        if self.class_prior != "empirical":
            return {}
        return {"class_prior": np.zeros(num_classes, np.float32)}

    def begin(
        self,
        labels: np.ndarray | None,
        num_classes: int,
        state: Mapping[str, np.ndarray],
    ) -> Mapping[str, np.ndarray]:
        """Count the labels for L_B."""
        if not self.balance_weight or not state:
            return {}
        return sop_regularizers.counted_prior(labels, num_classes, state["class_prior"])

    def loss(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_CE + lambda_C L_C + lambda_B L_B; v and u are constants in it."""
        labels = batch.labels
        noise = estimated_noise(rows["u"], rows["v"], labels, self.variant)
        observed = observed_probabilities(outputs.probs, noise, self.variant)
        parts = {"ce_loss": batch.mean_loss(cross_entropy_loss(observed, labels))}
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

    def row_steps(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """The gradients of L_CE for u and of L_MSE for v (eqs. 6, 7), of the mean."""
        u, v, labels = rows["u"], rows["v"], batch.labels
        noise = estimated_noise(u, v, labels, self.variant)
        weights = 1.0 if batch.weights is None else batch.weights
        by_u = u_gradient(
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
        by_v = v_gradient(v, labels, outputs.predictions, self.variant, weights)
        return {"u": by_u / batch.size, "v": by_v / batch.size}

    def row_losses(
        self, outputs: Outputs, rows: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """L_MSE, which trains v (eq. 7)."""
        noise = estimated_noise(rows["u"], rows["v"], batch.labels, self.variant)
        mse = squared_error_loss(outputs.predictions, noise, batch.labels)
        return {"mse_loss": batch.mean_loss(mse)}

    def updated_rows(
        self,
        rows: Mapping[str, Tensor],
        steps: Mapping[str, Tensor],
        rates: Mapping[str, Tensor],
    ) -> Mapping[str, Tensor]:
        """u, v <- P(u - alpha_u grad L_CE), P(v - alpha_v grad L_MSE) (Algorithm 1).

        P projects to [-1, 1]; the reference's clamps stand in its losses instead.
        """
        new = {name: rows[name] - rates[name] * steps[name] for name in ("u", "v")}
        if self.variant == "paper":
            new = {name: ops.clip(row, -1.0, 1.0) for name, row in new.items()}
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
        return sop_doubts.sop_doubts(evidence)

    def scan(self, labels: np.ndarray, num_classes: int) -> SOPScan:
        """What u and v say of all labels."""
        return SOPScan(labels, num_classes, self.init_std, self.estimated_noise)

    def estimated_noise(
        self, rows: Mapping[str, np.ndarray], labels: np.ndarray
    ) -> np.ndarray:
        """The estimated noise s of rows, `(n, num_classes)`, for labels `(n,)`."""
        one_hot = ops.one_hot(labels, rows["v"].shape[1], dtype="float32")
        noise = estimated_noise(rows["u"], rows["v"], one_hot, self.variant)
        return ops.convert_to_numpy(noise)

    def _prior(self, batch: Batch) -> Tensor:
        if "class_prior" in batch.state:
            return batch.state["class_prior"]
        num_classes = batch.labels.shape[1]
        return sop_regularizers.check_class_prior(self.class_prior, num_classes)


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


def _indicator(condition: Tensor) -> Tensor:
    return ops.cast(condition, "float32")
