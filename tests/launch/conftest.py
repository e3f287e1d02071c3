import sys
from pathlib import Path

import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture(autouse=True)
def _no_lasting_determinism(monkeypatch):
    # It cannot be switched off again, and turns XLA off for the rest of the process.
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)
