import os
import signal
import subprocess
import sys
import time

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


# The main thread waits where no handler of Python's runs: for a mutex that it has.
WAITING = """
import ctypes, os, signal, sys
from sop_keras.training.preemption import Preemption

libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
with Preemption():
    libc.pthread_mutex_lock(mutex)
    print("waits", flush=True)
    libc.pthread_mutex_lock(mutex)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs pthreads in the C library")
def test_the_second_one_ends_a_process_that_waits_outside_of_python():
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout.readline() == b"waits\n"
            time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 128 + signal.SIGTERM
        finally:
            process.kill()


def test_the_second_one_ends_a_process_whose_read_blocks(tmp_path):
    """A pipe that nobody writes to, opened by the main thread itself."""
    os.mkfifo(tmp_path / "pipe")
    script = (
        "import sys\n"
        "from sop_keras.training.preemption import Preemption\n"
        "with Preemption():\n"
        "    print('waits', flush=True)\n"
        "    open(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "pipe")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"waits\n"
            time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) in (-signal.SIGTERM, 128 + signal.SIGTERM)
        finally:
            process.kill()


def test_others_that_are_woken_by_signals_still_are():
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write)
    try:
        with Preemption() as preemption:
            os.kill(os.getpid(), signal.SIGTERM)
            assert preemption.is_requested
            assert os.read(read, 8) == bytes([signal.SIGTERM])
        assert signal.set_wakeup_fd(write) == write
    finally:
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)
