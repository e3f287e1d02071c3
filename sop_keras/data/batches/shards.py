"""Which parts of every batch an input pipeline reads."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class BatchParts:
    """The parts of every batch that a pipeline reads: `count` of `of` equal ones.

    Where replicas train in step, each sees a part of its own of every global batch,
    and the pipeline of a worker gives one part to each of the worker's replicas, in
    their order. Only the parts are read, so that workers do not do each other's work.

    A batch of n examples is cut as `np.array_split` does it: parts are contiguous, and
    the first `n % of` have one example more than the others. Where n is less than `of`,
    the last ones are empty. They are given all the same: all replicas have to make the
    same number of steps.

        strategy.distribute_datasets_from_function(
            lambda context: training_batches(
                source.train,
                source,
                batch_size=128,
                epochs=120,
                seed=0,
                parts=BatchParts.of_pipeline(context),
            )
        )

    Args:
        first: the first of the parts, in `[0, of - count]`. Defaults to `0`.
        count: how many of them, at least 1. Defaults to `1`.
        of: into how many parts a batch is cut, at least 1. Defaults to `1`: the batch
            is left whole.

    Raises:
        ValueError: if these are not integers, or there are no such parts.
    """

    first: int = 0
    count: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        try:
            first, count, of = map(operator.index, (self.first, self.count, self.of))
        except TypeError:
            first, count, of = -1, 0, 0
        if not (first >= 0 and count >= 1 and first + count <= of):
            raise ValueError(
                "The parts of a batch must be integers with `first` at least 0, `count`"
                " at least 1 and `first + count` at most `of`. Received: "
                f"first={self.first!r}, count={self.count!r}, of={self.of!r}. Parts "
                "count from 0, as replicas do."
            )

    @classmethod
    def of_pipeline(cls, context: tf.distribute.InputContext) -> BatchParts:
        """The parts of the replicas that an input pipeline feeds.

        Args:
            context: what `strategy.distribute_datasets_from_function` calls its
                function with.

        Raises:
            ValueError: if the pipelines do not feed the same number of replicas each.
        """
        replicas, pipelines = context.num_replicas_in_sync, context.num_input_pipelines
        if replicas % pipelines:
            raise ValueError(
                "Every input pipeline must feed the same number of replicas. Received: "
                f"num_replicas_in_sync={replicas}, num_input_pipelines={pipelines}. "
                "Give every worker the same number of devices."
            )
        count = replicas // pipelines
        return cls(context.input_pipeline_id * count, count, replicas)

    @property
    def numbers(self) -> range:
        """The numbers of the parts that are read, in their order."""
        return range(self.first, self.first + self.count)

    def bounds(self, size: Any, part: Any) -> tuple[Any, Any]:
        """Where a part of a batch begins, and before which example it ends.

        Args:
            size: how many examples the batch has, not negative. An integer, or a tensor
                of integers.
            part: the number of the part, in `[0, of)`, likewise.

        Returns:
            Two integers or tensors in `[0, size]`.
        """
        length, num_longer = size // self.of, size % self.of

        def begin(part: Any) -> Any:
            # min(part, num_longer), in arithmetic that tensors have too.
            longer_before = (part + num_longer - abs(part - num_longer)) // 2
            return part * length + longer_before

        return begin(part), begin(part + 1)


WHOLE_BATCHES = BatchParts()
"""One pipeline that reads all of every batch."""
