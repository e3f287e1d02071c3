"""SOP+ as the launcher knows it: SOP with the regularisers of the paper's A.3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.augment.names import AUGMENTATIONS
from sop_keras.methods.record import MethodRecord
from sop_keras.methods.sop_record import NOISE_SCORE, PAPER, SOPSettings
from sop_keras.settings import setting


@dataclass(frozen=True)
class SOPPlusSettings(SOPSettings):
    """Settings of SOP+; with one of its weights 0, it is SOP with the other one."""

    consistency_weight: float = setting(
        0.9,
        "lambda_C, the weight of the consistency loss. 0: no pairs of views.",
        title="lambda_C",
        least=0,
    )
    strong_augment: str = setting(
        "uda",
        "The augmentation of the second view. uda is what the paper's A.3 names; the "
        "authors' code takes autoaugment, a policy that was searched on clean labels.",
        title="Second view",
        choices=tuple(sorted(AUGMENTATIONS)),
    )
    balance_weight: float = setting(
        0.1,
        "lambda_B, the weight of the class-balance loss.",
        title="lambda_B",
        least=0,
    )
    class_prior: str = setting(
        "uniform",
        "Of the class-balance loss; empirical: the noisy labels' frequencies.",
        choices=("uniform", "empirical"),
    )

    @property
    def second_view(self) -> str | None:
        """The strong augmentation, where L_C looks at it."""
        return self.strong_augment if self.consistency_weight > 0 else None

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """Those of `SOP`: the prior of L_B as numbers where it is the labels'."""
        values = super().arguments(given_labels, num_classes, is_balanced)
        del values["strong_augment"]
        if self.class_prior == "empirical" and is_balanced:
            values["class_prior"] = "uniform"  # that is what an epoch's examples have
        elif self.class_prior == "empirical":
            # The model sees a stream of batches, and could not count the labels itself.
            counts = np.bincount(given_labels, minlength=num_classes)
            values["class_prior"] = tuple(counts / len(given_labels))
        return values


RECORD = MethodRecord(
    name="sop_plus",
    title="SOP+",
    paper=f"{PAPER}, Appendix A.3",
    settings=SOPPlusSettings,
    method="sop_keras.methods.sop:SOP",
    noise_score=NOISE_SCORE,
)
