"""A step of SOP in float64 loops, its gradients by central differences.

Slow and plain on purpose: no closed form, no vector expression and no function of
sop_keras. Values must keep away from kinks by more than `WIDTH`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EPSILON = 1e-4
WIDTH = 1e-6


@dataclass
class Batch:
    """One batch: the network's outputs and everything that belongs to its examples."""

    outputs: np.ndarray
    ids: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    variant: str = "paper"
    from_logits: bool = True
    balance_weight: float = 0.0
    prior: np.ndarray | None = None
    strong: np.ndarray | None = None
    consistency_weight: float = 0.0

    def losses(self, outputs, u, v, predictions):
        """Means over the batch: L_CE, L_MSE, L_B. u, v: rows, one an example."""
        size, classes = outputs.shape
        ce = mse = 0.0
        mean = np.zeros(classes)
        for i in range(size):
            label = self.labels[i]
            p = self._probabilities(outputs[i])
            s, w = np.zeros(classes), np.zeros(classes)
            for k in range(classes):
                s[k] = u[i] ** 2 if k == label else -(v[i, k] ** 2)
                if self.variant == "reference":
                    s[k] = max(min(s[k], 1.0), -1.0)
                w[k] = max(p[k] + s[k], EPSILON)
            q = w / sum(w)
            if self.variant == "reference":
                q = np.array([min(max(entry, EPSILON), 1.0) for entry in q])
            ce += -np.log(q[label]) * self.weights[i] / size
            for k in range(classes):
                difference = (k == predictions[i]) + s[k] - (k == label)
                mse += difference**2 * self.weights[i] / size
            mean += (q if self.variant == "reference" else p) / size
        balance = 0.0
        for k in range(classes):
            floor = EPSILON if self.variant == "reference" else 1e-30
            balance -= self.prior[k] * np.log(max(mean[k], floor))
        return ce, mse, balance

    def consistency(self, strong):
        """Mean over the batch of KL(p(weak) || p(strong)); `outputs` are the weak."""
        total = 0.0
        for i in range(len(strong)):
            p = self._probabilities(self.outputs[i])
            q = self._probabilities(strong[i])
            for k in range(len(p)):
                divergence = p[k] * (np.log(p[k]) - np.log(q[k]))
                total += divergence * self.weights[i] / len(strong)
        return total

    def _probabilities(self, outputs):
        if not self.from_logits:
            return outputs
        exponentials = [np.exp(output) for output in outputs]
        return np.array(exponentials) / sum(exponentials)


def step(batch: Batch, u: np.ndarray, v: np.ndarray, u_rate: float, v_rate: float):
    """Step the tables u `(N, 1)` and v `(N, K)` in place.

    Returns:
        L_CE, L_MSE, L_B, L_C before the step, and the gradient of the network's
        objective L_CE + lambda_B L_B + lambda_C L_C for the outputs: of the weak view,
        then of the strong one.
    """
    rows = u[batch.ids, 0].copy(), v[batch.ids].copy()
    predictions = [int(np.argmax(outputs)) for outputs in batch.outputs]
    if batch.prior is None:
        batch.prior = np.full(v.shape[1], 1 / v.shape[1])

    def network(outputs):
        ce, _, balance = batch.losses(outputs, *rows, predictions)
        return ce + batch.balance_weight * balance

    def for_u(row):
        ce, mse, balance = batch.losses(batch.outputs, row, rows[1], predictions)
        if batch.variant == "paper":
            return ce
        return ce + mse + batch.balance_weight * balance

    def for_v(row):
        return batch.losses(batch.outputs, rows[0], row, predictions)[1]

    consistency, gradient = 0.0, differences(network, batch.outputs)
    if batch.strong is not None:
        consistency = batch.consistency(batch.strong)
        # p(weak) is the target: L_C has no gradient for it.
        of_strong = differences(batch.consistency, batch.strong)
        gradient = np.concatenate([gradient, batch.consistency_weight * of_strong])
    result = *batch.losses(batch.outputs, *rows, predictions), consistency, gradient
    by_u, by_v = differences(for_u, rows[0]), differences(for_v, rows[1])
    total_u, total_v = np.zeros_like(u), np.zeros_like(v)
    for i, example in enumerate(batch.ids):
        total_u[example, 0] += by_u[i]
        total_v[example] += by_v[i]
    for example in set(batch.ids.tolist()):
        u[example] -= u_rate * total_u[example]
        v[example] -= v_rate * total_v[example]
        if batch.variant == "paper":
            u[example] = np.clip(u[example], -1, 1)
            v[example] = np.clip(v[example], -1, 1)
    return result


def differences(function, values: np.ndarray) -> np.ndarray:
    """The gradient of a scalar function by central differences."""
    gradient = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        ends = []
        for sign in (1, -1):
            moved = values.copy()
            moved[place] += sign * WIDTH
            ends.append(function(moved))
        gradient[place] = (ends[0] - ends[1]) / (2 * WIDTH)
    return gradient
