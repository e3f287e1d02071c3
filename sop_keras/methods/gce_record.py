"""GCE as the launcher knows it."""

from __future__ import annotations

from dataclasses import dataclass

from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting

PAPER = (
    'Zhang, Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks '
    'with Noisy Labels", NeurIPS 2018'
)

NOISE_SCORE = "-log10 of the label's probability"


@dataclass(frozen=True)
class GCESettings(MethodSettings):
    """Settings of GCE; each field says what it is."""

    q: float = setting(
        0.7,
        "The exponent of L_q: 0 is cross entropy, 1 is 1 - p.",
        title="q",
        least=0,
        most=1,
    )


RECORD = MethodRecord(
    name="gce",
    title="GCE",
    paper=PAPER,
    settings=GCESettings,
    method="sop_keras.methods.gce:GCE",
    noise_score=NOISE_SCORE,
)
