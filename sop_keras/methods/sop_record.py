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


RECORD = MethodRecord(
    name="sop",
    title="SOP",
    paper=PAPER,
    settings=SOPSettings,
    method="sop_keras.methods.sop:SOP",
    noise_score=NOISE_SCORE,
)
