"""Layers that draw from a key instead of generators with a state of their own."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Operations that draw from, or move, a state that outlives the call.
_STATEFUL = (
    "Assign",
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "Random",
    "RngReadAndSkip",
    "TruncatedNormal",
)


class KeyedGenerator:
    """Stands in for a `tf.random.Generator`: a key takes the place of its state.

    Args:
        key: int64, a scalar. Each draw adds its number to it, counted as the graph is
            built.
    """

    def __init__(self, key: tf.Tensor):
        self._key = key
        self._num_draws = 0

    def uniform(
        self,
        shape: Any,
        minval: Any = 0,
        maxval: Any = None,
        dtype: Any = tf.float32,
        name: str | None = None,
    ) -> tf.Tensor:
        """As `tf.random.Generator.uniform`."""
        return tf.random.stateless_uniform(
            shape, self._next_seed(), minval, maxval, dtype, name
        )

    def normal(
        self,
        shape: Any,
        mean: Any = 0.0,
        stddev: Any = 1.0,
        dtype: Any = tf.float32,
        name: str | None = None,
    ) -> tf.Tensor:
        """As `tf.random.Generator.normal`."""
        return tf.random.stateless_normal(
            shape, self._next_seed(), mean, stddev, dtype, name
        )

    def _next_seed(self) -> tf.Tensor:
        self._num_draws += 1
        return tf.stack([self._key, self._num_draws])


@contextlib.contextmanager
def keyed_draws(layer: keras.layers.Layer, key: tf.Tensor) -> Iterator[None]:
    """Where keras-cv's layers draw from `key` as a function is traced.

    They hold a `tf.random.Generator` each, whose place is taken, and samplers. Those
    have no generator to replace: keras-cv 0.9's call `tf.random.normal` and
    `tf.random.uniform`, of which only `seed` can be set. It is no key: operations with
    equal seeds go on drawing from a state of their own, and it must be a Python integer
    when the graph is built, equal for all images (a tensor ends in "Expected int for
    argument 'seed2'"). Replacing functions of `tf.random` meanwhile would reach other
    threads. So what the two samplers compute is computed here, from keyed draws.

    The layers of Keras hold neither; `keras.StatelessScope` is for them.

    Args:
        layer: any layer; the layers in it count too.
        key: int64, a scalar.
    """
    generator = KeyedGenerator(key)
    replaced = []
    for part in layer._flatten_layers():
        for name, value in vars(part).items():
            if (stand_in := _stand_in(value, generator)) is not None:
                replaced.append((vars(part), name, value, stand_in))
    try:
        for attributes, name, _, stand_in in replaced:
            attributes[name] = stand_in
        yield
    finally:
        for attributes, name, value, _ in replaced:
            attributes[name] = value


def trace(function: Callable[..., Any], signature: Any) -> tuple[Any, list[str]]:
    """Trace a function; say what draws in it are not keyed.

    Args:
        function: of tensors.
        signature: a `tf.TensorSpec` for each of its arguments.

    Returns:
        The function as TensorFlow traced it and the names of what draws, or moves, a
        state outside of it: operations, those of functions that it calls included, and
        Python's modules, whose draws are constants of what was traced.
    """
    before = _module_states()
    traced = tf.function(function, signature).get_concrete_function()
    after = _module_states()
    others = {module for module in after if after[module] != before[module]}
    definition = traced.graph.as_graph_def()
    nodes = [*definition.node]
    for called in definition.library.function:
        nodes += called.node_def
    others |= {node.op for node in nodes if node.op.startswith(_STATEFUL)}
    return traced, sorted(others)


def _module_states() -> dict[str, Any]:
    numpy_state: Any = np.random.get_state()
    _, key, position, *_ = numpy_state
    return {
        "Python's random": random.getstate(),
        "numpy.random": (bytes(key), position),
    }


def _normal(
    sampler: Any, generator: KeyedGenerator, shape: Any = (), dtype: Any = "float32"
) -> tf.Tensor:
    drawn = generator.normal(shape, sampler.mean, sampler.stddev, dtype)
    return tf.clip_by_value(drawn, sampler.min_value, sampler.max_value)


def _uniform(
    sampler: Any, generator: KeyedGenerator, shape: Any = (), dtype: Any = "float32"
) -> tf.Tensor:
    return generator.uniform(shape, sampler.lower, sampler.upper, dtype)


# By name, since keras-cv need not be there: the classes of keras_cv.core that draw.
_SAMPLERS = {"NormalFactorSampler": _normal, "UniformFactorSampler": _uniform}


def _stand_in(value: Any, generator: KeyedGenerator) -> Any:
    """What draws by the key in place of `value`, None if that does not draw."""
    if isinstance(value, tf.random.Generator):
        return generator
    if (sampler := _SAMPLERS.get(type(value).__name__)) is not None:
        return functools.partial(sampler, value, generator)
    return None
