"""SOP as the launcher knows it: its settings, of Table A.1."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sop_keras.label_issues.doubts import Doubt, Evidence
from sop_keras.methods import sop_doubts, sop_rates
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
    """Settings of SOP; each field says what it is.

    With both rates None, `init_std` is proposed with them.
    """

    u_learning_rate: float | None = setting(
        10.0,
        "alpha_u, the rate of u. auto: what suggest_uv_rates proposes for the length "
        "of the training; both auto: it proposes init_std, too, and the flag for that "
        "is not used.",
        title="alpha_u",
        flag="u_lr",
        least=0,
        may_be_auto=True,
    )
    v_learning_rate: float | None = setting(
        10.0,
        "alpha_v, the rate of v, or auto.",
        title="alpha_v",
        flag="v_lr",
        least=0,
        may_be_auto=True,
    )
    init_std: float | None = setting(
        1e-8,
        "Standard deviation u, v start at.",
        title="Standard deviation u, v start at",
        least=0,
        may_be_auto=True,
    )
    variant: str = setting(
        "paper", "The paper's text or the authors' code.", choices=VARIANTS
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.u_learning_rate is None and self.v_learning_rate is None:
            object.__setattr__(self, "init_std", None)

    def suggested(
        self, visits: float, batch_size: int, num_classes: int
    ) -> tuple[dict[str, Any], str]:
        """What `suggest_uv_rates` proposes for alpha_u, alpha_v and init_std."""
        names = ("u_learning_rate", "v_learning_rate", "init_std")
        missing = [name for name in names if getattr(self, name) is None]
        if not missing:
            return {}, ""
        rates = sop_rates.suggest_uv_rates(
            visits, batch_size, num_classes, self.init_std
        )._asdict()
        values = {name: rates[name] for name in missing}
        whole: Any = replace(self, **values)
        begins = sop_rates.visits_until_given_up(
            whole.u_learning_rate, whole.init_std, batch_size, num_classes
        )
        numbers = ", ".join(f"{name}={value:.3g}" for name, value in values.items())
        too_late = ", which is LATER THAN THE END of the training"
        return values, (
            f"Suggested for {visits:g} visits of each example, batches of {batch_size} "
            f"and {num_classes} classes: {numbers}. A label that the network knows "
            f"nothing of is given up after {begins:.1f} visits"
            f"{'' if begins <= visits else too_late}."
        )

    def doubts(self, evidence: Evidence) -> tuple[Doubt, ...]:
        """As of `SOP`."""
        return sop_doubts.sop_doubts(evidence)

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """Those of `SOP`: the settings under the same names."""
        return asdict(self)


RECORD = MethodRecord(
    name="sop",
    title="SOP",
    paper=PAPER,
    settings=SOPSettings,
    method="sop_keras.methods.sop:SOP",
    noise_score=NOISE_SCORE,
)
