"""DivideMix as the launcher knows it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sop_keras.augment.names import AUGMENTATIONS
from sop_keras.label_issues.doubts import Doubt, Evidence, general_doubts
from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting

NUM_LABELED = ("division/labeled_of_network_1", "division/labeled_of_network_2")
"""How many labelled examples each network learns of: figures of the method."""


def division_doubts(evidence: Evidence) -> tuple[Doubt, ...]:
    """The doubts of any method, and that the labels were never divided."""
    doubts = general_doubts(evidence)
    figures = [evidence.figures.get(name, 1.0) for name in NUM_LABELED]
    if not evidence.is_over or min(figures) > 0:
        return doubts
    text = (
        "The labels were never divided: no epoch came after the warm-up, or no label's "
        "posterior was above the threshold in any. All labels count as right. Train "
        "more epochs than warm_up (--epochs, --warm_up), or lower p_threshold."
    )
    return (Doubt("not_divided", text), *doubts)


def _check_threshold(threshold: float) -> None:
    if threshold >= 1:
        raise ValueError(
            "`p_threshold` must be below 1, or no label could be above it. Received: "
            f"p_threshold={threshold!r}."
        )


@dataclass(frozen=True)
class DivideMixParameters(MethodSettings):
    """The hyper-parameters of DivideMix; each field says what it is."""

    lambda_u: float = setting(
        25.0,
        "DivideMix's weight of the loss of unlabelled examples.",
        title="lambda_u",
        least=0,
    )
    p_threshold: float = setting(
        0.5,
        "DivideMix's tau: labels count as right above this posterior of small loss.",
        title="tau",
        least=0,
        most=1,
        check=_check_threshold,
    )
    temperature: float = setting(
        0.5,
        "DivideMix's T, which guessed labels are sharpened by; 0: to one class.",
        least=0,
    )
    alpha: float = setting(
        4.0,
        "ELR+'s and DivideMix's shares of mixed pairs are drawn as MixUp's are.",
        title="alpha",
        least=0,
    )
    warm_up: int = setting(
        10,
        "DivideMix's epochs of cross entropy on all labels before it first divides "
        "them; --warmup_epochs are of the learning rate.",
        title="Warm-up",
        least=1,
    )
    loss_history: int = setting(
        1,
        "DivideMix divides by the mean loss of so many epochs; published: 5 with 90% "
        "of noise.",
        least=1,
    )
    labeled_only: bool = setting(
        False,
        "Whether DivideMix trains on mixed rows of labelled examples alone, without "
        "the loss of the others, as published for Clothing1M and WebVision.",
    )
    warm_up_penalty: bool = setting(
        False,
        "Whether DivideMix penalises confidence in the warm-up, as published with "
        "asymmetric noise and for Clothing1M.",
    )
    guess_in_training: bool = setting(
        True,
        "Whether DivideMix's networks guess labels in the mode of training, as "
        "published, or in that of evaluation.",
    )

    def doubts(self, evidence: Evidence) -> tuple[Doubt, ...]:
        """As of `DivideMix`."""
        return division_doubts(evidence)


@dataclass(frozen=True)
class DivideMixSettings(DivideMixParameters):
    """Settings of a run with DivideMix."""

    second_augment: str = setting(
        "weak",
        "The augmentation of DivideMix's second view.",
        title="Second view",
        choices=tuple(sorted(AUGMENTATIONS)),
    )

    @property
    def second_view(self) -> str | None:
        """The augmentation of the second view."""
        return self.second_augment

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """Those of `DivideMix`."""
        values = asdict(self)
        del values["second_augment"]
        return values


RECORD = MethodRecord(
    name="dividemix",
    title="DivideMix",
    paper=(
        'Li, Socher, Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised '
        'Learning", ICLR 2020'
    ),
    settings=DivideMixSettings,
    method="sop_keras.methods.dividemix:DivideMix",
    noise_score="1 less the mean of both networks' posteriors that the label is right",
)
