"""Co-teaching as the launcher knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting

NOISE_SCORE = "the mean of both networks' cross entropies"


def _check_exponent(exponent: float) -> None:
    if exponent <= 0:
        raise ValueError(
            "`forget_exponent` must be above 0. Received: forget_exponent="
            f"{exponent!r}."
        )


@dataclass(frozen=True)
class CoTeachingSettings(MethodSettings):
    """Settings of Co-teaching; each field says what it is."""

    forget_rate: float = setting(
        0.2,
        "tau, the share of labels that are wrong, as far as known: what is not learnt "
        "from in the end. Nothing else tells the method of --noise_rate.",
        title="tau",
        least=0,
        most=1,
    )
    forget_exponent: float = setting(
        1.0,
        "c: the rate rises to tau like the c-th power of the epoch.",
        least=0,
        check=_check_exponent,
    )
    num_gradual: int = setting(
        10, "T_k: with c = 1, the epoch from which on the rate is tau.", least=1
    )

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """The arguments of the method's class."""
        return {
            "noise_rate": self.forget_rate,
            "exponent": self.forget_exponent,
            "num_gradual": self.num_gradual,
        }


RECORD = MethodRecord(
    name="coteaching",
    title="Co-teaching",
    paper=(
        'Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama, "Co-teaching: Robust Training of '
        'Deep Neural Networks with Extremely Noisy Labels", NeurIPS 2018'
    ),
    settings=CoTeachingSettings,
    method="sop_keras.methods.coteaching:CoTeaching",
    noise_score=NOISE_SCORE,
)
