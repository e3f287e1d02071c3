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
    # Models and methods
    "NoisyLabelModel": "sop_keras.core.model:NoisyLabelModel",
    "SOPModel": "sop_keras.methods.sop_model:SOPModel",
    "methods": "sop_keras.methods",
    "losses": "sop_keras.losses",
    "Method": "sop_keras.core.method:Method",
    "Table": "sop_keras.core.table:Table",
    "suggest_uv_rates": "sop_keras.methods.sop_rates:suggest_uv_rates",
    "empirical_class_prior": "sop_keras.methods.sop_regularizers:empirical_class_prior",
    # Data
    "with_index": "sop_keras.core.with_index:with_index",
    "with_epoch": "sop_keras.core.with_epoch:with_epoch",
    "ExampleSource": "sop_keras.core.example_source:ExampleSource",
    "TwoViews": "sop_keras.augment.two_views:TwoViews",
    "UDA": "sop_keras.augment.layers:UDA",
    "AutoAugment": "sop_keras.augment.layers:AutoAugment",
    "CropAndFlip": "sop_keras.augment.layers:CropAndFlip",
    "KerasAugmentation": "sop_keras.augment.keras_layer:KerasAugmentation",
    "load_dataset": "sop_keras.data.datasets.by_name:load_dataset",
    "DataFiles": "sop_keras.data.datasets.by_name:DataFiles",
    # Networks
    "build_backbone": "sop_keras.backbones.build:build_backbone",
    "synchronize_batch_norm": (
        "sop_keras.backbones.synchronized:synchronize_batch_norm"
    ),
    "SGD": "sop_keras.optimizers.sgd:SGD",
    # Wrong labels
    "find_label_issues": "sop_keras.label_issues.find:find_label_issues",
    "write_label_issues": "sop_keras.label_issues.export:write_label_issues",
    "read_label_issues": "sop_keras.label_issues.export:read_label_issues",
    "cleanlab_inputs": "sop_keras.label_issues.cleanlab:cleanlab_inputs",
    "audit": "sop_keras.auditing.audit:audit",
    "HeadSettings": "sop_keras.auditing.head_settings:HeadSettings",
    "read_decisions": "sop_keras.label_issues.decisions:read_decisions",
    "NoiseMonitor": "sop_keras.monitoring.noise_monitor:NoiseMonitor",
    # Features
    "FeatureStore": "sop_keras.features.store:FeatureStore",
    "embed": "sop_keras.features.embed:embed",
    "feature_network": "sop_keras.features.network:feature_network",
    "read_features": "sop_keras.features.own_features:read_features",
    # Runs
    "Experiment": "sop_keras.training.experiment:Experiment",
    "Run": "sop_keras.training.run:Run",
    "write_report": "sop_keras.report.write:write_report",
}

# Whose classes saved models name: Keras loads them only once these are imported.
_REGISTERED = (
    "sop_keras.augment.keras_layer",
    "sop_keras.augment.layers",
    "sop_keras.augment.two_views",
    "sop_keras.backbones.layers",
    "sop_keras.core.model",
    "sop_keras.losses",
    "sop_keras.methods.sop_model",
    "sop_keras.optimizers.schedules",
    "sop_keras.optimizers.sgd",
)

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    if not attribute:  # such a module says what can be known without Keras
        return importlib.import_module(module)
    _check_backend()
    _import_registered()
    value = getattr(importlib.import_module(module), attribute)
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
    importlib.import_module("sop_keras.methods").load_all()


if importlib.util.find_spec("tensorflow") is None:
    raise ImportError(
        "sop_keras needs TensorFlow, which is not installed. Which build is your "
        "choice: pip install 'sop-keras[tensorflow]', or with [cpu] for machines "
        "without GPUs, or with [gpu] for NVIDIA's libraries as well."
    )
if "keras" in sys.modules:  # its saved models may be loaded by Keras alone
    _check_backend()
    _import_registered()
