"""Checks of what SOPModel is built from."""

from __future__ import annotations

import warnings
from typing import Any

import keras


def check_backbone(backbone: Any, num_classes: int, from_logits: bool) -> None:
    """Look at a backbone as far as it is built.

    Warns where a softmax would be applied twice.

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
    if from_logits and _last_operation(backbone) == "Softmax":
        _warn_of_softmax()


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


def check_table_device(table_device: Any) -> str | None:
    """`table_device`, if it is None or `"cpu"`.

    Raises:
        ValueError: if it is something else.
    """
    if table_device not in (None, "cpu"):
        raise ValueError(
            '`table_device` must be "cpu" (u and v in the host\'s memory) or None '
            f"(beside the network). Received: {table_device!r}"
        )
    return table_device


def check_outputs(outputs: Any, num_classes: int) -> None:
    """Check the shape of the backbone's outputs, `(batch_size, num_classes)`.

    Raises:
        ValueError: if it is another one.
    """
    shapes = keras.tree.map_structure(lambda tensor: tuple(tensor.shape), outputs)
    if not hasattr(outputs, "shape") or shapes[1:] != (num_classes,):
        raise ValueError(
            f"The backbone's outputs have the shape {shapes}; expected (batch_size, "
            f"num_classes) with num_classes={num_classes}. Change the backbone's last "
            "layer or num_classes."
        )


def warn_of_probabilities(backbone: Any, outputs: Any) -> None:
    """Warn where logits are expected and a subclassed backbone's softmax made them.

    Other backbones were looked at by `check_backbone`. Eager tensors do not know what
    made them; in a graph this runs when it is traced, before the first update.
    """
    operation = getattr(outputs, "op", None)
    by_softmax = operation is not None and operation.type == "Softmax"
    if by_softmax and _last_operation(backbone) != "Softmax":
        _warn_of_softmax()


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
    if getattr(backbone, "activation", None) is keras.activations.softmax:
        return "Softmax"
    return type(backbone).__name__


def _warn_of_softmax() -> None:
    warnings.warn(
        "The backbone ends in a softmax, but from_logits=True takes its outputs, which "
        "are probabilities, for logits: the softmax would be applied twice. Pass "
        "from_logits=False, or remove the softmax.",
        stacklevel=4,
    )
