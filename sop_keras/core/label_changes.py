"""An id belongs to one example, and an example's row to one label.

What a row has learnt says something of the label that it was learnt under alone. Where
ids come with other labels than before, either the examples are in another order, so
that each trains the row of another one, or labels were changed, and the rows hold what
was true of the old ones. Neither is seen in a loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from sop_keras.core.data_errors import ASSERTION_MARK, DataError
from sop_keras.core.training_record import UNKNOWN
from sop_keras.validation import check_choice_of

CHANGED_LABELS = ("refuse", "reset", "keep")
"""What `fit` does about examples that come with another label than before."""


def check_changed_labels(choice: Any) -> None:
    """Check the argument `changed_labels` of `fit`.

    Raises:
        ValueError: if it is none of `CHANGED_LABELS`.
    """
    check_choice_of("changed_labels", choice, CHANGED_LABELS)


class KnownLabels:
    """Sees to it that ids of a stream keep their labels: 4 bytes an example.

    It knows them on the host, so that a batch is checked before its step, whatever the
    input pipeline has read ahead.

    Args:
        labels: what examples were last trained on under, `(num_examples,)`, `UNKNOWN`
            where they were not; taken over, and kept up to date.
    """

    def __init__(self, labels: np.ndarray):
        self._labels = labels

    def checked(self, ids: Any, labels: Any) -> Any:
        """The ids of a batch, if they come with the labels that are known of them.

        Args:
            ids: checked ids, `(n,)`, an array or a symbolic tensor of a pipeline.
            labels: checked labels, `(n,)` or one-hot, likewise.

        Raises:
            ValueError: if one comes with another label.
        """
        return _on_host(self._check, ids, labels)

    def _check(self, ids: np.ndarray, labels: np.ndarray) -> None:
        labels = class_of(labels)
        refuse_changed(ids, labels, self._labels[ids])
        self._labels[ids] = labels
        if (self._labels[ids] != labels).any():  # costs less than to sort
            refuse_two_labels(ids, labels)


def one_label_each(ids: Any, labels: Any) -> Any:
    """As `KnownLabels.checked`, where nothing is known but the batch."""
    return _on_host(_refuse_two_labels_of, ids, labels)


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
    raise DataError(
        f"{is_changed.sum()} of {len(ids)} examples come with another label than they "
        f"were trained on under: the first is index {ids[first]}, whose label was "
        f"{known[first]} and is {labels[first]} now. An example owns its rows of the "
        "tables, and they know of the label that it had. If the examples are others, "
        "or in another order than before, pass ids: "
        'y={"label": labels, "index": ids}. If labels were corrected, '
        'fit(..., changed_labels="reset") draws the rows of these examples anew, and '
        "so does reset_examples(ids). If labels change on purpose, such as noise that "
        'is drawn anew every epoch, fit(..., changed_labels="keep") trains on with the '
        "rows as they are."
    )


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
    raise DataError(
        f"{len(np.unique(ids[1:][is_bad]))} indices come with two labels at once: the "
        f"first is index {ids[first]}, with the labels {labels[first]} and "
        f"{labels[first + 1]}. An index is one example, whose rows of the tables know "
        "of one label. Give every example an index of its own, or each one label."
    )


def _refuse_two_labels_of(ids: np.ndarray, labels: np.ndarray) -> None:
    refuse_two_labels(ids, class_of(labels))


def _on_host(
    check: Callable[[np.ndarray, np.ndarray], None], ids: Any, labels: Any
) -> Any:
    """The ids, once a check of arrays has passed them."""
    if not tf.is_symbolic_tensor(ids):
        check(ids, labels)
        return ids

    def refused(ids: np.ndarray, labels: np.ndarray) -> str:
        try:
            check(ids, labels)
        except DataError as error:  # TensorFlow would log one with its stack
            return str(error)
        return ""

    # As a function without state: op determinism would otherwise take the user's
    # prefetching out of the pipeline.
    text = tf.numpy_function(refused, [ids, labels], tf.string, stateful=False)
    accepted = tf.debugging.Assert(tf.equal(text, ""), [ASSERTION_MARK, text])
    with tf.control_dependencies([accepted]):
        return tf.identity(ids)
