"""Runs launch/audit.py, which rests after the head's fourth epoch; to be killed.

python audit_slowly.py FLAGS
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "launch"))

import audit
import audit_runs


def tell_once(what, rate=""):
    def tell(done, total, seconds):
        if "head" in what and done == 4:
            print("four of", total, what, flush=True)
            time.sleep(600)

    return tell


audit_runs._progress = tell_once
audit.main(sys.argv[1:])
