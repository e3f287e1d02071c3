"""Symmetric cross entropy as the launcher knows it."""

from __future__ import annotations

from dataclasses import dataclass

from sop_keras.methods.gce_record import NOISE_SCORE
from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting


@dataclass(frozen=True)
class SymmetricCrossEntropySettings(MethodSettings):
    """Settings of symmetric cross entropy; each field says what it is."""

    alpha: float = setting(0.1, "SL's weight of cross entropy.", title="alpha", least=0)
    beta: float = setting(
        1.0, "SL's weight of the reverse cross entropy.", title="beta", least=0
    )


RECORD = MethodRecord(
    name="sl",
    title="SL",
    paper=(
        'Wang, Ma, Chen, Luo, Yi, Bailey, "Symmetric Cross Entropy for Robust Learning '
        'with Noisy Labels", ICCV 2019'
    ),
    settings=SymmetricCrossEntropySettings,
    method="sop_keras.methods.symmetric_cross_entropy:SymmetricCrossEntropy",
    noise_score=NOISE_SCORE,
)
