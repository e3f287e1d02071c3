import os
import signal
import subprocess
import sys

import pytest

from sop_keras.training.preemption import Preempted, Preemption


def test_it_stops_where_it_is_asked_to_look():
    handler = signal.getsignal(signal.SIGTERM)
    with Preemption() as preemption:
        assert not preemption.is_requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.is_requested
        # The next one is not taken note of.
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        with pytest.raises(Preempted, match=r"SIGTERM after epoch 3; .* same command"):
            preemption.stop("after epoch 3")
    assert signal.getsignal(signal.SIGTERM) == handler


def test_the_second_one_ends_the_process():
    script = (
        "import os, signal\n"
        "from sop_keras.training.preemption import Preemption\n"
        "with Preemption():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('goes on', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('not reached', flush=True)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert ended.returncode == -signal.SIGTERM
    assert ended.stdout == b"goes on\n"
