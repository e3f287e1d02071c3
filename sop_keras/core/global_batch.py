"""The batch of a training step, of which each replica holds a part."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras import ops


class GlobalBatch:
    """What a replica must know of the whole batch, so that k replicas equal one device.

    A strategy (`tf.distribute`) gives each replica a part of the batch; parts may be of
    different sizes, or empty. Gradients of the network are summed over the replicas by
    its optimizer. With this replica's loss a mean over its own part, that sum is the
    gradient of the whole batch's loss once each is multiplied by `share`: also what is
    the same on all replicas (L_B, the losses of regularizers) then counts once, because
    the shares add up to 1.

    Without a strategy the part is the whole, and nothing is computed.

    Args:
        part_size: the number of examples in this replica's part.

    Attributes:
        size: the number of examples in the whole batch, a float32 scalar.
        num_replicas: how many parts it has.
    """

    def __init__(self, part_size: Any):
        self._part_size = ops.cast(part_size, "float32")
        self._context = tf.distribute.get_replica_context()
        self.num_replicas = (
            1 if self._context is None else self._context.num_replicas_in_sync
        )
        self.size: Any = self._part_size
        if self.num_replicas > 1:
            self.size = self._sum(self._part_size)

    def share(self, loss: Any) -> Any:
        """The share of this replica in a loss that is a mean over its part."""
        if self.num_replicas == 1:
            return loss
        return loss * (self._part_size / self.size)

    def mean(self, values: Any) -> Any:
        """The mean over the examples of the whole batch; gradients pass through it.

        Args:
            values: this replica's, shape `(part_size, num_classes)`.

        Returns:
            Shape `(num_classes,)`, the same on all replicas.
        """
        if self.num_replicas == 1:
            return ops.mean(values, axis=0)
        return self._sum(ops.sum(values, axis=0)) / self.size

    def gather(self, values: Any) -> Any:
        """The values of all examples of the whole batch, on every replica.

        Args:
            values: this replica's, shape `(part_size, ...)`.

        Returns:
            Shape `(size, ...)`, in the order of the replicas.
        """
        if self.num_replicas == 1:
            return values
        # A copy of its own: what all replicas have as one tensor would be taken for
        # gathered already.
        values = tf.identity(values)
        devices = self._context.strategy.extended.worker_devices
        if len(devices) == 1:
            # TensorFlow 2.21 looks for the destination in the tensor's own device, and
            # with one replica a machine a graph leaves that open.
            with tf.device(devices[0]):
                values = tf.identity(values)
        return self._context.all_gather(values, axis=0)

    def places(self) -> Any:
        """Where this part's examples are in what `gather` gives, int32 `(part_size,)`.

        Parts come in the order of the replicas.
        """
        places = ops.arange(ops.cast(self._part_size, "int32"), dtype="int32")
        if self.num_replicas == 1:
            return places
        sizes = self.gather(ops.cast(ops.reshape(self._part_size, (1,)), "int32"))
        before = (
            ops.arange(self.num_replicas, dtype="int32")
            < self._context.replica_id_in_sync_group
        )
        return places + ops.sum(ops.where(before, sizes, 0))

    def gather_together(self, *values: Any) -> tuple[Any, ...]:
        """As `gather`, for several float32 tensors of shape `(part_size, k)` at once.

        One exchange takes less time than several of the same size together.
        """
        if self.num_replicas == 1:
            return values
        gathered = self.gather(ops.concatenate(values, axis=-1))
        widths = [value.shape[-1] for value in values]
        return tuple(tf.split(gathered, widths, axis=-1))

    def agree_on_overflow(self, gradients: list[Any]) -> list[Any]:
        """The gradients, all NaN on every replica if they are not finite on one.

        Keras' LossScaleOptimizer looks at one replica's gradients before it sums them,
        to skip the step where float16 overflowed (Keras 3.15).
        """
        if self.num_replicas == 1:
            return gradients
        gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
        finite = [
            tf.reduce_all(tf.math.is_finite(g)) for g in gradients if g is not None
        ]
        count = self._sum(tf.cast(tf.reduce_all(finite), "float32"))
        marker = tf.where(count < self.num_replicas, float("nan"), 0.0)
        return [None if g is None else g + tf.cast(marker, g.dtype) for g in gradients]

    def _sum(self, value: Any) -> Any:
        return self._context.all_reduce(tf.distribute.ReduceOp.SUM, value)
