"""The same command twice on one folder, at the same moment."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300


@pytest.mark.slow
def test_one_trains_and_the_other_is_refused(tmp_path):
    command = [sys.executable, str(ROOT / "launch" / "train.py"), "--method=ce"]
    # So long that the other one has been refused before it ends.
    command += ["--epochs=100000", f"--output_dir={tmp_path}/run"]
    starts = [
        subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        end = time.monotonic() + SECONDS
        while all(one.poll() is None for one in starts):
            assert time.monotonic() < end
            time.sleep(0.1)
        trains, refused = sorted(starts, key=lambda one: one.poll() is not None)
        assert refused.returncode == 1
        (line,) = refused.stderr.read().splitlines()[-1:]
        assert re.match(
            rf"error: {tmp_path}/run is being written to by process {trains.pid} on "
            r".*Wait for it",
            line,
        )
        while not (tmp_path / "run" / "history.csv").exists():
            assert trains.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        # A third one hears it before TensorFlow is imported.
        third = subprocess.run(command, capture_output=True, text=True, check=False)
        assert third.returncode == 1
        assert third.stderr.splitlines() == [line]
        trains.send_signal(signal.SIGTERM)
        assert trains.wait(SECONDS) == 75
        assert not (tmp_path / "run" / "run.lock").exists()
    finally:
        for one in starts:
            one.kill()
            one.communicate()
