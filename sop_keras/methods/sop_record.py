"""SOP as the launcher knows it: its settings, of Table A.1."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sop_keras.label_issues.doubts import Doubt, Evidence
from sop_keras.methods import sop_doubts
from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting

PAPER = (
    'Liu, Zhu, Qu, You, "Robust Training under Label Noise by Over-parameterization", '
    "ICML 2022"
)
NOISE_SCORE = "log10 ||s||_1"
VARIANTS = ("paper", "reference")
V_LOSSES = ("mse", "mse_of_p", "ce")


@dataclass(frozen=True)
class SOPSettings(MethodSettings):
    """Settings of SOP; each field says what it is."""

    u_learning_rate: float | None = setting(
        None,
        "alpha_u, the constant rate of u, as in the paper. auto: u grows by what the "
        "network knows.",
        title="alpha_u",
        flag="u_lr",
        least=0,
        may_be_auto=True,
    )
    v_learning_rate: float | None = setting(
        None,
        "alpha_v, the rate of v, or auto.",
        title="alpha_v",
        flag="v_lr",
        least=0,
        may_be_auto=True,
    )
    init_std: float | None = setting(
        None,
        "Standard deviation u, v start at; auto: the paper's 1e-8.",
        title="Standard deviation u, v start at",
        least=0,
        may_be_auto=True,
    )
    variant: str = setting(
        "paper", "The paper's text or the authors' code.", choices=VARIANTS
    )
    v_loss: str = setting(
        "mse",
        "What trains v: mse, L_MSE of the one-hot prediction, as in the paper; to see "
        "why, mse_of_p, of p in its place (footnote 2), or ce, L_CE (A.1).",
        choices=V_LOSSES,
        came_later=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_v_loss(self.v_loss, self.v_learning_rate is None, self.variant)

    def doubts(self, evidence: Evidence) -> tuple[Doubt, ...]:
        """As of `SOP`."""
        return sop_doubts.sop_doubts(evidence, self.u_learning_rate is None)

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """Those of `SOP`: the settings under the same names."""
        values = asdict(self)
        rates = ("u_learning_rate", "v_learning_rate", "init_std")
        return values | {name: "auto" for name in rates if values[name] is None}


def check_v_loss(v_loss: str, sets_itself: bool, variant: str) -> None:
    """Check that what trains v can.

    Args:
        v_loss: one of `V_LOSSES`.
        sets_itself: whether the rate of v is adaptive.
        variant: one of `VARIANTS`.

    Raises:
        ValueError: for another loss than the paper's without a rate, or in the authors'
            variant.
    """
    if v_loss != "mse" and (sets_itself or variant != "paper"):
        raise ValueError(
            "`v_loss` is for variant='paper' with a number for alpha_v: --v_lr=10. "
            f"Received: v_loss={v_loss!r}, variant={variant!r}, alpha_v "
            f"{'auto' if sets_itself else 'a number'}."
        )


RECORD = MethodRecord(
    name="sop",
    title="SOP",
    paper=PAPER,
    settings=SOPSettings,
    method="sop_keras.methods.sop:SOP",
    noise_score=NOISE_SCORE,
)
