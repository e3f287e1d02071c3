"""Results of `train_on_replicas.py` on one device, on 2 and on 4 replicas."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[1]):
    sys.path.insert(0, str(folder))

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """By the number of replicas: arrays by name."""
    folder = tmp_path_factory.mktemp("replicas")
    script = Path(__file__).with_name("train_on_replicas.py")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    filters = ["error", "ignore:__array__ implementation:DeprecationWarning"]
    options = [f"-W{each}" for each in filters]  # as in pyproject.toml
    processes, found = {}, {}
    with contextlib.ExitStack() as stack:
        # At once: each is busy in Python, on one core, most of the time.
        for number in (1, 2, 4):
            process = subprocess.Popen(
                [sys.executable, *options, script, str(number), folder],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes[number] = process
        for number, process in processes.items():
            output, _ = process.communicate(timeout=1200)
            assert process.returncode == 0, output
            with np.load(folder / f"{number}.npz") as file:
                found[number] = dict(file)
    return found
