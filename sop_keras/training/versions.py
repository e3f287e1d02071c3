"""The versions of what computes the numbers."""

from __future__ import annotations

import platform

import keras
import numpy as np
import tensorflow as tf

import sop_keras


def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    return {
        "sop_keras": sop_keras.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
