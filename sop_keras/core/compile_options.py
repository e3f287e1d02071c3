"""What compile() of a model may be given, under a strategy and without."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import tensorflow as tf

from sop_keras.core.strategies import is_default


def check_scope(strategy: tf.distribute.Strategy) -> None:
    """Check that compile() is called where the model was made.

    Args:
        strategy: what the model was made under.

    Raises:
        ValueError: if it is in another strategy's scope, or in none.
    """
    if tf.distribute.get_strategy() is strategy:
        return
    where = "outside of all strategies' scopes, compile() is called in one"
    if not is_default(strategy):
        name = type(strategy).__name__
        where = f"in the scope of a {name}, compile() is called outside of it"
    raise ValueError(
        f"The model was made {where}, so that its variables and the optimizers would "
        "not have the same replicas. Make the model and the optimizers, and compile, "
        "in the same `with strategy.scope():`."
    )


def check_jit_compile(
    jit_compile: Any,
    num_replicas: int,
    table_device: str | None,
    compiles: bool = True,
) -> Any:
    """`jit_compile` as Keras' compile() can take it.

    Args:
        jit_compile: True, False or `"auto"`.
        num_replicas: how many the model is trained on.
        table_device: where u and v are, if not beside the network.
        compiles: whether the method's steps have known sizes. Defaults to `True`.

    Returns:
        The same, or False for `"auto"` where XLA cannot be had.

    Raises:
        ValueError: if it is True there.
    """
    reasons = []
    if num_replicas > 1:
        reasons.append(
            f"with {num_replicas} replicas, TensorFlow cannot compile the exchange "
            "between them"
        )
    if table_device is not None:
        where = "on disk" if table_device == "disk" else "in the host's memory"
        reasons.append(f"a compiled step cannot reach a table {where}")
    if not compiles:
        reasons.append(
            "how many views the method trains on differs from batch to batch"
        )
    if reasons and jit_compile is True:
        raise ValueError(
            f"jit_compile=True cannot be had here: {'; '.join(reasons)}. Leave "
            "jit_compile out."
        )
    return False if reasons else jit_compile


def check_replicable(
    optimizer: Any, steps_per_execution: Any, num_replicas: int
) -> None:
    """Refuse what Keras 3.15 cannot do with several replicas.

    It clips gradients before it sums them over the replicas. Accumulated gradients end
    in an error in its optimizer (keras-team/keras#20582), several steps in an execution
    in one of TensorFlow's loops (as in keras-team/keras#19246); both in plain Keras,
    too.

    Args:
        optimizer: the network's; an instance or a name.
        steps_per_execution: as in Keras.
        num_replicas: how many the model is trained on.

    Raises:
        ValueError: for one of these, with several replicas.
    """
    if num_replicas == 1:
        return
    if steps_per_execution != 1:
        raise ValueError(
            f"steps_per_execution={steps_per_execution} fails in Keras 3.15 with "
            f"several replicas. Received: {num_replicas} replicas; leave it at 1."
        )
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    accumulated = getattr(optimizer, "gradient_accumulation_steps", None)
    if accumulated:
        raise ValueError(
            f"gradient_accumulation_steps={accumulated} fails in Keras 3.15 with "
            f"several replicas. Received: {num_replicas} replicas. Leave it out: each "
            "replica holds only its part of the batch, which may so be larger."
        )
    for option in ("clipnorm", "clipvalue", "global_clipnorm"):
        if value := getattr(optimizer, option, None):
            raise ValueError(
                f"{option}={value} would be applied by Keras to the gradient of each "
                f"replica's part, not of the batch. Received: {num_replicas} replicas. "
                "Leave it out, or train on one device."
            )


def warn_of_unsynchronized(model: keras.Model) -> None:
    """Warn of BatchNormalization that takes each replica's part for a batch.

    Of a part without examples, as in a last batch that is smaller than the number of
    replicas, its averages are NaN.
    """
    names = [
        layer.name
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.synchronized
    ]
    if names:
        warnings.warn(
            f"{len(names)} BatchNormalization layers ({names[0]}, ...) normalise by "
            "each replica's part of the batch: several replicas will not train like "
            "one device, and an empty part makes their averages NaN. Pass "
            "synchronized=True.",
            stacklevel=4,
        )
