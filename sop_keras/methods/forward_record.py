"""Forward correction as the launcher knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.methods.anchor_points import check_examples_of_each, check_percentile
from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting


@dataclass(frozen=True)
class ForwardSettings(MethodSettings):
    """Settings of Forward with an estimated T; a given one is no flag's."""

    anchor_percentile: float = setting(
        97.0,
        "Of the anchors that the transition matrix is read off, above 0: of each class "
        "the largest probability strictly below this percentile; 100: the largest, "
        "which is also taken where a class is hardly larger than the part above it.",
        title="Anchors",
        least=0,
        check=check_percentile,
    )

    @property
    def num_trainings(self) -> int:
        """One to estimate T, one with it."""
        return 2

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """Those of `Forward`.

        Raises:
            ValueError: for a class without an example.
        """
        check_examples_of_each(given_labels, num_classes)
        return super().arguments(given_labels, num_classes, is_balanced)


RECORD = MethodRecord(
    name="forward",
    title="Forward",
    paper=(
        'Patrini, Rozza, Menon, Nock, Qu, "Making Deep Neural Networks Robust to Label '
        'Noise: a Loss Correction Approach", CVPR 2017'
    ),
    settings=ForwardSettings,
    method="sop_keras.methods.forward:Forward",
    noise_score="-log10 of the probability that the label is right",
)
