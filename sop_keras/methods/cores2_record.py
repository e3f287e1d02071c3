"""CORES2 as the launcher knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sop_keras.methods.cores2_schedules import SIEVE_START, rate_factors
from sop_keras.methods.record import MethodRecord, MethodSettings
from sop_keras.settings import setting

PAPER = (
    'Cheng, Zhu, Li, Gong, Sun, Liu, "Learning with Instance-Dependent Label Noise: A '
    'Sample Sieve Approach", ICLR 2021'
)


@dataclass(frozen=True)
class CORES2Settings(MethodSettings):
    """Settings of CORES2; each field says what it is."""

    largest_regularization: float = setting(
        2.0,
        "beta, the weight of the confidence regulariser from 40% of the epochs on; 0 "
        "in the first 10%.",
        title="beta",
        least=0,
    )
    sieve_start: int = setting(
        SIEVE_START,
        "The first of 100 epochs, counted from 0, in which the sieve leaves examples "
        "out; of other numbers of epochs, as many hundredths.",
        title="Sieve from",
        least=0,
        most=100,
    )

    def rate_factors(self, epochs: int) -> Sequence[float]:
        """1 / (1 + beta) in each epoch, as published."""
        return rate_factors(epochs, self.largest_regularization)

    def arguments(
        self, given_labels: np.ndarray, num_classes: int, is_balanced: bool
    ) -> dict[str, Any]:
        """Those of `CORES2`, the prior of the given labels among them."""
        values = super().arguments(given_labels, num_classes, is_balanced)
        counts = np.bincount(given_labels, minlength=num_classes)
        prior = np.full(num_classes, 1 / num_classes)
        if not is_balanced:  # else an epoch has as many of each
            prior = counts / counts.sum()
        return {**values, "class_prior": tuple(prior.tolist())}


RECORD = MethodRecord(
    name="cores2",
    title="CORES2",
    paper=PAPER,
    settings=CORES2Settings,
    method="sop_keras.methods.cores2:CORES2",
    noise_score="the sieve's statistic: the loss, less its mean over all labels",
)
