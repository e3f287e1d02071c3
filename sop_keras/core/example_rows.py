"""Whose rows are whose: examples that are reset, trusted, or new."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from sop_keras.core import label_changes
from sop_keras.core.batch import Batch
from sop_keras.core.disk_rows import clear_disk_errors, room_for
from sop_keras.core.example_tables import ExampleTables
from sop_keras.core.global_batch import GlobalBatch
from sop_keras.core.indexed_model import IndexedModel
from sop_keras.core.label_checks import check_indices, check_labels
from sop_keras.core.strategies import scope
from sop_keras.core.training_record import TrainingRecord
from sop_keras.validation import check_integer


class ExampleRows(IndexedModel):
    """A model whose rows follow what becomes of their examples.

    Attributes:
        tables: the rows.
        training_record: the label that each example was last trained on under, and
            whether a person has confirmed it.
    """

    tables: ExampleTables
    training_record: TrainingRecord
    _resets_changed = False

    @contextlib.contextmanager
    def _refusable(self) -> Iterator[None]:
        with clear_disk_errors(self), super()._refusable():
            yield

    def reset_examples(self, ids: Any) -> None:
        """Start the rows of some examples anew, as if they had never been trained on.

        For labels that were corrected: the rows of an example whose label was taken
        for wrong explain it away, and would hide the right one from the network. The
        first values are those of a table whose rate is `"auto"`, or draws of the same
        distribution, which hang on the model's seed and the id. What `trust` wrote of
        these examples is withdrawn.

        Args:
            ids: theirs, integers `(n,)` in `[0, num_examples)`.

        Raises:
            ValueError: for ids that do not exist.
        """
        ids = self._distinct(ids)
        with scope(self.distribute_strategy):
            self.tables.write_first_rows(ids)
            self.training_record.forget(ids)
            self._is_counted = False
            if len(ids):
                self.assign_shared(self.method.after_reset(self.shared_values()))

    def trust(self, ids: Any, given_labels: Any = None) -> None:
        """Keep the rows of examples neutral: a person has confirmed their labels.

        The network is trained on these labels as if nothing were known against them (of
        SOP, s = 0), and `label_issues` never marks them. What a method decides by the
        loss of the step alone, it still does: which labels Co-teaching picks and CORES2
        sieves, and the losses of GCE, SL and Forward. It holds, in saved files too,
        until `reset_examples`; the labels are those that these examples come with from
        now on.

        Args:
            ids: theirs, integers `(n,)` in `[0, num_examples)`.
            given_labels: where labels were corrected: those that the examples came
                with, integers `(n,)` in `[0, num_classes)`. What a method learns from
                all labels about their noise, it learns from these: corrected ones agree
                with the network, and would hide how many are wrong. Defaults to `None`:
                the labels are as they came.

        Raises:
            ValueError: for ids that do not exist, and labels that are none.
        """
        given = None
        if given_labels is not None:
            ids, given = self._labels_given(ids, given_labels)
        ids = self._distinct(ids)
        self.neutralize(ids)
        with scope(self.distribute_strategy):
            self.training_record.trust(ids, given)

    def neutralize(self, ids: np.ndarray) -> None:
        """Write rows that change nothing (of SOP, s = 0).

        Args:
            ids: of the examples, integers `(n,)`, none twice.
        """
        with scope(self.distribute_strategy):
            self.tables.write_neutral(ids)

    def grow(self, num_examples: int) -> None:
        """Take more training examples, with rows of their own.

        The model stays compiled, and all that it has learnt stays: networks, optimizers
        and the rows of the old examples. New ones have the ids from the old
        `num_examples` on, and rows as `reset_examples` draws them.

        Args:
            num_examples: of all, old and new; at least as many as now.

        Raises:
            ValueError: if they are fewer, as rows would be lost.
            OutputError: if the disk has no room for rows on disk; these, and what there
                was at checkpoints, are then as before.
        """
        num_examples = check_integer("num_examples", num_examples, 1)
        if num_examples < self.num_examples:
            raise ValueError(
                "grow(num_examples) takes the number of all examples, old and new, and "
                f"drops none. Received: num_examples={num_examples} for a model of "
                f"{self.num_examples}. Fewer examples may be trained on as they are, "
                'with their ids: y={"label": labels, "index": ids}.'
            )
        if num_examples == self.num_examples:
            return
        with scope(self.distribute_strategy), room_for(self, num_examples):
            self.tables.grow(num_examples)
            self.training_record.grow(num_examples)
        self.num_examples = self._training_data.num_examples = num_examples
        self.train_function = None  # the compiled step has the old variables

    def _level_rows(self) -> None:
        """Start the rows of `tables.level` that no training has moved yet."""
        with scope(self.distribute_strategy):
            for ids in self.training_record.unwritten():
                self.tables.start_level(ids)

    def _labels_given(self, ids: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
        """Ids in order, and the labels that they came with."""
        ids, labels = np.asarray(ids), np.asarray(labels)
        distinct, places = np.unique(ids, return_index=True)
        if labels.shape != ids.shape or len(distinct) != len(ids):
            raise ValueError(
                "trust(ids, given_labels) takes one label an id, and no id twice. "
                f"Received: ids of shape {ids.shape}, {len(distinct)} different ones, "
                f"and labels of shape {labels.shape}."
            )
        labels = check_labels(labels, self.num_classes)
        return distinct, labels[places]

    def _distinct(self, ids: Any) -> np.ndarray:
        return np.unique(check_indices(ids, self.num_examples))

    def _stream_check(
        self, changed_labels: str
    ) -> tuple[Callable[[Any, Any], Any] | None, list[keras.callbacks.Callback]]:
        if changed_labels == "keep":
            return None, []
        if changed_labels == "reset":
            return label_changes.one_label_each, []
        known = label_changes.KnownLabels(self.training_record)
        return known.checked, [known]

    def _settle_changed(self, changed_labels: str, y: Any) -> None:
        self._reset_in_steps(y is None and changed_labels == "reset")
        if y is None:
            return
        ids, labels = y["index"], label_changes.class_of(y["label"])
        label_changes.refuse_two_labels(ids, labels)
        known = self.training_record.labels(ids)
        if changed_labels == "refuse":
            label_changes.refuse_changed(ids, labels, known)
        elif changed_labels == "reset":
            self._start_anew(ids[self.training_record.other_label(ids, labels)])

    def _start_anew(self, ids: np.ndarray) -> None:
        """Reset examples whose labels changed, but for those that are trusted."""
        is_trusted = ops.convert_to_numpy(self.training_record.is_trusted(ids))[:, 0]
        self.reset_examples(ids[~is_trusted])

    def _reset_in_steps(self, resets: bool) -> None:
        if resets != self._resets_changed:
            self._resets_changed = resets
            self.train_function = None  # a step that does so is another one

    def _reset_changed(self, given: Batch, whole: GlobalBatch) -> None:
        """Start the rows anew of all examples of the batch whose labels changed."""
        ids = whole.gather(given.ids)
        labels = whole.gather(ops.argmax(given.labels, axis=-1))
        is_changed = self.training_record.is_changed(ids, labels)[:, None]
        is_trusted = self.training_record.is_trusted(ids)
        starts = ops.logical_and(is_changed, ops.logical_not(is_trusted))
        self.tables.write_first_where(ids, starts)
        for name, value in self.method.after_reset(self.shared).items():
            old_value = ops.convert_to_tensor(self.shared[name])
            self.assign_shared({name: ops.where(ops.any(starts), value, old_value)})
