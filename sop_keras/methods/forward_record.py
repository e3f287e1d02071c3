"""Forward correction as the launcher knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.methods.record import MethodRecord, MethodSettings


@dataclass(frozen=True)
class ForwardSettings(MethodSettings):
    """Settings of Forward; a transition matrix is an argument of the class alone."""

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """The arguments of the method's class.

        Raises:
            ValueError: always: a command line has no place for a matrix.
        """
        raise ValueError(
            "Forward needs a transition matrix, which no flag takes: train with "
            "NoisyLabelModel(..., method=methods.Forward(transition=T))."
        )


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
