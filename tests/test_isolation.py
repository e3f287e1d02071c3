"""The suite itself: what lies in the checkout or the environment changes no test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras

ROOT = Path(__file__).resolve().parents[1]


def test_a_test_starts_in_an_empty_folder_outside_of_the_checkout():
    here = Path.cwd()
    assert ROOT not in (here, *here.parents)
    assert list(here.iterdir()) == []


def test_keras_has_no_settings_but_the_suites():
    assert keras.config.backend() == "tensorflow"
    assert keras.config.floatx() == "float32"
    home = Path(os.environ["KERAS_HOME"])
    assert home not in (Path.home() / ".keras", Path.home())


def test_what_would_change_a_process_is_taken_out_of_its_environment():
    hostile = {
        "TF_CONFIG": '{"cluster": {"worker": ["h:1", "h:2"]}}',
        "KERAS_BACKEND": "jax",
        "KERAS_MAX_EPOCHS": "1",
        "https_proxy": "http://nowhere:1",
        "HTTP_PROXY": "http://nowhere:1",
        "PYTHONUTF8": "0",
        "SOP_KERAS_DATA": "data",
    }
    code = """
import json, os, runpy
runpy.run_path(os.environ["CONFTEST"])
print(json.dumps(dict(os.environ)))
"""
    conftest = str(ROOT / "tests" / "conftest.py")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **hostile, "CONFTEST": conftest},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    left = json.loads(done.stdout)
    assert not left.keys() & {"TF_CONFIG", "KERAS_MAX_EPOCHS", "https_proxy"}
    assert "HTTP_PROXY" not in left
    assert (left["KERAS_BACKEND"], left["PYTHONUTF8"]) == ("tensorflow", "1")
    assert left["SOP_KERAS_DATA"] == str(Path("data").resolve())
    assert left["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    # It is gone with the process.
    assert not Path(left["KERAS_HOME"]).exists()
