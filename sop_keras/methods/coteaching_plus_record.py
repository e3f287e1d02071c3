"""Co-teaching+ as the launcher knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.methods.coteaching_record import NOISE_SCORE, CoTeachingSettings
from sop_keras.methods.record import MethodRecord
from sop_keras.settings import setting


@dataclass(frozen=True)
class CoTeachingPlusSettings(CoTeachingSettings):
    """Settings of Co-teaching+; each field says what it is."""

    init_epochs: int = setting(
        20,
        "First, so many epochs of Co-teaching, on what networks agree about too.",
        title="Co-teaching for",
        least=0,
    )

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """The arguments of the method's class."""
        values = super().arguments(given_labels, num_classes, is_balanced)
        return {**values, "init_epochs": self.init_epochs}


RECORD = MethodRecord(
    name="coteaching_plus",
    title="Co-teaching+",
    paper=(
        'Yu, Han, Yao, Niu, Tsang, Sugiyama, "How does Disagreement Help '
        'Generalization against Label Corruption?", ICML 2019'
    ),
    settings=CoTeachingPlusSettings,
    method="sop_keras.methods.coteaching_plus:CoTeachingPlus",
    noise_score=NOISE_SCORE,
)
