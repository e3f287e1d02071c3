import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

sys.path[:0] = map(str, Path(__file__).resolve().parents[:2])


@pytest.fixture(autouse=True)
def _no_lasting_determinism(monkeypatch):
    # It cannot be switched off again, and turns XLA off for the rest of the process.
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)


@pytest.fixture(autouse=True)
def _messages():
    """No way of showing messages that a test has begun lasts longer than it."""
    loggers = [logging.getLogger("sop_keras"), logging.getLogger("tensorflow")]
    before = [
        (one.handlers[:], one.filters[:], one.level, one.propagate) for one in loggers
    ]
    yield
    for one, state in zip(loggers, before, strict=True):
        one.handlers, one.filters, one.level, one.propagate = state


@pytest.fixture
def in_process(monkeypatch, capfd):
    """A command's main() for arguments, without a process that starts TensorFlow.

    Gives what `subprocess.run` does. No way of showing messages lasts.
    """
    loggers = [logging.getLogger("sop_keras"), logging.getLogger("tensorflow")]

    def launch(module, *arguments):
        capfd.readouterr()
        before = [
            (one.handlers[:], one.filters[:], one.level, one.propagate)
            for one in loggers
        ]
        argv = [f"{module.__name__}.py", *map(str, arguments)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", argv)
            try:
                module.main()
                code = 0
            except SystemExit as ended:
                code = ended.code
            finally:
                for one, state in zip(loggers, before, strict=True):
                    one.handlers, one.filters, one.level, one.propagate = state
        output = capfd.readouterr()
        return SimpleNamespace(
            returncode=code, stdout=output.out, stderr=output.err, args=argv
        )

    return launch
