"""ELR as the launcher knows it."""

from __future__ import annotations

from dataclasses import dataclass

from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting


@dataclass(frozen=True)
class ELRSettings(MethodSettings):
    """Settings of ELR; each field says what it is."""

    target_momentum: float = setting(
        0.7,
        "beta, how much of its target an example keeps at a visit.",
        title="beta",
        least=0,
        most=1,
    )
    regularization_weight: float = setting(
        3.0, "lambda, the weight of the regulariser.", title="lambda", least=0
    )


RECORD = MethodRecord(
    name="elr",
    title="ELR",
    paper=(
        'Liu, Niles-Weed, Razavian, Fernandez-Granda, "Early-Learning Regularization '
        'Prevents Memorization of Noisy Labels", NeurIPS 2020'
    ),
    settings=ELRSettings,
    method="sop_keras.methods.elr:ELR",
    noise_score="-log10 of the label's share in the target",
)
