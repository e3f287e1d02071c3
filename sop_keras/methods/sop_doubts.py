"""When u and v say nothing of labels, and why: the doubts of SOP's own.

u grows at every visit by how little the network gives the label, whether or not it has
learnt anything yet (`sop_rates`). Too slow, and no label is ever taken up by s; too
fast, and right labels are, before the network had a chance to learn them.
"""

from __future__ import annotations

import numpy as np

from sop_keras.label_issues.doubts import Doubt, Evidence, found, general_doubts

GROWN = 0.01
"""||s||_1 of a row that says something by itself."""

TAKEN_UP = 0.1
"""||s||_1 from which on s, and not the network alone, makes a label doubtful."""

DOUBTFUL = 0.75
"""`label_quality` below which a label that the network predicts is as good as lost.

Without s it would be near 1: the network says what the label says.
"""

LOST, LOST_SO_FAR = 0.2, 0.5
"""The share of lost labels among those that the network predicts, at the end, before.

Measured on the digits with an MLP: 0 to 0.05 with clean labels, at most 0.13 with noise
of up to 60% and where 80% is coped with, 0.4 in between there; 0.2 to 1 where a quarter
or more of the right labels count as wrong, 0.7 to 1 in between.
"""

GATE_WIDEST = "rates/gate_widest"
"""The name of the figure of how far labels at random have opened the gate of rates."""

WIDE = 0.15
"""How far that must have been for wrong labels to be known of."""

BY_HEART, FOUND = 0.95, 0.02
"""The share of labels that the network predicts, at the end, from which on it has all
by heart; and of labels that count as wrong, up to which hardly any was found."""

# Examples, and predicted labels among them, that are enough to speak of a share.
_LEAST_OF_ALL, _LEAST_PREDICTED = 50, 20


def sop_doubts(evidence: Evidence, sets_rates: bool) -> tuple[Doubt, ...]:
    """Those of any method, and those of u and v.

    Args:
        evidence: of a training.
        sets_rates: whether the rates of u and v set themselves. Rows then begin where
            labels contradict what the network knows: that none did is no doubt.
    """
    too_late = learnt_by_heart(evidence) if sets_rates else not_begun(evidence)
    return (*general_doubts(evidence), *found(too_late, too_early(evidence)))


def not_begun(evidence: Evidence) -> Doubt | None:
    """Rows that have not grown yet, so that no label can be an issue."""
    largest = evidence.largest_score
    if not evidence.is_over or largest >= np.log10(GROWN):
        return None
    return Doubt(
        "not_begun",
        f"u and v have hardly grown: the largest ||s||_1 is {10.0**largest:.1g}. "
        "Either no label is wrong, or the training was too short for its init_std and "
        "rates to tell, and no label can be marked yet. The order by label_quality can "
        "still be used (num_issues, issue_rate). Train longer, or raise init_std or "
        "the rates of u and v (--init_std, --u_lr, --v_lr): suggest_uv_rates proposes "
        "them.",
    )


def learnt_by_heart(evidence: Evidence) -> Doubt | None:
    """Labels that contradicted the network until it gave in, and no row had grown."""
    widest = evidence.figures.get(GATE_WIDEST, 0.0)
    if not evidence.is_over or widest < WIDE:
        return None
    if evidence.quality is None or evidence.predictions is None:
        return None
    agreed = float((evidence.predictions == evidence.labels).mean())
    marked = float((evidence.quality < 0.5).mean())
    if len(evidence.quality) < _LEAST_OF_ALL or agreed < BY_HEART or marked > FOUND:
        return None
    return Doubt(
        "learnt_by_heart",
        "Labels contradicted what the network had learnt, but it went on to learn "
        f"{100 * agreed:.0f}% of them by heart before u and v could take them up: "
        f"{100 * marked:.1f}% of the labels count as issues, and too few. Lower the "
        "learning rate (--lr), weaken the network or augment its inputs (--augment), "
        "or give u and v the numbers that suggest_uv_rates proposes (--u_lr, --v_lr, "
        "--init_std).",
    )


def too_early(evidence: Evidence) -> Doubt | None:
    """Labels that s took up although the network says the same.

    A label that s explains is one that the network contradicts. Where s explains what
    the network itself predicts, it did so before the network had learnt it; the
    network then learnt from the few that were left.
    """
    scores, quality = evidence.noise_scores, evidence.quality
    if scores is None or quality is None or evidence.predictions is None:
        return None
    # Of trusted labels, whose scores are NaN, s says nothing.
    predicted = (evidence.predictions == evidence.labels) & ~np.isnan(scores)
    if len(scores) < _LEAST_OF_ALL or predicted.sum() < _LEAST_PREDICTED:
        return None
    taken_up = scores > np.log10(TAKEN_UP)
    lost = float((taken_up & (quality < DOUBTFUL))[predicted].mean())
    if lost < (LOST if evidence.is_over else LOST_SO_FAR):
        return None
    return Doubt(
        "too_early",
        f"u and v took up {100 * taken_up.mean():.0f}% of the labels, among them "
        f"{100 * lost:.0f}% of those that the network itself predicts: they grew "
        "before the network had learnt, and right labels count as wrong. Raise the "
        "learning rate (--lr), train for more epochs (`epochs`, --epochs) or in "
        "smaller batches (`batch_size`, --batch_size), or lower the rates of u and v "
        "or init_std (--u_lr, --v_lr, --init_std).",
    )
