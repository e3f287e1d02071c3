"""Truncated GCE as the launcher knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.methods.gce_record import NOISE_SCORE, PAPER, GCESettings
from sop_keras.methods.record import MethodRecord
from sop_keras.settings import setting


@dataclass(frozen=True)
class TruncatedGCESettings(GCESettings):
    """Settings of truncated GCE; each field says what it is."""

    truncation: float = setting(
        0.5,
        "k: labels of at most this probability are given up.",
        title="k",
        least=0,
        most=1,
    )
    first_pruning: int = setting(
        40, "The first epoch, from 1, before which all labels are judged.", least=1
    )
    pruning_interval: int = setting(
        10, "Epochs from one judgement to the next.", least=1
    )

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """The arguments of the method's class."""
        return {
            "q": self.q,
            "k": self.truncation,
            "start": self.first_pruning,
            "every": self.pruning_interval,
        }


RECORD = MethodRecord(
    name="truncated_gce",
    title="Truncated GCE",
    paper=PAPER,
    settings=TruncatedGCESettings,
    method="sop_keras.methods.truncated_gce:TruncatedGCE",
    noise_score=NOISE_SCORE,
)
