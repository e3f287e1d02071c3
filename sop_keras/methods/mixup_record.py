"""MixUp as the launcher knows it."""

from __future__ import annotations

from dataclasses import dataclass

from sop_keras.methods.gce_record import NOISE_SCORE
from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting


@dataclass(frozen=True)
class MixUpSettings(MethodSettings):
    """Settings of MixUp; each field says what it is."""

    alpha: float = setting(
        1.0,
        "MixUp's shares are draws from Beta(alpha, alpha); 0 mixes nothing.",
        title="alpha",
        least=0,
    )


RECORD = MethodRecord(
    name="mixup",
    title="MixUp",
    paper=(
        'Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization",'
        " ICLR 2018"
    ),
    settings=MixUpSettings,
    method="sop_keras.methods.mixup:MixUp",
    noise_score=NOISE_SCORE,
)
