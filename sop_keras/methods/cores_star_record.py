"""CORES* as the launcher knows it: after a run of CORES2, its phase 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.augment.names import AUGMENTATIONS
from sop_keras.methods.cores2_record import PAPER, CORES2Settings
from sop_keras.methods.cores2_record import RECORD as SIEVE
from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting


@dataclass(frozen=True)
class CORESStarSettings(MethodSettings):
    """Settings of CORES*; its first run, of CORES2, is as published."""

    consistency_weight: float = setting(
        0.4,
        "Of CORES*, the ratio: the weight of what the sieve dropped.",
        title="Ratio",
        least=0,
    )
    strong_augment: str = setting(
        "autoaugment",
        "The augmentation of the second view, which labels are learnt of, too.",
        title="Second view",
        choices=tuple(sorted(AUGMENTATIONS)),
    )
    sieve_epochs: int = setting(
        100,
        "Epochs of the first run, of CORES2, that says which examples to drop; its "
        "rate falls to a tenth after half of them.",
        title="Epochs of CORES2",
        least=2,
    )

    @property
    def second_view(self) -> str | None:
        """The strong augmentation."""
        return self.strong_augment

    def first_run(self) -> Mapping[str, Any]:
        """CORES2 as published: batches of 64, plain SGD."""
        return {
            "method": CORES2Settings(),
            "epochs": self.sieve_epochs,
            "batch_size": 64,
            "optimizer": "sgd",
            "late_beta1": None,
            "learning_rate": 0.1,
            "momentum": 0.0,
            "l2": 0.0,
            "schedule": "step",
            "decay_epochs": (self.sieve_epochs // 2,),
            "decay_factor": 0.1,
            "final_learning_rate": 0.0,
            "warmup_epochs": 0,
            "warmup_learning_rate": 0.0,
            "warmup_share": 0.0,
            "offset_rate_factor": 1.0,
            "weight_average": "none",
            "nesterov": False,
            "clip_norm": 0.0,
            "gradient_accumulation_steps": 1,
        }

    def arguments_of_first(self, model: Any) -> dict[str, Any]:
        """What it drops."""
        ids = SIEVE.load().dropped_ids(model)
        return {"dropped_ids": tuple(ids.tolist())}

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """Those of `CORESStar` but for the ids."""
        return {"consistency_weight": self.consistency_weight}


RECORD = MethodRecord(
    name="cores_star",
    title="CORES*",
    paper=f"{PAPER}, Section 4.2",
    settings=CORESStarSettings,
    method="sop_keras.methods.cores_star:CORESStar",
    noise_score="-log10 of the label's probability",
)
