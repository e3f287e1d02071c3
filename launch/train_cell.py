"""launch/train.py for one cell of a comparison, whose process starts it.

It gets a SIGTERM, and so writes a checkpoint and stops, where that process is killed.
"""

from __future__ import annotations

import environment  # isort: skip  # noqa: F401

import ctypes
import signal
import sys

import train

_PR_SET_PDEATHSIG = 1  # of Linux' prctl

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    train.main()
