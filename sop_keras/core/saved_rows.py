"""What a file of weights says to a model of another number of examples."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras.src.saving import saving_lib

from sop_keras.core import sparse_variable
from sop_keras.core.disk_rows import DiskRows

_LARGE = 2**28


class SavedRows(keras.layers.Layer):
    """A layer of rows, one for every training example, that are loaded whole.

    Keras would gather its own error for a file of other rows, and forget it where it
    finds the layer under a second name. This one is kept for the model to raise.

    Attributes:
        device: where the rows are: None for beside the network, `"cpu"` or `"disk"`.
        folder: of rows on disk.
        refusal: why the file that is being loaded does not fit; None where it does.
        leaves_rows_out: whether files that are saved and loaded are without the rows
            on disk.
    """

    num_examples: int
    device: str | None
    folder: Path | None = None
    refusal: str | None = None
    leaves_rows_out = False
    # Of the files, where two layers have one folder.
    _file_prefix = ""

    def on_disk(self) -> list[DiskRows]:
        """Rows that are no variables, in the order in which they were made."""
        return [one for one in vars(self).values() if isinstance(one, DiskRows)]

    def save_own_variables(self, store: Any) -> None:
        """Save the rows, some at a time; those on disk where variables would be."""
        on_disk = [] if self.leaves_rows_out else self.on_disk()
        for place, one in enumerate([*self.variables, *on_disk]):
            _save(store, str(place), one)

    def load_own_variables(self, store: Any) -> None:
        """Load the rows.

        Raises:
            ValueError: if the file has rows of other examples or classes.
        """
        if self.refusal is None and not self.leaves_rows_out:
            self.refusal = self._refusal(store)
        if self.refusal is not None:
            raise ValueError(self.refusal)
        on_disk = [] if self.leaves_rows_out else self.on_disk()
        own = [*self.variables, *on_disk]
        if not self.on_disk() and len(store.keys()) != len(own):
            super().load_own_variables(store)  # for Keras to say
            return
        for place, one in enumerate(own):
            if _is_of_rows(one):
                sparse_variable.load(one, _saved(store, str(place)))
            else:
                one.assign(store[str(place)])

    def _add_rows(
        self, name: str, columns: int, fill: float = 0.0, num_rows: int | None = None
    ) -> Any:
        """A variable of `num_examples` rows, or so many, where the layer's rows are."""
        num_rows = num_rows or self.num_examples
        if self.device == "disk":
            assert self.folder is not None
            name = f"{self._file_prefix}{name}"
            return DiskRows(self.folder, name, num_rows, columns, fill)

        def add() -> keras.Variable:
            return self.add_weight(
                name=name,
                shape=(num_rows, columns),
                dtype="float32",
                # Others need the memory twice: a table's values are written after.
                initializer=keras.initializers.Constant(fill) if fill else "zeros",
                trainable=False,
                autocast=False,
            )

        return add() if self.device is None else sparse_variable.on_host(add)

    def _refusal(self, store: Any) -> str | None:
        variables = [*self.variables, *self.on_disk()]
        all_saved = [tuple(_saved(store, key).shape) for key in store.keys()]  # noqa: SIM118
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
                f"The file's rows of {_name(variable)} have {saved[1]} entries, the "
                f"model's {own[1]}: they are of another number of classes, or are "
                "stored in another way. Make the model with the num_classes, table and "
                "table_slots that it was saved with."
            )
        return None


def _name(variable: Any) -> str:
    return repr(variable.path.rpartition("/")[2])


def _group(store: Any) -> Any:
    """What h5py gives for a layer's variables in a file; None where it has others.

    Keras (3.15) reads and writes whole arrays. Without this, rows are whole in memory
    for a moment. So they are where a file is cut into several, whose sizes it adds up.
    """
    if isinstance(store, saving_lib.ShardedH5IOStore):
        return None
    group = getattr(store, "_h5_entry_group", None)
    return group if isinstance(group, h5py.Group) else None


def _saved(store: Any, place: str) -> Any:
    """What a file has of a variable, with its shape, to be read in slices."""
    group = _group(store)
    if group is None or not isinstance(group.get(place, getlink=True), h5py.HardLink):
        return store[place]
    saved = group[place]
    # Of what leads to other files, or is no array, Keras says what it has against it.
    is_plain = isinstance(saved, h5py.Dataset)
    is_plain = is_plain and not saved.external and not saved.is_virtual
    return saved if is_plain else store[place]


def _is_of_rows(variable: Any) -> bool:
    return len(variable.shape) == 2


def _save(store: Any, place: str, rows: Any) -> None:
    if not _is_of_rows(rows):
        store[place] = rows
        return
    # With a row of another shape in its place, which makes the group.
    store[place] = np.zeros(0, np.float32)
    group = _group(store)
    if group is None or place not in group:
        del store[place]
        store[place] = rows.numpy()
        return
    del group[place]
    saved = group.create_dataset(place, rows.shape, np.float32)
    for piece, values in sparse_variable.pieces(rows):
        saved[piece] = values


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

    def save(self: Any, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.save`; many rows are never in memory a second time."""
        is_large = _num_bytes(self) > _LARGE or _on_disk(self)
        with _through_disk() if is_large else contextlib.nullcontext():
            super().save(filepath, *args, **kwargs)  # type: ignore[misc]

    def get_weights(self: Any) -> list[np.ndarray]:
        """As `keras.Model.get_weights`.

        Raises:
            ValueError: for rows on disk: arrays would have to hold all of them.
        """
        _check_in_memory(self)
        return super().get_weights()  # type: ignore[misc]

    def set_weights(self: Any, weights: Any) -> None:
        """As `keras.Model.set_weights`.

        Raises:
            ValueError: for rows on disk, which are none of the arrays.
        """
        _check_in_memory(self)
        with _of_the_unstored(self):
            super().set_weights(weights)  # type: ignore[misc]
            self.tables.read_unstored()


def _num_bytes(model: Any) -> int:
    variables = [*model.tables.variables, *model.training_record.variables]
    return sum(4 * math.prod(one.shape) for one in variables)


def _on_disk(model: Any) -> bool:
    return bool(model.tables.on_disk() or model.training_record.on_disk())


@contextlib.contextmanager
def _through_disk() -> Iterator[None]:
    """Have Keras write weights to a file beside the model's, and then into it.

    Keras (3.15) writes them into memory first, where they take less than half of
    what is free, and takes rows on disk for none. It has no argument for that.
    """
    bound = saving_lib._MEMORY_UPPER_BOUND
    saving_lib._MEMORY_UPPER_BOUND = 0.0
    try:
        yield
    finally:
        saving_lib._MEMORY_UPPER_BOUND = bound


def _check_in_memory(model: Any) -> None:
    if _on_disk(model):
        raise ValueError(
            "get_weights() and set_weights() hold all rows of all examples in memory, "
            'and with table_device="disk" there may be too many: what uses them, such '
            "as EarlyStopping(restore_best_weights=True), would mix rows and networks "
            "of two times. save_weights() and load_weights() take all of it, a piece "
            "at a time; model.backbone.get_weights() the network."
        )


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
