"""How a run is computed: what may differ when it is resumed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sop_keras.core.strategy_names import STRATEGIES
from sop_keras.settings import check_settings, setting


@dataclass(frozen=True)
class Execution:
    """How a run is computed, not what: an `Experiment` says that.

    A run may be resumed under other settings of these. They change the last digits of
    its numbers at most. The fields say what they are.

    Raises:
        ValueError: for a value that its field does not allow.
    """

    strategy: str = setting(
        "none",
        "none: on one device; mirrored: on all GPUs of this machine, or its logical "
        "CPUs; multi_worker: on the machines that TF_CONFIG names, this command on "
        "each of them. batch_size is that of all devices together.",
        choices=STRATEGIES,
    )
    table_device: str | None = setting(
        None,
        "cpu: the rows of examples in the host's memory, for tables larger than a "
        "GPU's; disk: in files in the run's folder, for tables larger than any memory, "
        "on one device; beside the network if unset.",
        choices=("cpu", "disk"),
    )
    jit_compile: bool | None = setting(
        None,
        "Whether XLA compiles the training step, which needs --nodeterministic, one "
        "device and the tables beside the network. Keras chooses if unset.",
    )
    steps_per_execution: int = setting(
        1,
        "Batches in each call of the compiled step. What is done after a batch "
        "(checkpoints, checks of the loss) is done after so many.",
        least=1,
    )
    checkpoint_minutes: float = setting(
        30.0,
        "How long after a checkpoint the next one is written inside an epoch; 0: after "
        "whole epochs alone.",
        least=0,
    )
    noise_monitor: bool = setting(
        True,
        "Whether TensorBoard is shown what the method finds out about the labels, "
        "after each epoch.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def settings(self) -> dict[str, Any]:
        """The settings as JSON knows them."""
        return asdict(self)
