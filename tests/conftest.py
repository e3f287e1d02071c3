"""Settings of the whole suite."""

import faulthandler
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "launch"))


def pytest_unconfigure(config):
    # A process that does not end after its last test shows where it waits, and fails.
    faulthandler.dump_traceback_later(120, exit=True, file=sys.__stderr__)
