"""The tf.distribute strategies that models train under."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import tensorflow as tf

from sop_keras.core.strategy_names import STRATEGIES
from sop_keras.validation import check_choice_of

_DEFAULT = type(tf.distribute.get_strategy())
_SUPPORTED = (
    tf.distribute.OneDeviceStrategy,
    tf.distribute.MirroredStrategy,
    tf.distribute.MultiWorkerMirroredStrategy,
)


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of that name.

    Args:
        name: `"none"`: TensorFlow's default, one device; `"mirrored"`: all devices of
            this machine, its GPUs or, where it has none, its logical CPUs;
            `"multi_worker"`: all machines that the environment variable `TF_CONFIG`
            names, with all their GPUs. The other machines are waited for.

    Raises:
        ValueError: if the name is unknown, or `TF_CONFIG` says nothing usable.
    """
    check_choice_of("strategy", name, STRATEGIES)
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "multi_worker":
        check_cluster(os.environ.get("TF_CONFIG"))
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.UnknownError as error:
            raise ValueError(
                f"TensorFlow cannot join the machines of TF_CONFIG: {error.message} Is "
                "the port of this machine's own entry free? Received: TF_CONFIG="
                f"{os.environ['TF_CONFIG']}"
            ) from None
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    return tf.distribute.MirroredStrategy(devices)


def check_cluster(tf_config: str | None) -> None:
    """Check what `TF_CONFIG` says; TensorFlow itself would train alone, or hang.

    Args:
        tf_config: JSON like `{"cluster": {"worker": ["host1:port", "host2:port"]},
            "task": {"type": "worker", "index": 0}}`, the index being this machine's.

    Raises:
        ValueError: if that is missing, or does not name this machine's task.
    """
    expected = (
        'Expected in TF_CONFIG: {"cluster": {"worker": ["host1:12345", "host2:12345"]'
        '}, "task": {"type": "worker", "index": 0}}, the index being that of this '
        "machine, from 0."
    )
    if not tf_config:
        raise ValueError(
            f"strategy='multi_worker' needs the environment variable TF_CONFIG, which "
            f"is not set. {expected}"
        )
    try:
        config = json.loads(tf_config)
        workers = config["cluster"]["worker"]
        kind, index = config["task"]["type"], int(config["task"]["index"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"TF_CONFIG cannot be used: {type(error).__name__}: {error}. Received: "
            f"{tf_config}. {expected}"
        ) from None
    others = sorted(set(config["cluster"]) - {"worker"})
    if others or kind != "worker":
        raise ValueError(
            "All machines must be workers, the first of them is the chief. Received: "
            f"TF_CONFIG={tf_config}. {expected}"
        )
    if not isinstance(workers, list):
        raise ValueError(
            f"TF_CONFIG's workers must be a list. Received: {tf_config}. {expected}"
        )
    if not 0 <= index < len(workers):
        raise ValueError(
            f"TF_CONFIG's task has the index {index}, but the cluster has "
            f"{len(workers)} workers. {expected}"
        )


def check_strategy(strategy: tf.distribute.Strategy) -> None:
    """Check that models can train under a strategy.

    Raises:
        ValueError: if not.
    """
    if not isinstance(strategy, (_DEFAULT, *_SUPPORTED)):
        raise ValueError(
            "Models train under tf.distribute's MirroredStrategy, "
            "MultiWorkerMirroredStrategy and OneDeviceStrategy, where every replica "
            f"holds all variables. Received: {type(strategy).__name__}."
        )


def is_default(strategy: tf.distribute.Strategy) -> bool:
    """Whether it is TensorFlow's own, which is in force outside of all scopes."""
    return isinstance(strategy, _DEFAULT)


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas are in several processes."""
    resolver = strategy.cluster_resolver
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and resolver is not None
        and len(resolver.cluster_spec().as_dict().get("worker", ())) > 1
    )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the first worker, or the only."""
    return not is_multi_worker(strategy) or strategy.cluster_resolver.task_id == 0


def scope(strategy: tf.distribute.Strategy) -> contextlib.AbstractContextManager[Any]:
    """The scope of a strategy; nothing where it is in force, or the default one."""
    if strategy is tf.distribute.get_strategy():
        return contextlib.nullcontext()
    return strategy.scope()
