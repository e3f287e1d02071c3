"""BatchNormalization in one operation of TensorFlow's, in training on a CPU."""

from __future__ import annotations

import types
from typing import Any

import keras
import tensorflow as tf
from keras import ops


def fuse_batch_norm(model: keras.Model) -> None:
    """Have every BatchNormalization of maps train by `tf.raw_ops.FusedBatchNormV3`.

    Keras computes the moments of a map, and their gradients, in some twenty operations
    that each go through the whole map in float32. In one it is a tenth to a quarter of
    a step less on a CPU (docs/full_size.md); on a GPU, XLA makes one of them itself.
    Only the last digits change: the moving variance stays that over all n values, as
    Keras has it. In evaluation, and in files, the layers are Keras' own.

    Left as they are: layers that are synchronised or have `renorm`, another axis than
    the last, float64, inputs other than `(batch_size, height, width, channels)`, a mask
    or a `call` of their own.

    Args:
        model: changed in place, with all layers within its layers.
    """
    # Keras' own walk, of nested models, wrappers and layers within layers.
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            # Of the instance: Keras would save another class by its name.
            layer.call = types.MethodType(_call, layer)


def _call(
    layer: keras.layers.BatchNormalization,
    inputs: Any,
    training: bool | None = None,
    mask: Any = None,
) -> Any:
    if not (training and layer.trainable and mask is None and _is_of_maps(layer)):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    ones = ops.ones_like(layer.moving_mean)
    learnt = {one.name: one for one in layer.trainable_variables}
    scale = ops.cast(learnt["gamma"], "float32") if layer.scale else ones
    offset = ops.cast(learnt["beta"], "float32") if layer.center else 0.0 * ones
    nothing = tf.constant([], "float32")
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=scale,
        offset=offset,
        mean=nothing,
        variance=nothing,
        epsilon=layer.epsilon,
        is_training=True,
    )
    # Its variance is over n - 1.
    count = ops.cast(ops.size(inputs) / ops.size(ones), "float32")
    variance = variance * (ops.maximum(count - 1.0, 1.0) / count)
    for average, new in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        average.assign(average * layer.momentum + new * (1.0 - layer.momentum))
    return outputs


def _is_of_maps(layer: keras.layers.BatchNormalization) -> bool:
    return (
        type(layer).call is keras.layers.BatchNormalization.call
        and layer.compute_dtype in ("float16", "bfloat16", "float32")
        and not (layer.synchronized or layer.renorm)
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
    )
