"""What an audit finds beside wrong labels, as sections of its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras.auditing.alike_classes import LEAST_SHARE
from sop_keras.auditing.near_duplicates import LEAST_SIMILARITY
from sop_keras.auditing.outliers import least_score
from sop_keras.report.page import Section
from sop_keras.report.run_labels import RunLabels

if TYPE_CHECKING:
    import pandas as pd

NUM_OUTLIERS, NUM_GROUPS, NUM_OF_GROUP, NUM_PAIRS = 24, 12, 8, 50
"""How many are shown: images of no class; groups of duplicates, and images of one of
these; pairs of classes."""

_LATER = "Decide on these, audit again with --decisions, and the next ones are here."


def sections_of(
    result: Mapping[str, Any],
    labels: RunLabels,
    class_names: Sequence[str],
    noun: str = "image",
) -> list[Section]:
    """The sections of an audit; none of what it has not found.

    Args:
        result: the content of its `result.json`, in which people's decisions are not
            named again.
        labels: that were judged.
        class_names: one a class, in label order.
        noun: what an example is. Defaults to `"image"`.
    """
    known = set(labels.column("id").tolist())
    found = [
        _outliers(result, labels, known, noun),
        _duplicates(result, known, noun),
        _alike(result, labels, class_names),
    ]
    return [one for one in found if one is not None]


def ids_of(sections: Sequence[Section]) -> list[int]:
    """All examples that sections show."""
    return [one for section in sections for group in section.groups for one in group]


def ids_on_page(
    table: pd.DataFrame, result: Mapping[str, Any], num_examples: int
) -> list[int]:
    """Examples that a report of an audit shows: those of sections, then the worst.

    Args:
        table: of the audit.
        result: the content of its `result.json`.
        num_examples: how many labels the page shows.
    """
    some = [one for group in _groups(result) for one in group]
    quality = table["label_quality"].to_numpy()
    order = np.lexsort((table["id"], quality))[: np.isfinite(quality).sum()]
    worst = table["id"].to_numpy()[order[:num_examples]].tolist()
    return list(dict.fromkeys([*result["outliers"][:NUM_OUTLIERS], *some, *worst]))


def _groups(result: Mapping[str, Any]) -> list[list[int]]:
    groups = result.get("contradictory_duplicates") or []
    return [group[:NUM_OF_GROUP] for group in groups[:NUM_GROUPS]]


def _outliers(
    result: Mapping[str, Any], labels: RunLabels, known: set[int], noun: str
) -> Section | None:
    ids = [one for one in result.get("outliers") or [] if one in known]
    if not ids:
        return None
    shown = ids[:NUM_OUTLIERS]
    count = max(len(ids), result.get("num_outliers", 0))
    least = least_score(len(np.unique(labels.whole.column("given_label"))))
    text = (
        f"{_counted(count, noun)} in which little speaks for any class: an outlier "
        f"score above {least:g}, where an ordinary {noun} has 0 and one that nothing "
        f"is known of has 1. {_of_all(len(shown), count)}"
    )
    return Section(
        "outliers", f"{noun.capitalize()}s of no class", text, [[one] for one in shown]
    )


def _duplicates(
    result: Mapping[str, Any], known: set[int], noun: str
) -> Section | None:
    found = (result.get("contradictory_duplicates") or [])[:NUM_GROUPS]
    # Of large groups there are not all ids.
    sizes = result.get("contradictory_duplicate_sizes") or [*map(len, found)]
    groups, more = [], []
    for group, whole, size in zip(_groups(result), found, sizes, strict=False):
        if shown := [one for one in group if one in known]:
            groups.append(shown)
            more.append(max(len(whole), size) - len(shown))
    if not groups:
        return None
    count = max(
        len(result["contradictory_duplicates"]),
        result.get("num_contradictory_duplicates", 0),
    )
    near = f"features at a cosine of {LEAST_SIMILARITY:g} or more"
    kind = f"the same, or nearly ({near})"
    if (share := result.get("too_many_near_duplicates")) is not None:
        kind = (
            f"the same (equal features alone: {100 * share:.0f} % of all have {near} "
            "to another one, too many to be copies)"
        )
    text = (
        f"{_counted(count, 'group')} of {noun}s that are {kind}, and have different "
        f"labels: of each group one label at least is wrong. "
        f"{_of_all(len(groups), count)}"
    )
    title = f"The same {noun} under different labels"
    return Section("duplicates", title, text, groups, is_same=True, more=more)


def _alike(
    result: Mapping[str, Any], labels: RunLabels, class_names: Sequence[str]
) -> Section | None:
    pairs = [
        pair
        for pair in result.get("alike_classes") or []
        if all(0 <= label < len(class_names) for label in pair[:2])
    ]
    if not pairs:
        return None
    given = labels.whole.column("given_label")
    sizes = np.bincount(given, minlength=len(class_names))
    rows = [
        (
            class_names[first],
            f"{sizes[first]:,}",
            class_names[second],
            f"{sizes[second]:,}",
            f"{share:.2f}",
        )
        for first, second, share in pairs[:NUM_PAIRS]
    ]
    text = (
        f"{_counted(len(pairs), 'pair')} of classes that the features hardly tell "
        f"apart: a share of {LEAST_SHARE:g} or more, where 0 is told apart without a "
        "mistake, and 1 is a coin tossed. They may be one class under two names: then "
        "the labels of both are not wrong, and are best given one name."
    )
    if len(rows) < len(pairs):
        text += f" The first {len(rows):,} are here, all in result.json."
    header = ("Class", "Examples", "Class", "Examples", "Share")
    return Section(
        "alike", "Classes that look like one", text, header=header, rows=rows
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _of_all(num_shown: int, count: int) -> str:
    """What is said where not all are shown."""
    if num_shown >= count:
        return ""
    return f"The first {num_shown:,} are shown. {_LATER}"
