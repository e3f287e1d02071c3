"""What goes into a network: one view of every example, or two."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from sop_keras.core.data_errors import DataError

PAIR_HELP = (
    "Two views are x = (weak, strong), two augmentations of the same images: "
    "fit((weak_images, strong_images), y), or of a data set with ids "
    "dataset.map(lambda x, y: ((weak(x), strong(x)), y))."
)
_STACK_HELP = (
    "Make one array of them, (num_examples, ...): np.stack(x); images must be of one "
    "size first."
)
# What layers raise for inputs that they cannot take.
_MISFITS = (AttributeError, TypeError, ValueError, tf.errors.InvalidArgumentError)
_TEXT = ("string", "object")
_NUM_SHOWN = 4


def join_views(views: tuple[Any, ...]) -> Any:
    """All views as one batch: their arrays joined on the first axis."""
    if len(views) == 1:
        return views[0]
    return keras.tree.map_structure(
        lambda *arrays: ops.concatenate(list(arrays)), *views
    )


def check_views(x: Any, backbone: Any, why: str) -> tuple[Any, Any]:
    """`(weak, strong)`, if x is two views that can pass the backbone as one batch.

    Args:
        x: arrays, or the symbolic tensors of an input pipeline.
        backbone: the backbone.
        why: what to say of the training that takes two views.

    Raises:
        ValueError: if x is one view, the views differ in structure, shapes or dtypes,
            or the backbone cannot take them.
    """
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise DataError(f"{why} Received: {_describe(x)}. {PAIR_HELP}")
    weak, strong = (keras.tree.lists_to_tuples(view) for view in x)
    if not _alike(weak, strong):
        raise DataError(
            "The two views must agree in structure, shapes and dtypes, because they "
            f"are one batch to the network. Received: {_describe(weak)} and "
            f"{_describe(strong)}. {PAIR_HELP}"
        )
    _check_against(weak, backbone, PAIR_HELP)
    return weak, strong


def count_inputs(view: Any) -> int:
    """How many arrays one view consists of."""
    return len(keras.tree.flatten(view))


def check_view(
    x: Any, backbone: Any, views_are_for: str, trained_inputs: int | None = None
) -> Any:
    """`x`, if it is one view that the backbone can take, as far as that is known.

    Args:
        x: arrays, or the symbolic tensors of an input pipeline.
        backbone: the backbone.
        views_are_for: what to say about two views.
        trained_inputs: of how many arrays a view was in training, for backbones whose
            inputs are not known. Defaults to `None`: not known either.

    Raises:
        ValueError: if x is two views, or the backbone cannot take it.
    """
    expected, takes = _expected(backbone), "another number of inputs in training"
    if expected is not None:
        trained_inputs, takes = count_inputs(expected), _describe(expected)
    if _is_pair(x) and trained_inputs not in (None, count_inputs(x)):
        raise DataError(
            "Received a pair of inputs of the same shapes, like two views, but the "
            f"backbone takes {takes}. {views_are_for}"
        )
    _check_against(x, backbone)
    return x


@contextlib.contextmanager
def explain_views(x: Any, views_are_for: str) -> Iterator[None]:
    """Say what two views are for where a backbone of unknown inputs fails on them."""
    try:
        yield
    except _MISFITS as error:
        if not _is_pair(x):
            raise
        raise DataError(
            "The backbone failed on a pair of inputs of the same shapes. If they are "
            f"two views: {views_are_for} The backbone's error: {error}"
        ) from error


def _is_pair(x: Any) -> bool:
    return isinstance(x, (tuple, list)) and len(x) == 2 and _alike(*x)


def _expected(backbone: Any) -> Any:
    """The backbone's inputs as KerasTensors, or None where they are not known."""
    inputs = getattr(backbone, "inputs", None)
    if not isinstance(inputs, list) or not isinstance(inputs[0], keras.KerasTensor):
        return None
    # Several: in the structure that the backbone was made with.
    return inputs[0] if len(inputs) == 1 else backbone.input


def _check_against(x: Any, backbone: Any, more_help: str = "") -> None:
    """Check dtypes and shapes, as far as both sides can be matched."""
    expected = _expected(backbone)
    if expected is None:
        return
    if isinstance(x, Mapping) or isinstance(expected, Mapping):
        if not (isinstance(x, Mapping) and isinstance(expected, Mapping)):
            return  # Keras goes by the names of the inputs
        shared = x.keys() & expected.keys()
        x, expected = ({key: one[key] for key in shared} for one in (x, expected))
    if count_inputs(x) != count_inputs(expected):
        if count_inputs(expected) == 1:
            check_stacked(x)
        text = f"The backbone takes {_describe(expected)}. Received: {_describe(x)}."
        raise DataError(f"{text} {more_help}".rstrip())
    # As in Keras: without such a specification, a Sequential, sizes may vary.
    compare_sizes = getattr(backbone, "input_spec", None) is not None
    pairs = zip(keras.tree.flatten(x), keras.tree.flatten(expected), strict=True)
    for array, spec in pairs:
        if not hasattr(array, "shape"):
            continue
        if _holds_arrays(array):
            raise DataError(
                f"The inputs are {len(array)} arrays in one of dtype object. "
                f"{_STACK_HELP}"
            )
        # Keras casts numbers to numbers.
        if (_dtype(array) in _TEXT) != (_dtype(spec) in _TEXT):
            mend = "Turn text into numbers first: decode images, look words up."
        elif not _fits(array.shape, spec.shape, compare_sizes):
            mend = "Change the shape of the inputs, or the backbone's keras.Input."
        else:
            continue
        raise DataError(
            f"The backbone takes {_describe(spec)}. Received: {_describe(array)}. "
            f"{mend}"
        )


def check_stacked(x: Any, num_examples: int | None = None) -> None:
    """Check that x is not a list of the examples themselves, an array each.

    Args:
        x: what should be arrays of all examples.
        num_examples: how many there are. Defaults to `None`: not known; then all lists
            of more than two entries that look alike are refused.

    Raises:
        ValueError: for such a list.
    """
    if not isinstance(x, (tuple, list)) or len(x) < 2:
        return
    # Pillow's images have the second alone.
    protocols = ("__array__", "__array_interface__")
    arrays = [one for one in x if any(hasattr(one, name) for name in protocols)]
    shapes = sorted({np.shape(one) for one in arrays}, key=str)
    if num_examples is None:
        is_list = len(x) > 2 and len(arrays) == len(x)
    else:
        lengths = {shape[:1] for shape in shapes}
        is_list = len(x) == num_examples and lengths != {(num_examples,)}
    if not (is_list and len(arrays) == len(x)):
        return
    of_shape = f"of shape {shapes[0]}" if len(shapes) == 1 else "of several shapes"
    raise DataError(f"`x` is a list of {len(x)} arrays {of_shape}. {_STACK_HELP}")


def _holds_arrays(array: Any) -> bool:
    """Whether it is an array, or a column of a table, of arrays of one example each."""
    if _dtype(array) != "object" or tf.is_symbolic_tensor(array):
        return False
    values = np.asarray(array)
    return values.ndim == 1 and len(values) > 0 and np.ndim(values[0]) > 0


def _fits(shape: Any, expected: Any, compare_sizes: bool) -> bool:
    """Whether Keras takes this shape for that, the batch size aside."""
    if tf.TensorShape(shape).rank is None:
        return True
    sizes, expected_sizes = list(shape)[1:], list(expected)[1:]
    # Keras adds or removes a last axis of length 1.
    if len(sizes) == len(expected_sizes) + 1 and sizes[-1] == 1:
        sizes.pop()
    elif len(expected_sizes) == len(sizes) + 1 and expected_sizes[-1] == 1:
        expected_sizes.pop()
    if not compare_sizes:
        return len(sizes) == len(expected_sizes)
    return tf.TensorShape(sizes).is_compatible_with(expected_sizes)


def _alike(one: Any, other: Any) -> bool:
    """Whether both are of the same structure, their arrays of equal shapes, dtypes."""
    try:
        keras.tree.assert_same_structure(one, other)
    except (TypeError, ValueError):
        return False
    return all(
        hasattr(a, "shape")
        and hasattr(b, "shape")
        and tf.TensorShape(a.shape).is_compatible_with(tf.TensorShape(b.shape))
        and _dtype(a) == _dtype(b)
        for a, b in zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
    )


def _dtype(array: Any) -> str:
    dtype = array.dtype if hasattr(array, "dtype") else np.asarray(array).dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "OSU":
        return "object" if dtype.kind == "O" else "string"
    return keras.backend.standardize_dtype(dtype)


def _describe(structure: Any) -> str:
    """Dtypes and shapes, like "float32 (None, 32, 32, 3)"."""

    def of_array(array: Any) -> str:
        if not hasattr(array, "shape"):
            return type(array).__name__
        return f"{_dtype(array)} {tuple(array.shape)}"

    if isinstance(structure, (tuple, list)) and len(structure) > _NUM_SHOWN:
        first = ", ".join(map(_describe, structure[:_NUM_SHOWN]))
        return f"{len(structure)} inputs ({first}, ...)"
    described = keras.tree.map_structure(of_array, structure)
    return described if isinstance(described, str) else str(described)
