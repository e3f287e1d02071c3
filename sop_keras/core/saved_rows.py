"""What a file of weights says to a model of another number of examples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


class SavedRows(keras.layers.Layer):
    """A layer of rows, one for every training example, that are loaded whole.

    Keras would gather its own error for a file of other rows, and forget it where it
    finds the layer under a second name. This one is kept for the model to raise.

    Attributes:
        refusal: why the file that is being loaded does not fit; None where it does.
    """

    num_examples: int
    refusal: str | None = None

    def load_own_variables(self, store: Any) -> None:
        """Load the rows.

        Raises:
            ValueError: if the file has rows of other examples or classes.
        """
        if self.refusal is None:
            self.refusal = self._refusal(store)
        if self.refusal is not None:
            raise ValueError(self.refusal)
        super().load_own_variables(store)

    def _refusal(self, store: Any) -> str | None:
        variables = self.variables
        all_saved = [tuple(store[key].shape) for key in store.keys()]  # noqa: SIM118
        tables = [shape for shape in all_saved if len(shape) == 2]
        if len(tables) != sum(len(one.shape) == 2 for one in variables):
            return None  # another method's, or nothing: for Keras to say
        if len(all_saved) != len(variables):
            # A seed of what is not stored stands beside the tables of one alone.
            is_compact = len(all_saved) > len(tables)
            file, model = "compact", "dense"
            if not is_compact:
                file, model = model, file
            return (
                f'The file was saved with table="{file}", and the model is made with '
                f'table="{model}". Make it with the table and table_slots that the '
                "file was saved with."
            )
        for saved, variable in zip(all_saved, variables, strict=True):
            own = tuple(variable.shape)
            if saved == own:
                continue
            if saved[0] != own[0]:
                return (
                    f"The file has the rows of {saved[0]} training examples, but the "
                    f"model was made with num_examples={own[0]}. Make it with "
                    f"num_examples={saved[0]}, or load the network alone: "
                    "load_weights(..., skip_mismatch=True) leaves the rows of the "
                    "examples as they are."
                )
            return (
                f"The file's rows of {variable.name!r} have {saved[1]} entries, the "
                f"model's {own[1]}: they are of another number of classes, or are "
                "stored in another way. Make the model with the num_classes, table and "
                "table_slots that it was saved with."
            )
        return None


class LoadsRows:
    """Mixin for a `keras.Model` with layers of rows: their error is the one raised."""

    def load_weights(self: Any, filepath: Any, **kwargs: Any) -> None:
        """As `DistributedModel.load_weights`.

        Raises:
            ValueError: if the file has the rows of another number of examples or
                classes, unless `skip_mismatch=True`; and as in Keras.
        """
        layers = (self.tables, self.training_record)
        for layer in layers:
            layer.refusal = None
        try:
            with _of_the_unstored(self):
                super().load_weights(filepath, **kwargs)  # type: ignore[misc]
        except ValueError as error:
            refusals = [one.refusal for one in layers if one.refusal is not None]
            if not refusals:
                raise
            raise ValueError(refusals[0]) from error

    def set_weights(self: Any, weights: Any) -> None:
        """As `keras.Model.set_weights`."""
        with _of_the_unstored(self):
            super().set_weights(weights)  # type: ignore[misc]
            self.tables.read_unstored()


@contextlib.contextmanager
def _of_the_unstored(model: Any) -> Iterator[None]:
    """Compile the step anew where unstored entries are others afterwards.

    And have the examples that were trained on be counted again.
    """
    unstored = model.tables.unstored()
    try:
        yield
    finally:
        model._is_counted = False
        if model.tables.unstored() != unstored and model.train_function is not None:
            # `fit` may have made the function already, and calls it.
            model.make_train_function(force=True)
