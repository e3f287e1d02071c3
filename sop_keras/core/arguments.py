"""Checks of what SOPModel is built from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras

from sop_keras.core.disk_rows import check_one_device

_SQUASHING = {
    "Softmax": keras.activations.softmax,
    "Sigmoid": keras.activations.sigmoid,
}
"""Operations whose outputs are no logits."""


def check_backbone(backbone: Any, num_classes: int, from_logits: bool) -> None:
    """Look at a backbone as far as it is built.

    Warns where probabilities would be taken for logits, or logits for probabilities.

    Raises:
        ValueError: if it is no Keras model or layer, or of another output width.
    """
    if not isinstance(backbone, keras.layers.Layer):
        raise ValueError(
            "`backbone` must be a keras.Model or a keras layer. Received: "
            f"{type(backbone).__name__}"
        )
    if backbone.built and isinstance(backbone, keras.Model):
        outputs = getattr(backbone, "outputs", None)
        if outputs is not None:  # a subclassed model's outputs show when it is called
            check_outputs(outputs[0] if len(outputs) == 1 else outputs, num_classes)
    last = _last_operation(backbone)
    if last == "Dense" and not from_logits:
        warnings.warn(
            "The backbone ends in a Dense layer without an activation, but "
            "from_logits=False takes its outputs for probabilities. Pass "
            "from_logits=True, or add a softmax.",
            stacklevel=3,
        )
    if from_logits and last in _SQUASHING:
        _warn_of_squashing(last)


def check_mixable(network: Any, method: str) -> None:
    """Check that the inputs of a network can be mixed, as far as it is built.

    Args:
        network: the backbone, or its peer.
        method: the name of what mixes them.

    Raises:
        ValueError: if one is of integers.
    """
    for one in getattr(network, "inputs", None) or ():
        dtype = keras.backend.standardize_dtype(one.dtype)
        if dtype.startswith(("int", "uint", "bool")):
            raise ValueError(
                f"{method} trains on mixed inputs, and the backbone has an input of "
                f"{dtype}: between the numbers of two tokens or categories is that of "
                "a third. Pass alpha=0, which mixes nothing, or take another method. "
                "If these are images, make the input float, keras.Input(shape): it "
                "takes arrays of uint8, too."
            )


def check_method(method: Any, kind: type) -> None:
    """Check that a method is an object of one.

    Args:
        method: what came.
        kind: the class that all methods derive from.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(method, kind):
        raise ValueError(
            "`method` must be a method, such as sop_keras.methods.SOP() or "
            f"methods.CrossEntropy(). Received: {method!r}"
        )


def check_table_device(table_device: Any, folder: Any) -> Path | None:
    """Check where the rows of the examples are to be.

    Args:
        table_device: None, `"cpu"` or `"disk"`.
        folder: `table_folder`, a path for `"disk"`, otherwise None.

    Returns:
        The folder, None for rows in memory.

    Raises:
        ValueError: if one is something else; or for several replicas, with rows on
            disk.
    """
    if table_device not in (None, "cpu", "disk"):
        raise ValueError(
            '`table_device` must be "cpu" (u and v in the host\'s memory), "disk" (in '
            "the files of `table_folder`) or None (beside the network). Received: "
            f"{table_device!r}"
        )
    if (table_device == "disk") != (folder is not None):
        raise ValueError(
            '`table_folder` is the folder of the rows\' files for table_device="disk", '
            "and for nothing else: give both, or neither. Received: table_device="
            f"{table_device!r}, table_folder={folder!r}"
        )
    if folder is None:
        return None
    check_one_device()
    return Path(folder)


def check_outputs(outputs: Any, num_classes: int) -> None:
    """Check the shape of the backbone's outputs, `(batch_size, num_classes)`.

    Raises:
        ValueError: if it is another one.
    """
    shapes = keras.tree.map_structure(lambda tensor: tuple(tensor.shape), outputs)
    if hasattr(outputs, "shape") and shapes[1:] in ((), (1,)):
        raise ValueError(
            f"The backbone has one output, of shape {shapes}; expected one for each "
            f"class, (batch_size, {num_classes}). What a sigmoid says of two classes "
            "takes two outputs for two classes here: Dense(2) without an activation, "
            "num_classes=2 and labels 0 and 1."
        )
    if not hasattr(outputs, "shape") or shapes[1:] != (num_classes,):
        raise ValueError(
            f"The backbone's outputs have the shape {shapes}; expected (batch_size, "
            f"num_classes) with num_classes={num_classes}. Change the backbone's last "
            "layer or num_classes."
        )


def warn_of_probabilities(backbone: Any, outputs: Any) -> None:
    """Warn where logits are expected and a subclassed backbone has squashed them.

    Other backbones were looked at by `check_backbone`. Eager tensors do not know what
    made them; in a graph this runs when it is traced, before the first update.
    """
    operation = getattr(getattr(outputs, "op", None), "type", None)
    if operation in _SQUASHING and _last_operation(backbone) != operation:
        _warn_of_squashing(operation)


def _last_operation(backbone: Any) -> str | None:
    """What kind of operation gives the outputs, or None where it cannot be seen."""
    while isinstance(backbone, keras.Model):
        if isinstance(backbone, keras.Sequential):
            steps = backbone.layers
        else:  # only functional models have it: in topological order
            steps = getattr(backbone, "operations", None)
        if not steps:
            return None
        backbone = steps[-1]
    activation = getattr(backbone, "activation", None)
    for name, function in _SQUASHING.items():
        if activation is function:
            return name
    if isinstance(backbone, keras.layers.Dense) and activation is not None:
        linear = activation is keras.activations.linear
        return "Dense" if linear else getattr(activation, "__name__", None)
    return type(backbone).__name__


def _warn_of_squashing(operation: str) -> None:
    if operation == "Softmax":
        told = (
            "takes its outputs, which are probabilities, for logits: the softmax would "
            "be applied twice. Pass from_logits=False, or remove the softmax."
        )
    else:
        told = (
            "takes its outputs, which lie in [0, 1], for logits: no class could become "
            "much likelier than another. Remove the sigmoid."
        )
    warnings.warn(
        f"The backbone ends in a {operation.lower()}, but from_logits=True {told}",
        stacklevel=4,
    )
