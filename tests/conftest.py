"""Settings of the whole suite: tests work alike whatever lies around them."""

import atexit
import faulthandler
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _isolate(environment):
    """Take out of the environment what would change a test, here and in processes."""
    for name in list(environment):
        if name.startswith("KERAS_") or name.lower().endswith("_proxy"):
            del environment[name]
    environment.pop("TF_CONFIG", None)
    # A keras.json at home would choose another backend or float type.
    home = tempfile.mkdtemp(prefix="keras-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    environment |= {"KERAS_HOME": home, "KERAS_BACKEND": "tensorflow"}
    environment["PYTHONUTF8"] = "1"  # whatever the locale's encoding
    # Tests and their processes are not started in this checkout, but import from it.
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(ROOT), *(os.path.abspath(path) for path in paths if path)]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    if data := environment.get("SOP_KERAS_DATA"):
        environment["SOP_KERAS_DATA"] = os.path.abspath(data)
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


_isolate(os.environ)
sys.path.insert(0, str(ROOT / "launch"))
# Last: what has a name of the launchers' is `from benchmarks import NAME`.
sys.path += [str(ROOT), str(ROOT / "benchmarks")]


@pytest.fixture(scope="session", autouse=True)
def _not_in_the_checkout(tmp_path_factory):
    """For the fixtures that several tests share, which are made before a test's own."""
    folder = tmp_path_factory.mktemp("started")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(autouse=True)
def _folder_of_its_own(_not_in_the_checkout, monkeypatch):
    # Beside tmp_path, of which some tests say all that is in it.
    with tempfile.TemporaryDirectory(dir=_not_in_the_checkout) as folder:
        monkeypatch.chdir(folder)
        yield
    if config := sys.modules.get("tensorflow.python.framework.config"):
        # It cannot be switched off, and turns XLA off for all tests that follow.
        assert not config.is_op_determinism_enabled(), "set in the tests' own process"


def pytest_unconfigure(config):
    # A process that does not end after its last test shows where it waits, and fails.
    faulthandler.dump_traceback_later(120, exit=True, file=sys.__stderr__)
