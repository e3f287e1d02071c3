"""Which shards of every batch an input pipeline reads."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class BatchShards:
    """The shards of every batch that a pipeline reads: `count` of `of` equal ones.

    Where replicas train in step, each sees a shard of its own of every global batch,
    and the pipeline of a worker gives one shard to each of the worker's replicas, in
    their order. Only these are read, so that workers do not do each other's work.

    A batch of n examples is cut as `np.array_split` does it: shards are contiguous, and
    the first `n % of` have one example more than the others. Where n is less than `of`,
    the last ones are empty. They are given all the same: all replicas have to make the
    same number of steps.

        strategy.distribute_datasets_from_function(
            lambda context: training_batches(
                dataset.train,
                dataset,
                batch_size=128,
                epochs=120,
                seed=0,
                shards=BatchShards.of_pipeline(context),
            )
        )

    Args:
        first: the first of the shards, in `[0, of - count]`. Defaults to `0`.
        count: how many of them, at least 1. Defaults to `1`.
        of: into how many shards a batch is cut, at least 1. Defaults to `1`: the batch
            is left whole.

    Raises:
        ValueError: if these are not integers, or there are no such shards.
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
                "The shards of a batch must be integers with `first` at least 0, "
                "`count` at least 1 and `first + count` at most `of`. Received: "
                f"first={self.first!r}, count={self.count!r}, of={self.of!r}. Shards "
                "count from 0, as replicas do."
            )

    @classmethod
    def of_pipeline(cls, context: tf.distribute.InputContext) -> BatchShards:
        """The shards of the replicas that an input pipeline feeds.

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
        """The numbers of the shards that are read, in their order."""
        return range(self.first, self.first + self.count)

    def bounds(self, size: Any, shard: Any) -> tuple[Any, Any]:
        """Where a shard of a batch begins, and before which example it ends.

        Args:
            size: how many examples the batch has, not negative. An integer, or a tensor
                of integers.
            shard: the number of the shard, in `[0, of)`, likewise.

        Returns:
            Two integers or tensors in `[0, size]`.
        """
        length, num_longer = size // self.of, size % self.of

        def begin(shard: Any) -> Any:
            # min(shard, num_longer), in arithmetic that tensors have too.
            longer_before = (shard + num_longer - abs(shard - num_longer)) // 2
            return shard * length + longer_before

        return begin(shard), begin(shard + 1)


WHOLE_BATCHES = BatchShards()
"""One pipeline that reads all of every batch."""
