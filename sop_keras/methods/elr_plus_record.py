"""ELR+ as the launcher knows it."""

from __future__ import annotations

from dataclasses import dataclass

from sop_keras.methods.elr_record import RECORD as ELR
from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting


@dataclass(frozen=True)
class ELRPlusSettings(MethodSettings):
    """Settings of ELR+; each field says what it is."""

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
    regularization_ramp: int = setting(
        0,
        "In how many steps of a network ELR+'s lambda rises to its value; 0: it is "
        "there at once.",
        least=0,
    )
    average_decay: float = setting(
        0.997,
        "ELR+'s gamma, how much of itself the average of a network's weights keeps in "
        "a step.",
        title="gamma",
        least=0,
        most=1,
    )
    average_ramp: int = setting(
        40_000,
        "In how many steps ELR+'s gamma rises to its value; 0: it is min(1 - 1 / "
        "(s + 1), gamma) in step s.",
        least=0,
    )
    alpha: float = setting(
        1.0,
        "ELR+'s and DivideMix's shares of mixed pairs are drawn as MixUp's are.",
        title="alpha",
        least=0,
    )
    reweight_labels: bool = setting(
        False,
        "Whether ELR+ multiplies mixed labels by mixed targets, as published for "
        "CIFAR-100.",
        title="Reweighting",
    )


RECORD = MethodRecord(
    name="elr_plus",
    title="ELR+",
    paper=f"{ELR.paper}, Section 5",
    settings=ELRPlusSettings,
    method="sop_keras.methods.elr_plus:ELRPlus",
    noise_score="-log10 of the label's share in the mean of both targets",
)
