"""What looks most like some examples, each once."""

from __future__ import annotations

import numpy as np

from sop_keras.auditing.feature_rows import FeatureRows
from sop_keras.auditing.neighbours import nearest

NUM_SIMILAR = 6
"""How many are shown beside an example."""

MOST_ASKED = 2_000
"""Of how many examples, the first ones, the similar ones are looked for."""

# Looked at of each example, so that enough are left without near-duplicates.
_NUM_LOOKED_AT = 4 * NUM_SIMILAR


def similar_examples(
    features: FeatureRows,
    ids: np.ndarray,
    groups: np.ndarray,
    wanted: np.ndarray,
) -> dict[int, np.ndarray]:
    """The examples most like some, the most similar first.

    Of near-duplicates of one another the most similar one alone is there: copies of the
    example itself are one of the six at most.

    All features are read once. Memory beyond `nearest`: 24 places and cosines for each
    of the at most 2,000 examples.

    Args:
        features: of n examples.
        ids: of these, integers `(n,)`.
        groups: numbers of their groups of near-duplicates, or -1, integers `(n,)`.
        wanted: ids of the examples to look for. Of more than `MOST_ASKED`, the first.

    Returns:
        At most `NUM_SIMILAR` ids, int64, for each of the ids that are among `ids`.

    Raises:
        ValueError: as of `nearest`.
    """
    order = np.argsort(ids, kind="stable")
    wanted = np.asarray(wanted, np.int64)[:MOST_ASKED]
    found = np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)
    positions = order[found]
    positions = positions[ids[positions] == wanted]
    count = min(_NUM_LOOKED_AT, len(ids) - 1)
    if not len(positions) or count < 1:
        return {}
    similar = nearest(features, positions, count).positions
    return {
        int(ids[position]): ids[_one_of_each(places, groups)].astype(np.int64)
        for position, places in zip(positions.tolist(), similar, strict=True)
    }


def _one_of_each(places: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The first places, without those whose group has an earlier one."""
    group = groups[places]
    # Those of no group are of one each.
    own = np.where(group < 0, -1 - np.arange(len(places)), group)
    _, first = np.unique(own, return_index=True)
    return places[np.sort(first)[:NUM_SIMILAR]]
