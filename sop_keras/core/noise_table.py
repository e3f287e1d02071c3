"""The noise table: u and v of every training example."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from sop_keras.core import sparse_variable

_ROWS_AT_ONCE = 65_536


@keras.saving.register_keras_serializable(package="sop_keras")
class NoiseTable(keras.layers.Layer):
    """The variables u_i, v_i of all training examples, changed a few rows at a time.

    A step touches the rows of its batch alone: O(batch_size x num_classes) in time and
    extra memory, whatever `num_examples` is. Nothing that passes over the table (a
    dense gradient, a constraint, an average, weight decay) exists here. Its variables
    are not among the model's trainable variables, so that no optimizer takes them for
    weights of the network; they are saved with the model like every other variable.

    Under a tf.distribute strategy every replica holds the whole table, unless `device`
    says otherwise, and takes the steps of all replicas' rows: the copies stay equal.

    u is stored as one column: only the entry of u_i at the label occurs in s_i, and the
    label of an example is fixed.

    Args:
        num_examples: the number of rows, N.
        num_classes: the number of classes, K.
        init_std: u and v start as draws from N(0, init_std^2). Defaults to `1e-8`, the
            paper's.
        project: whether rows are projected to [-1, 1] after their step (Algorithm 1).
            Defaults to `True`.
        seed: an integer, or None for Keras' global seed. Defaults to `None`.
        device: `"cpu"` for one table in the host's memory, which all replicas of this
            process share: of a table larger than a GPU's memory, only the rows of the
            batch cross. Defaults to `None`: where the network is, on every replica.

    Attributes:
        u: float32 variable, shape `(num_examples, 1)`.
        v: float32 variable, shape `(num_examples, num_classes)`.

    Reference: paper, Section 2.1 and Algorithm 1.
    """

    def __init__(
        self,
        num_examples: int,
        num_classes: int,
        init_std: float = 1e-8,
        project: bool = True,
        seed: int | None = None,
        device: str | None = None,
        **kwargs: Any,
    ):
        # float32 under any dtype policy: 1e-8 squared is 0 in float16.
        super().__init__(**{**kwargs, "dtype": "float32", "trainable": False})
        self.num_examples = num_examples
        self.num_classes = num_classes
        self.init_std = init_std
        self.project = project
        self.seed = seed
        self.device = device
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Create u and v and draw their first values."""
        # One generator for both: the same seed twice would give u and v equal draws.
        seeds = keras.random.SeedGenerator(self.seed)
        self.u = self._add_table("u", 1)
        self.v = self._add_table("v", self.num_classes)
        for table in (self.u, self.v):
            # In pieces: the usual initializer would need several times the table.
            for start in range(0, self.num_examples, _ROWS_AT_ONCE):
                stop = min(start + _ROWS_AT_ONCE, self.num_examples)
                shape = (stop - start, table.shape[1])
                draws = keras.random.normal(shape, stddev=self.init_std, seed=seeds)
                sparse_variable.scatter(table, ops.arange(start, stop), draws)
        self.built = True

    def rows(self, indices: Any) -> tuple[Any, ...]:
        """The rows of u and v at `indices`: `(n, 1)` and `(n, num_classes)`."""
        return tuple(sparse_variable.gather(t, indices) for t in (self.u, self.v))

    def step(
        self,
        indices: Any,
        gradients: tuple[Any, Any],
        learning_rates: tuple[Any, Any],
    ) -> None:
        """One gradient step and projection on the rows of a batch.

        Gradients of equal ids are summed first: one step and one projection a row. An
        example whose gradient is not finite (the network overflowed on it) leaves its
        row alone: a NaN would stay in the table for ever, where the network's own
        optimizer recovers (Keras' LossScaleOptimizer skips such a step).

        Args:
            indices: integer ids, shape `(n,)`, all in `[0, num_examples)`: checked
                where the data come in, because XLA drops assertions and clamps gathers.
            gradients: the gradients for u and v, `(n, 1)` and `(n, num_classes)`.
            learning_rates: alpha_u and alpha_v.
        """
        is_finite = ops.isfinite(gradients[0])
        gradients = tuple(ops.where(is_finite, g, 0.0) for g in gradients)
        segments = first_positions(indices)
        for variable, row, gradient, learning_rate in zip(
            (self.u, self.v), self.rows(indices), gradients, learning_rates, strict=True
        ):
            gradient = _sum_segments(gradient, segments)
            row = row - learning_rate * gradient
            if self.project:
                row = ops.clip(row, -1.0, 1.0)
            sparse_variable.scatter(variable, indices, row)

    def _add_table(self, name: str, columns: int) -> keras.Variable:
        def add() -> keras.Variable:
            return self.add_weight(
                name=name,
                shape=(self.num_examples, columns),
                dtype="float32",
                initializer="zeros",
                trainable=False,
                autocast=False,
            )

        return add() if self.device is None else sparse_variable.on_host(add)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            **super().get_config(),
            "num_examples": self.num_examples,
            "num_classes": self.num_classes,
            "init_std": self.init_std,
            "project": self.project,
            "seed": self.seed,
            "device": self.device,
        }


def first_positions(indices: Any) -> Any:
    """A number for every distinct id: its first position among the sorted ids."""
    return ops.searchsorted(ops.sort(indices), indices)


def _sum_segments(values: Any, segments: Any) -> Any:
    """Replace every row by the sum of the rows in its segment."""
    sums = ops.segment_sum(values, segments, num_segments=ops.shape(values)[0])
    return ops.take(sums, segments, axis=0)
