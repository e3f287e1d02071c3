"""An id belongs to one example, and an example's row to one label.

What a row has learnt says something of the label that it was learnt under alone. Where
ids come with other labels than before, either the examples are in another order, so
that each trains the row of another one, or labels were changed, and the rows hold what
was true of the old ones. Neither is seen in a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sop_keras.core.data_errors import ASSERTION_MARK, DataError
from sop_keras.core.training_record import UNKNOWN, TrainingRecord
from sop_keras.validation import check_choice_of

_CHANGED = (
    "{} of {} examples come with another label than they were trained on under: the "
    "first is index {}, whose label was {} and is {} now. An example owns its rows of "
    "the tables, and they know of the label that it had. If the examples are others, "
    'or in another order than before, pass ids: y={"label": labels, "index": ids}. If '
    'labels were corrected, fit(..., changed_labels="reset") draws the rows of these '
    "examples anew, and so does reset_examples(ids). If labels change on purpose, such "
    'as noise that is drawn anew every epoch, fit(..., changed_labels="keep") trains '
    "on with the rows as they are."
)
_TWO_LABELS = (
    "An index comes with two labels at once, {} times in {} examples: the first is "
    "index {}, with the labels {} and {}. An index is one example, whose rows of the "
    "tables know of one label. Give every example an index of its own, or each one "
    "label."
)

CHANGED_LABELS = ("refuse", "reset", "keep")
"""What `fit` does about examples that come with another label than before."""


def check_changed_labels(choice: Any) -> None:
    """Check the argument `changed_labels` of `fit`.

    Raises:
        ValueError: if it is none of `CHANGED_LABELS`.
    """
    check_choice_of("changed_labels", choice, CHANGED_LABELS)


class OnceBegun(keras.callbacks.Callback):
    """Calls a function when the first epoch of a call of `fit` begins.

    Keras' `BackupAndRestore` loads weights, and with them the record of labels, as
    training begins: what was compared before that is compared once more.

    Args:
        function: takes nothing.
    """

    def __init__(self, function: Callable[[], None]):
        super().__init__()
        self._function, self._begins = function, False

    def on_train_begin(self, logs: Any = None) -> None:
        """Note that the next epoch is the first one."""
        self._begins = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Call the function, once."""
        if self._begins:
            self._begins = False
            self._function()


class KnownLabels(OnceBegun):
    """Sees to it that ids of a stream keep their labels: 8 bytes an example.

    Batches are checked before their step, whatever the input pipeline has read ahead:
    those of a tf.data.Dataset against the labels from before `fit`, others against all
    that came. After each epoch it looks at what was trained on in it: so, and before
    any other callback could save it, at what changed since weights that a callback
    loads as training begins.

    Functions of Python have no place in a tf.data pipeline: one that still runs when
    Python ends can keep the process from ending. Nor have variables: TensorFlow would
    read nothing ahead where operations are deterministic.

    Args:
        record: the model's.
    """

    def __init__(self, record: TrainingRecord):
        super().__init__(self._read_again)
        self._record = record
        self._labels = record.all_labels()
        with tf.device("CPU:0"):
            self._before = tf.constant(self._labels)

    def checked(self, ids: Any, labels: Any) -> Any:
        """The ids of a batch, if they come with the labels that are known of them.

        Args:
            ids: checked ids, `(n,)`, an array or a symbolic tensor of a pipeline.
            labels: checked labels, `(n,)` or one-hot, likewise.

        Raises:
            ValueError: if one comes with another label.
        """
        if tf.is_symbolic_tensor(ids):
            known = tf.cast(tf.gather(self._before, ids), tf.int64)
            return _checked_tensors(ids, _classes(labels), known)
        labels = class_of(labels)
        refuse_changed(ids, labels, self._labels[ids])
        refuse_two_labels(ids, labels)
        self._labels[ids] = labels
        return ids

    def _read_again(self) -> None:
        noted, self._labels = self._labels, self._record.all_labels()
        ids = np.flatnonzero(noted != UNKNOWN)
        refuse_changed(ids, noted[ids], self._labels[ids])
        self._labels[ids] = noted[ids]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Compare what was trained on with what was known before."""
        labels = self._record.all_labels()
        ids = np.flatnonzero(labels != UNKNOWN)
        refuse_changed(ids, labels[ids], self._labels[ids])
        self._labels = labels


def one_label_each(ids: Any, labels: Any) -> Any:
    """As `KnownLabels.checked`, where nothing is known but the batch."""
    if tf.is_symbolic_tensor(ids):
        return _checked_tensors(ids, _classes(labels), None)
    refuse_two_labels(ids, class_of(labels))
    return ids


def class_of(labels: np.ndarray) -> np.ndarray:
    """Checked labels as integers `(n,)`."""
    return labels.argmax(axis=-1) if labels.ndim == 2 else labels


def refuse_changed(ids: np.ndarray, labels: np.ndarray, known: np.ndarray) -> None:
    """Check that examples have the labels that they were trained on under.

    A single other one is refused: nobody would hear of it otherwise.

    Args:
        ids: integers, `(n,)`.
        labels: integers, `(n,)`.
        known: what they were trained on under, integers `(n,)`, or `UNKNOWN`.

    Raises:
        ValueError: if one has not.
    """
    is_changed = (known != UNKNOWN) & (known != labels)
    if not is_changed.any():
        return
    first = is_changed.argmax()
    figures = is_changed.sum(), len(ids), ids[first], known[first], labels[first]
    raise DataError(_filled(_CHANGED, figures))


def refuse_two_labels(ids: np.ndarray, labels: np.ndarray) -> None:
    """Check that equal ids come with equal labels.

    Args:
        ids: integers, `(n,)`.
        labels: integers, `(n,)`.

    Raises:
        ValueError: if some do not.
    """
    order = np.argsort(ids, kind="stable")
    ids, labels = ids[order], labels[order]
    is_bad = (ids[1:] == ids[:-1]) & (labels[1:] != labels[:-1])
    if not is_bad.any():
        return
    first = is_bad.argmax()
    figures = is_bad.sum(), len(ids), ids[first], labels[first], labels[first + 1]
    raise DataError(_filled(_TWO_LABELS, figures))


def _filled(text: str, figures: Iterable[Any]) -> str:
    """As `tf.strings.format`, which knows no other place than `{}`."""
    for figure in figures:
        text = text.replace("{}", str(figure), 1)
    return text


def _classes(labels: Any) -> Any:
    if len(labels.shape) == 2:
        labels = tf.argmax(labels, axis=-1)
    return tf.cast(labels, tf.int64)


def _checked_tensors(ids: Any, labels: Any, known: Any) -> Any:
    """As `refuse_changed` and `refuse_two_labels`, in an input pipeline."""
    order = tf.argsort(ids, stable=True)
    sorted_ids, sorted_labels = tf.gather(ids, order), tf.gather(labels, order)
    is_bad = (sorted_ids[1:] == sorted_ids[:-1]) & (
        sorted_labels[1:] != sorted_labels[:-1]
    )
    checks = [
        _assertion(
            is_bad, _TWO_LABELS, sorted_ids, sorted_labels[:-1], sorted_labels[1:]
        )
    ]
    if known is not None:
        is_changed = (known != UNKNOWN) & (known != labels)
        checks.append(_assertion(is_changed, _CHANGED, ids, known, labels))
    with tf.control_dependencies(checks):
        return tf.identity(ids)


def _assertion(is_bad: Any, text: str, ids: Any, *labels: Any) -> Any:
    def describe() -> Any:
        first = tf.argmax(is_bad)
        figures = tf.reduce_sum(tf.cast(is_bad, tf.int64)), tf.size(ids)
        places = (one[first] for one in (ids, *labels))
        return tf.strings.format(text, (*figures, *places))

    any_bad = tf.reduce_any(is_bad)
    found = tf.cond(any_bad, describe, lambda: tf.constant(""))
    return tf.debugging.Assert(~any_bad, [ASSERTION_MARK, found])
