"""One pass over u, v and the training record, a chunk of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from keras import ops

from sop_keras.label_issues.scores import label_issues, label_quality, noise_norm
from sop_keras.methods import objective

if TYPE_CHECKING:
    from sop_keras.core.model import SOPModel

ENTRIES_AT_ONCE = 1_000_000
"""Of v, in a chunk: with more, its copies no longer fit in a processor's caches."""

SPARSE_BELOW = 0.01
MOVED_BEYOND = 5.0
"""In units of `init_std`: no first value is there (5.7e-7 of them are)."""

# Of histograms of log10: 1e-16 is far below any first value, and 1 the largest.
_LOWEST, _HIGHEST, _PER_DECADE = -16, 1, 5
_NUM_BUCKETS = (_HIGHEST - _LOWEST) * _PER_DECADE

# The training record keeps p in float32: next to 1, 1 - p is known up to this, and p
# itself is never 0.
_LEAST_REST, _LEAST_PROB = 2.0**-25, 1e-45


class LogHistogram:
    """Counts of log10|x| in fixed buckets, from 1e-16 to 10.

    What lies outside (0 does) counts in the first or the last bucket.

    Attributes:
        counts: int64, one a bucket.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_NUM_BUCKETS, np.int64)

    def add(self, values: np.ndarray, sign: int = 1) -> None:
        """Count values; with `sign=-1`, take them out again."""
        magnitudes = np.maximum(np.abs(values).ravel(), 10.0**_LOWEST)
        places = ((np.log10(magnitudes) - _LOWEST) * _PER_DECADE).astype(np.int64)
        places = np.clip(places, 0, _NUM_BUCKETS - 1)
        self.counts += sign * np.bincount(places, minlength=_NUM_BUCKETS)

    def buckets(self) -> np.ndarray:
        """Rows of left end, right end and count, `(k, 3)`, from the first not empty.

        They end with the last that is not empty.
        """
        filled = np.flatnonzero(self.counts)
        kept = np.arange(filled[0], filled[-1] + 1) if len(filled) else np.arange(0)
        left = _LOWEST + kept / _PER_DECADE
        right = _LOWEST + (kept + 1) / _PER_DECADE
        return np.stack([left, right, self.counts[kept]], axis=-1)


@dataclass(frozen=True)
class TableScan:
    """What u, v and the training record say of some examples.

    Args:
        norms: ||s||_1, float64, shape `(n,)`.
        sparsity: the share of the entries of s below 0.01 in absolute value.
        rows_moved: the share of the rows that have left their first values: |u| or
            some |v| is beyond 5 times `init_std`.
        log_u: log10|u|, at the label.
        log_v: log10|v|, off the label.
        quality: `label_quality`, float64, `(n,)`, by the prediction that the example
            last had in training; NaN for those that were in no batch yet.
        predictions: the class of that prediction, integers; -1 for these.
        suggested: the class to look at if the label is wrong: the predicted one, or
            where that is the given one, the other class with the largest |v|.
    """

    norms: np.ndarray
    sparsity: float
    rows_moved: float
    log_u: LogHistogram
    log_v: LogHistogram
    quality: np.ndarray
    predictions: np.ndarray
    suggested: np.ndarray

    @property
    def is_known(self) -> np.ndarray:
        """Which examples have been in a batch, bool, `(n,)`."""
        return self.predictions >= 0

    @property
    def is_issue(self) -> np.ndarray:
        """Which labels count as wrong, bool, `(n,)`."""
        return label_issues(self.quality)

    def likely_labels(self, labels: np.ndarray) -> np.ndarray:
        """The given labels with the suggested ones where they count as wrong."""
        return np.where(self.is_issue, self.suggested, labels)


def scan_table(
    model: SOPModel,
    labels: np.ndarray,
    ids: np.ndarray,
    rows_at_once: int | None = None,
) -> TableScan:
    """Look at each example's rows once.

    Memory: 32 bytes an example, and a chunk.

    Args:
        model: in training or trained.
        labels: the given labels, integers `(n,)` in `[0, num_classes)`.
        ids: the examples' rows, integers `(n,)`.
        rows_at_once: the size of a chunk, at least 1. Defaults to `None`: a million
            entries of v.
    """
    size = len(labels)
    if rows_at_once is None:
        rows_at_once = max(1, ENTRIES_AT_ONCE // model.num_classes)
    norms, quality = np.empty(size), np.empty(size)
    predictions, suggested = np.empty(size, np.int64), np.empty(size, np.int64)
    log_u, log_v = LogHistogram(), LogHistogram()
    num_sparse = num_moved = 0
    for start in range(0, size, rows_at_once):
        part = slice(start, start + rows_at_once)
        given = labels[part]
        u, v = model.noise_table.rows(ids[part])
        one_hot = ops.one_hot(given, model.num_classes, dtype="float32")
        noise = objective.estimated_noise(u, v, one_hot, model.variant)
        u, v, noise = map(ops.convert_to_numpy, (u, v, noise))
        num_sparse += int((np.abs(noise) < SPARSE_BELOW).sum())
        num_moved += int(_has_moved(u, v, model.init_std).sum())
        log_u.add(u)
        log_v.add(v)
        log_v.add(v[np.arange(len(given)), given], sign=-1)
        norms[part] = noise_norm(noise)
        predicted, probs = model.training_record.read(ids[part])
        predictions[part] = predicted
        quality[part] = _quality(predicted, probs, norms[part])
        suggested[part] = _suggested(predicted, given, v)
    return TableScan(
        norms=norms,
        sparsity=num_sparse / (size * model.num_classes),
        rows_moved=num_moved / size,
        log_u=log_u,
        log_v=log_v,
        quality=quality,
        predictions=predictions,
        suggested=suggested,
    )


def _has_moved(u: np.ndarray, v: np.ndarray, init_std: float) -> np.ndarray:
    bound = MOVED_BEYOND * init_std
    return (np.abs(u[:, 0]) > bound) | (np.abs(v).max(axis=-1) > bound)


def _quality(
    predictions: np.ndarray, given_probs: np.ndarray, norms: np.ndarray
) -> np.ndarray:
    probs = given_probs.astype(np.float64)
    log_given = np.log(np.maximum(probs, _LEAST_PROB))
    log_others = np.log(np.clip(1.0 - probs, _LEAST_REST, 1.0))
    quality = label_quality(log_given, log_others, norms)
    return np.where(predictions >= 0, quality, np.nan)


def _suggested(predicted: np.ndarray, given: np.ndarray, v: np.ndarray) -> np.ndarray:
    suggested = predicted.copy()
    (same,) = np.nonzero(predicted == given)
    others = np.abs(v[same])
    others[np.arange(len(same)), given[same]] = -1.0
    suggested[same] = others.argmax(axis=-1)
    return suggested
