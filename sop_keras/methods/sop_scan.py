"""What u and v say of all labels: one pass, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sop_keras.core.scan import PredictionScan
from sop_keras.core.slot_rows import SlotRows
from sop_keras.methods.sop_scores import label_quality, noise_norm, noise_score

SPARSE_BELOW = 0.01
MOVED_BEYOND = 5.0
"""In units of `init_std`: no first value is there (5.7e-7 of them are)."""

# Of histograms of log10: 1e-16 is far below any first value, and 1 the largest.
_LOWEST, _HIGHEST, _PER_DECADE = -16, 1, 5
_NUM_BUCKETS = (_HIGHEST - _LOWEST) * _PER_DECADE

_QUANTILES = {"q50": 0.5, "q90": 0.9, "q99": 0.99}

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

    def add(self, values: np.ndarray, times: int | np.ndarray = 1) -> None:
        """Count values, each so often; with -1, take them out again."""
        magnitudes = np.maximum(np.abs(values).ravel(), 10.0**_LOWEST)
        places = ((np.log10(magnitudes) - _LOWEST) * _PER_DECADE).astype(np.int64)
        places = np.clip(places, 0, _NUM_BUCKETS - 1)
        if isinstance(times, int):
            self.counts += times * np.bincount(places, minlength=_NUM_BUCKETS)
        else:
            counts = np.bincount(places, times.ravel(), minlength=_NUM_BUCKETS)
            self.counts += counts.astype(np.int64)

    def buckets(self) -> np.ndarray:
        """Rows of left end, right end and count, `(k, 3)`, from the first not empty.

        They end with the last that is not empty.
        """
        filled = np.flatnonzero(self.counts)
        kept = np.arange(filled[0], filled[-1] + 1) if len(filled) else np.arange(0)
        left = _LOWEST + kept / _PER_DECADE
        right = _LOWEST + (kept + 1) / _PER_DECADE
        return np.stack([left, right, self.counts[kept]], axis=-1)


class SOPScan(PredictionScan):
    """What u, v and the training record say of some examples.

    Memory: 32 bytes an example, and a chunk. Of rows of slots what is stored is looked
    at, in O(slots) a row; every other entry counts as the rest of its row, one that was
    drawn as `init_std`.

    Args:
        labels: the given labels, integers `(n,)` in `[0, num_classes)`.
        num_classes: K.
        init_std: where u and v started.
        estimated_noise: gives s, `(k, K)`, of rows and labels `(k,)`.

    Attributes:
        norms: ||s||_1, float64, shape `(n,)`.
        quality: `label_quality`, by the prediction that the example last had in
            training; NaN for those that were in no batch yet.
        suggested: the predicted class, or where that is the given one, the other class
            with the largest |v|.
        log_u: a histogram of log10|u|, at the label.
        log_v: of log10|v|, off the label.
    """

    takes_slots = True

    def __init__(
        self,
        labels: np.ndarray,
        num_classes: int,
        init_std: float,
        estimated_noise: Callable[[Mapping[str, np.ndarray], np.ndarray], np.ndarray],
    ):
        super().__init__(labels)
        self.norms = np.empty(len(labels))
        self.log_u, self.log_v = LogHistogram(), LogHistogram()
        self._num_classes = num_classes
        self._init_std = init_std
        self._estimated_noise = estimated_noise
        self._num_sparse = self._num_moved = 0

    def add(
        self,
        chunk: slice,
        rows: Mapping[str, Any],
        predictions: np.ndarray,
        given_probs: np.ndarray,
    ) -> None:
        """Take some examples into account."""
        u, v, given = rows["u"], rows["v"], self.labels[chunk]
        times: int | np.ndarray = 1
        places, classes = given, None
        if isinstance(v, SlotRows):
            v, times, classes = v.entries(given)
            places = np.zeros_like(given)
        noise = self._estimated_noise({"u": u, "v": v}, places)
        self._num_sparse += int(((np.abs(noise) < SPARSE_BELOW) * times).sum())
        self._num_moved += int(_has_moved(u, v, self._init_std).sum())
        self.log_u.add(u)
        self.log_v.add(v, times)
        self.log_v.add(v[np.arange(len(given)), places], -1)
        self.norms[chunk] = noise_norm(noise * times)
        self.predictions[chunk] = predictions
        self.quality[chunk] = _quality(predictions, given_probs, self.norms[chunk])
        self.suggested[chunk] = _suggested(predictions, given, v, places, classes)

    @property
    def noise_scores(self) -> np.ndarray:
        """log10 of ||s||_1; NaN for those that were in no batch yet."""
        return np.where(self.is_known, noise_score(self.norms), np.nan)

    @property
    def sparsity(self) -> float:
        """The share of the entries of s below 0.01 in absolute value."""
        return self._num_sparse / (len(self.labels) * self._num_classes)

    @property
    def rows_moved(self) -> float:
        """The share of the rows that have left their first values.

        |u| or some |v| is beyond 5 times `init_std`.
        """
        return self._num_moved / len(self.labels)

    def figures(self) -> dict[str, float]:
        """Mean, quantiles and sparsity of s, and the share of rows that moved."""
        quantiles = np.quantile(self.norms, list(_QUANTILES.values()))
        return {
            "noise/mean_s1": float(self.norms.mean()),
            **{
                f"noise/s1_{name}": float(value)
                for name, value in zip(_QUANTILES, quantiles, strict=True)
            },
            "noise/sparsity": self.sparsity,
            "noise/rows_moved": self.rows_moved,
        }

    def histograms(self) -> dict[str, np.ndarray]:
        """log10 of |u| at the label and of |v| off the label."""
        return {
            "log10_u_at_the_label": self.log_u.buckets(),
            "log10_v_off_the_label": self.log_v.buckets(),
        }


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


def _suggested(
    predicted: np.ndarray,
    given: np.ndarray,
    v: np.ndarray,
    places: np.ndarray,
    classes: np.ndarray | None,
) -> np.ndarray:
    suggested = predicted.copy()
    (same,) = np.nonzero(predicted == given)
    others = np.abs(v[same])
    others[np.arange(len(same)), places[same]] = -1.0
    found = others.argmax(axis=-1)
    suggested[same] = found if classes is None else classes[same, found]
    return suggested
