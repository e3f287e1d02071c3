"""What a method is to the step that all share: pure parts, and what they are given.

A method never sees replicas, loss scales, optimizers or Keras' training loop. Its parts
are functions of arrays; tables, their checkpoints, exact restart, replicas, the host's
memory, mixed precision and several steps in an execution come with `NoisyLabelModel`.
docs/methods.md writes one step by step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from sop_keras.core.batch import Batch, Tensor
from sop_keras.core.example_tables import ExampleTables
from sop_keras.core.look import Look
from sop_keras.core.passes import Pass
from sop_keras.core.scan import PredictionScan
from sop_keras.core.table import Table
from sop_keras.label_issues.doubts import (
    Doubt,
    Evidence,
    found,
    general_doubts,
    high_loss,
)


class Method:
    """The parts of a method that trains on wrong labels.

    A method is a frozen dataclass of its hyper-parameters that derives from this class,
    registered with Keras so that a saved model finds it. It overrides the parts it has.

    Attributes:
        num_networks: how many networks it trains, 1 or 2.
        in_turn: whether two networks learn in turn, each in passes of its own.
        predicts_together: whether two networks predict together, by the mean of their
            outputs.
        takes_weights: whether examples may have weights.
        loss_sees_updated_rows: whether rows are updated before the loss sees them.
        averages_equal_ids: whether what equal ids of a batch bring to their row is
            averaged, not summed.
        finds_label_issues: whether `scores` tells wrong labels from right ones.
        compiles: whether XLA can compile a step; not where rows decide on its sizes.
        tables_kind: the class of its tables; saved files name it.
        views_help: what a user is told who gives two views where one is taken.
        pairs_help: what one is told who does not give the two that training takes.
    """

    num_networks: int = 1
    in_turn: bool = False
    predicts_together: bool = False
    takes_weights: bool = True
    loss_sees_updated_rows: bool = False
    averages_equal_ids: bool = False
    finds_label_issues: bool = False
    compiles: bool = True
    tables_kind: type[ExampleTables] = ExampleTables
    views_help: str = (
        "This method takes one view, such as the weak one of each pair: "
        "dataset.map(lambda x, y: (x[0], y))."
    )
    pairs_help: str = "With this method, every example is trained on in two views."

    @property
    def num_views(self) -> int:
        """How many views of each example a step trains on, 1 or 2."""
        return 1

    @property
    def mixes_inputs(self) -> bool:
        """Whether it trains on sums of inputs, which then have to be quantities."""
        return False

    @property
    def loss_parts(self) -> tuple[str, ...]:
        """The names of the parts that `loss` gives: metrics of `fit`."""
        return ()

    @property
    def row_rates(self) -> Mapping[str, Any]:
        """The learning rates of tables that descend along a gradient, by name.

        Numbers, LearningRateSchedules, or plain `keras.optimizers.SGD`; `"auto"` where
        the method sets the rate of a table by itself, as it trains.
        """
        return {}

    def tables(self, num_classes: int) -> tuple[Table, ...]:
        """What every example owns."""
        return ()

    def state(self, num_classes: int) -> Mapping[str, np.ndarray]:
        """First values of variables that all examples share, by name."""
        return {}

    def check(self, num_classes: int) -> None:
        """Check the hyper-parameters against the number of classes.

        Raises:
            ValueError: if they cannot be.
        """

    def first_rows(self) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
        """Rows that do not start as their table says, by name: ids and values.

        Those that start anew later start as the table says.
        """
        return {}

    def begin(
        self,
        labels: np.ndarray | None,
        num_classes: int,
        state: Mapping[str, np.ndarray],
        num_seen: Callable[[], int] | None = None,
    ) -> Mapping[str, np.ndarray]:
        """Look at all given labels before they are trained on.

        Args:
            labels: those of `fit` on arrays; None where they are not known in advance.
            num_classes: K.
            state: the values of the shared variables.
            num_seen: gives how many examples have been trained on before; None where
                no rate sets itself, and where they were counted already.

        Returns:
            New values for some of them.

        Raises:
            ValueError: if the method needs labels that it was not given.
        """
        return {}

    def after_reset(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """New values for some shared variables once rows of examples start anew.

        Args:
            state: the values of the shared variables; in a step, where labels changed.
        """
        return {}

    def schedule(self, epoch: int, epochs: int) -> Mapping[str, float]:
        """Numbers that hold in an epoch, by name; always the same names.

        Args:
            epoch: from 0.
            epochs: of the whole training, in however many calls of `fit` it is done.
        """
        return {}

    def fresh_start(self, epochs: int) -> int | None:
        """Before which epoch the networks start anew; None: never.

        What comes before is a first training. At its end there is a look, by its best
        weights (of the lowest `val_loss`; the last without validation data). Then
        networks and optimizers, their schedules too, are as at first; all else stays.

        Args:
            epochs: of the whole training, both parts.
        """
        return None

    def phase(self, epoch: int) -> str:
        """The part of the training that an epoch is in: steps of each are compiled.

        Of methods whose networks learn in turn. `Batch` says it again.
        """
        return ""

    def batches(self, examples: Pass) -> Sequence[np.ndarray]:
        """What a network learns of in a pass, where networks learn in turn.

        Args:
            examples: what there is to learn of, and whose pass it is.

        Returns:
            For each batch the places of its examples in `examples`, integers: all of
            them once, in an order of the pass's own, in batches of `batch_size`.
        """
        return examples.cut(examples.order(), examples.batch_size)

    def most_batches(self, num_examples: int, batch_size: int) -> int:
        """How many batches both passes of an epoch have at most.

        Args:
            num_examples: N of the epoch.
            batch_size: as of `fit`.
        """
        return 2 * -(-num_examples // batch_size)

    def weight_average_decay(self, step: Tensor) -> Tensor | None:
        """How much of itself a network's running average of weights keeps in a step.

        Args:
            step: how many steps the network has made, this one included.

        Returns:
            A scalar in [0, 1]; None for no averages.
        """
        return None

    def looks_before(self, epoch: int) -> bool:
        """Whether `before_epoch` is to be called before this epoch, from 0.

        A look costs a prediction of all examples.
        """
        return False

    def before_epoch(self, look: Look) -> Mapping[str, np.ndarray]:
        """Look at all examples before an epoch.

        Returns:
            New values for the rows of some tables, `(n, columns)` or `(n,)` by name, in
            the order of `look.ids`: among them what each example is for in the coming
            epoch, for the loss to see. And for some of the variables of `state`.
        """
        return {}

    def after_epoch(self, state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """New values for variables of `state`, of their values as an epoch ends."""
        return {}

    def mix(self, batch: Batch, rows: Mapping[str, Tensor]) -> Batch:
        """The batch to train on in place of this one.

        Views, labels and weights may be others, and of more examples; ids stay, those
        of the first n. `batch.ask` has networks asked, `seen` and `extra` take what
        they said. What is recorded, counted by the metrics of `compile` and
        brought for rows is of these n, under the labels that were given.

        Args:
            batch: as it came.
            rows: its rows of every table.
        """
        return batch

    def loss(
        self, outputs: Any, rows: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the networks minimise.

        Args:
            outputs: an `Outputs`, or one of each network.
            rows: the batch's rows of every table, constants.
            batch: the batch.

        Returns:
            The objective, a scalar, and its parts, by names of `loss_parts`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no loss.")

    def updates(
        self, outputs: Any, rows: Mapping[str, Tensor], batch: Batch
    ) -> Tensor | None:
        """Whether the networks step on this batch, a boolean scalar; None: always.

        Where not, trained weights and optimizers stay as they are, `batch.step` and the
        place in a schedule too; BatchNormalization's averages follow each batch. It is
        the same on all replicas: said of the whole, by `batch.gather` or `batch.mean`.

        Args:
            outputs: as of `loss`.
            rows: likewise.
            batch: the batch.
        """
        return None

    def updated_state(
        self, outputs: Any, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """New values for variables of `state`, before `row_steps` sees them.

        They must be the same on all replicas: what is said of the whole batch, by
        `batch.gather` or `batch.mean`.
        """
        return {}

    def row_steps(
        self, outputs: Any, rows: Mapping[str, Tensor], batch: Batch
    ) -> Mapping[str, Tensor]:
        """What each example brings for its rows, `(n, columns)` by name.

        For tables that `batch.rates` has a rate of, the gradient of what the rows
        minimise.
        """
        return {}

    def row_losses(
        self, outputs: Any, rows: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """What rows minimise beside `loss`, to be shown: by names of `loss_parts`."""
        return {}

    def updated_rows(
        self,
        rows: Mapping[str, Tensor],
        steps: Mapping[str, Tensor],
        rates: Mapping[str, Tensor],
    ) -> Mapping[str, Tensor]:
        """New rows, of what all examples of the batch bring for them.

        Args:
            rows: as they are.
            steps: the sum (or the mean) of what `row_steps` gave, of equal ids.
            rates: as of `Batch`.
        """
        return {}

    def evaluation_loss(
        self, outputs: Tensor, given_labels: Tensor, labels: Tensor, from_logits: bool
    ) -> Tensor:
        """The loss of each example in evaluation, `(n,)`: the plain cross entropy.

        Args:
            outputs: the network's, float32 `(n, K)`.
            given_labels: as of `Batch`.
            labels: likewise.
            from_logits: whether the outputs are logits.
        """
        return keras.losses.categorical_crossentropy(
            labels, outputs, from_logits=from_logits
        )

    def knowing(self, state: Mapping[str, np.ndarray]) -> Method:
        """The method for `scores` and `scan`, knowing what training has found out.

        Args:
            state: the values of the shared variables.
        """
        return self

    def scores(
        self,
        log_probs: np.ndarray,
        rows: Mapping[str, np.ndarray],
        labels: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """What is said of given labels, by column of the table of label issues.

        Args:
            log_probs: the network's, `(n, K)`.
            rows: of every table.
            labels: the given labels, integers `(n,)`.

        Returns:
            `suggested_label`, `label_quality`, `noise_score`, `(n,)` each.
        """
        raise NotImplementedError(f"{type(self).__name__} finds no label issues.")

    def doubts(self, evidence: Evidence) -> tuple[Doubt, ...]:
        """Why what the training found out is not to be trusted; empty if it is.

        Args:
            evidence: of the training so far.
        """
        if not self.finds_label_issues:
            return found(high_loss(evidence))
        return general_doubts(evidence)

    def figures(self, state: Mapping[str, np.ndarray]) -> dict[str, float]:
        """What the variables of `state` say to those who watch, by name."""
        return {}

    def class_figures(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What they say of each class, `(num_classes,)`, by name as reports show it."""
        return {}

    def scan(self, labels: np.ndarray, num_classes: int) -> PredictionScan:
        """What looks at all rows after an epoch, for those who watch.

        Args:
            labels: the given labels of all examples that are looked at, `(n,)`.
            num_classes: K.
        """
        return PredictionScan(labels)

    def get_config(self) -> dict[str, Any]:
        """The hyper-parameters, as Keras saves them."""
        return {
            one.name: keras.saving.serialize_keras_object(getattr(self, one.name))
            for one in dataclasses.fields(self)  # type: ignore[arg-type]
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A method of these hyper-parameters."""
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(value)
                if isinstance(value, dict)
                else value
                for name, value in config.items()
            }
        )
