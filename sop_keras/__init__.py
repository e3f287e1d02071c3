"""Robust training under label noise by over-parameterisation (SOP), for Keras 3.

All that a project needs is imported from here, and loaded when it is first asked for:
`from sop_keras import SOPModel`. docs/api.md lists the names.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

__version__ = "0.1.0"

# Where each public name is; a value without a colon is a module.
_PUBLIC = {
    "SOPModel": "sop_keras.core.model:SOPModel",
    "NoiseMonitor": "sop_keras.monitoring.noise_monitor:NoiseMonitor",
    "TwoViews": "sop_keras.augment.two_views:TwoViews",
    "UDA": "sop_keras.augment.layers:UDA",
    "AutoAugment": "sop_keras.augment.layers:AutoAugment",
    "Weak": "sop_keras.augment.layers:Weak",
    "CrossEntropyModel": "sop_keras.methods.cross_entropy:CrossEntropyModel",
    "suggest_noise_rates": "sop_keras.methods.sop_rates:suggest_noise_rates",
    "with_epoch": "sop_keras.core.with_epoch:with_epoch",
    "with_index": "sop_keras.core.with_index:with_index",
}

# Whose classes saved models name: Keras loads them only once these are imported.
_REGISTERED = (
    "sop_keras.augment.keras_layer",
    "sop_keras.augment.layers",
    "sop_keras.augment.two_views",
    "sop_keras.backbones.layers",
    "sop_keras.core.model",
    "sop_keras.methods.cross_entropy",
    "sop_keras.optimizers.schedules",
    "sop_keras.optimizers.sgd",
)

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _check_backend()
    _import_registered()
    module, _, attribute = _PUBLIC[name].partition(":")
    value = importlib.import_module(module)
    if attribute:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


def _check_backend() -> None:
    import keras

    if keras.config.backend() != "tensorflow":
        raise ImportError(
            "sop_keras needs Keras' TensorFlow backend. Set KERAS_BACKEND=tensorflow "
            f"before keras is imported. The backend is: {keras.config.backend()}"
        )


def _import_registered() -> None:
    for module in _REGISTERED:
        importlib.import_module(module)


if importlib.util.find_spec("tensorflow") is None:
    raise ImportError(
        "sop_keras needs TensorFlow, which is not installed. Which build is your "
        "choice: pip install 'sop-keras[tensorflow]', or with [cpu] for machines "
        "without GPUs, or with [gpu] for NVIDIA's libraries as well."
    )
if "keras" in sys.modules:  # its saved models may be loaded by Keras alone
    _check_backend()
    _import_registered()
