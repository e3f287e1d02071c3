"""Cross entropy as the launcher knows it."""

from __future__ import annotations

from dataclasses import dataclass

from sop_keras.methods.record import MethodRecord, MethodSettings


@dataclass(frozen=True)
class CrossEntropySettings(MethodSettings):
    """Cross entropy has no settings of its own."""


RECORD = MethodRecord(
    name="ce",
    title="CE",
    paper="plain cross entropy: the rows CE of the paper's tables",
    settings=CrossEntropySettings,
    method="sop_keras.methods.cross_entropy:CrossEntropy",
    finds_label_issues=False,
)
