"""How a run is computed: what may differ when it is resumed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from sop_keras.core.strategies import STRATEGIES

_TABLE_DEVICES = (None, "cpu")


@dataclass(frozen=True)
class Execution:
    """How a run is computed, not what: an `Experiment` says that.

    A run may be resumed under other settings of these. They change the last digits of
    its numbers at most.

    Args:
        strategy: `"none"` for one device, `"mirrored"` for all GPUs of a machine, or
            `"multi_worker"` for several machines. Defaults to `"none"`.
        table_device: where u and v are: `"cpu"` for the machine's memory, for tables
            larger than a GPU's. Defaults to `None`: with the network.
        jit_compile: whether XLA compiles the training step. Defaults to `None`: Keras
            chooses.
        steps_per_execution: batches in each call of the compiled step, at least 1. What
            is done after a batch (checkpoints, checks of the loss) is done after so
            many. Defaults to `1`.
        checkpoint_minutes: how long after a checkpoint the next one is written inside
            an epoch. Defaults to `30.0`; with `0`, only after each epoch.
        noise_monitor: whether TensorBoard is shown what SOP and SOP+ find out about the
            labels, after each epoch (`sop_keras.monitoring.NoiseMonitor`). Defaults to
            `True`.

    Raises:
        ValueError: for a value out of range.
    """

    strategy: str = "none"
    table_device: str | None = None
    jit_compile: bool | None = None
    steps_per_execution: int = 1
    checkpoint_minutes: float = 30.0
    noise_monitor: bool = True

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(
                f"`strategy` must be one of {', '.join(STRATEGIES)}. Received: "
                f"strategy={self.strategy!r}."
            )
        if self.table_device not in _TABLE_DEVICES:
            raise ValueError(
                '`table_device` must be "cpu", or None for the network\'s device. '
                f"Received: table_device={self.table_device!r}."
            )
        if self.steps_per_execution < 1:
            raise ValueError(
                "`steps_per_execution` must be at least 1. Received: "
                f"steps_per_execution={self.steps_per_execution}."
            )
        if not (
            math.isfinite(self.checkpoint_minutes) and self.checkpoint_minutes >= 0
        ):
            raise ValueError(
                "`checkpoint_minutes` must be a finite number of at least 0, and 0 for "
                "checkpoints after whole epochs alone. Received: "
                f"checkpoint_minutes={self.checkpoint_minutes}."
            )

    def settings(self) -> dict[str, Any]:
        """The settings as JSON knows them."""
        return asdict(self)
