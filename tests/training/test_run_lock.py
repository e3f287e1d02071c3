"""One process at a time, in processes that start quickly: no TensorFlow in them."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from sop_keras.files import kernel_lock
from sop_keras.files.atomic import OutputError
from sop_keras.training import run_lock
from sop_keras.training.run_lock import RunLock, RunLockedError, check_not_locked

# Told a moment and a folder, it waits for that, takes the lock, says so and keeps it
# until it is told to go on.
START = """
import sys, time
from pathlib import Path
from sop_keras.training import run_lock

print("ready", flush=True)
for line in sys.stdin:
    moment, folder = line.strip().split(maxsplit=1)
    time.sleep(max(0, float(moment) - time.time()))
    try:
        with run_lock.RunLock(Path(folder)):
            print("trains", flush=True)
            sys.stdin.readline()
        print("ended", flush=True)
    except run_lock.RunLockedError as error:
        print("refused:", error, flush=True)
"""
NUM_STARTS = 20


class Start:
    """A process that takes the locks of folders."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        assert self.line() == "ready"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def line(self):
        return self.process.stdout.readline().strip()

    def at(self, moment, folder):
        print(moment, folder, file=self.process.stdin, flush=True)

    def now(self, folder):
        self.at(0, folder)
        return self.line()

    def end(self):
        print("end", file=self.process.stdin, flush=True)
        assert self.line() == "ended"


@pytest.fixture(autouse=True)
def _locks(tmp_path):
    with (tmp_path / "probe").open("w") as file:
        if kernel_lock.try_lock(file.fileno()) is None:
            pytest.skip("This file system has no locks.")


def test_two_starts_at_one_moment_are_one_run(tmp_path):
    """20 times: one trains, the other is refused, never both, never neither."""
    with Start() as one, Start() as other:
        for number in range(NUM_STARTS):
            moment = time.time() + 0.05
            for start in (one, other):
                start.at(moment, tmp_path / str(number))
            lines = [one.line(), other.line()]
            assert sorted(line.partition(":")[0] for line in lines) == [
                "refused",
                "trains",
            ]
            trains, refused = (one, 1) if lines[0] == "trains" else (other, 0)
            assert f"process {trains.process.pid} on " in lines[refused]
            trains.end()


def test_the_second_start_is_told_who_and_what_to_do(tmp_path):
    with Start() as first, Start() as second:
        assert first.now(tmp_path / "run") == "trains"
        said = second.now(tmp_path / "run")
        assert re.match(
            rf"refused: .*/run is being written to by process {first.process.pid} on "
            r"\S+: the same run was started before\. Wait for it, or stop it and run "
            r"this command again; to train beside it, choose another folder\.$",
            said,
        )
        with pytest.raises(RunLockedError, match=f"process {first.process.pid} on"):
            check_not_locked(tmp_path / "run")
        first.end()
        check_not_locked(tmp_path / "run")


def test_a_process_that_is_killed_keeps_nobody_out(tmp_path):
    with Start() as first, Start() as second:
        assert first.now(tmp_path / "run") == "trains"
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        assert (tmp_path / "run" / "run.lock").exists()
        assert second.now(tmp_path / "run") == "trains"


def test_what_another_machine_left_locks_nothing(tmp_path):
    left = {"pid": 1, "host": "preempted", "boot": "another"}
    (tmp_path / "run.lock").write_text(json.dumps(left))
    started = time.monotonic()
    with RunLock(tmp_path):
        said = json.loads((tmp_path / "run.lock").read_text())
        assert said["pid"] == os.getpid()
    assert time.monotonic() - started < 5
    check_not_locked(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "null", "[" * 4000, '{"pid": "\\u001b", "host": [1]}', "\0" * 9000]
)
def test_whatever_a_lock_says_it_says_who_as_far_as_it_knows(
    tmp_path, content, monkeypatch
):
    monkeypatch.setattr(run_lock, "_UNSAID", 0.2)
    monkeypatch.setattr(run_lock, "PATIENCE", 0.2)
    with RunLock(tmp_path):
        (tmp_path / "run.lock").write_text(content)
        with pytest.raises(RunLockedError, match="written to by another process: "):
            RunLock(tmp_path).__enter__()


def test_a_lock_of_another_machine_is_waited_for(tmp_path, monkeypatch, caplog):
    """Whose server gives it back, once that machine is gone for so long."""
    monkeypatch.setattr(run_lock, "PATIENCE", 1.0)
    theirs = {"pid": 7, "host": "gone\x1b", "boot": "another"}
    first = RunLock(tmp_path)
    first.__enter__()
    (tmp_path / "run.lock").write_text(json.dumps(theirs))
    with (
        caplog.at_level("INFO", "sop_keras"),
        pytest.raises(
            RunLockedError,
            match=r"process 7 on gone\\x1b: .* gone for good, remove .*/run\.lock\.$",
        ),
    ):
        RunLock(tmp_path).__enter__()
    assert r"locked by process 7 on gone\x1b: waiting up to 1 seconds" in caplog.text
    check_not_locked(tmp_path)  # which does not wait
    threading.Timer(0.5, first.__exit__).start()
    with RunLock(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


def test_nothing_is_left_and_what_was_there_stays(tmp_path):
    with RunLock(tmp_path / "new" / "run") as lock:
        lock.check()
        assert (tmp_path / "new" / "run" / "run.lock").is_file()
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with RunLock(tmp_path / "old"):
        pass
    assert list((tmp_path / "old").iterdir()) == []
    with RunLock(tmp_path / "used"):
        (tmp_path / "used" / "file").write_text("")
    assert [one.name for one in (tmp_path / "used").iterdir()] == ["file"]


def test_a_folder_that_another_start_removed_is_made_again(tmp_path, monkeypatch):
    take, calls = run_lock._KernelLock.take, []

    def removed_at_first(lock):
        calls.append(lock)
        if len(calls) == 1:
            (tmp_path / "run").rmdir()
        return take(lock)

    monkeypatch.setattr(run_lock._KernelLock, "take", removed_at_first)
    with RunLock(tmp_path / "run") as lock:
        lock.check()
    assert len(calls) == 2
    assert not (tmp_path / "run").exists()


def test_a_start_that_was_taken_over_stops(tmp_path):
    with RunLock(tmp_path) as first:
        first.check()
        (tmp_path / "run.lock").unlink()
        with pytest.raises(RunLockedError, match=r"run\.lock was removed or taken"):
            first.check()
        with RunLock(tmp_path) as second:
            second.check()
            with pytest.raises(RunLockedError, match="checkpoint is kept"):
                first.check()
    assert not (tmp_path / "run.lock").exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_no_file_is_refused(tmp_path, kind):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    path = tmp_path / "run" / "run.lock"
    path.parent.mkdir()
    if kind == "link":
        path.symlink_to(mine)
    else:
        os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(OutputError, match=r"run\.lock could not be written"):
        RunLock(tmp_path / "run").__enter__()
    check_not_locked(tmp_path / "run")
    assert mine.read_text() == "mine"


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks, and leases of a second."""
    monkeypatch.setattr(run_lock, "try_lock", lambda descriptor: None)
    monkeypatch.setattr(run_lock, "LEASE_SECONDS", 1.0)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_there_is_a_lease_that_says_so(tmp_path, caplog):
    with RunLock(tmp_path) as first:
        assert "has no locks. In their place, this start keeps a lease" in caplog.text
        first.check()
        started = time.monotonic()
        with pytest.raises(RunLockedError, match=f"by process {os.getpid()} on "):
            RunLock(tmp_path).__enter__()
        assert time.monotonic() - started < 1.0  # it was seen to be renewed
        first.check()
    assert {one.name for one in tmp_path.iterdir()} == {"probe"}


@pytest.mark.usefixtures("no_locks")
def test_a_lease_that_is_not_renewed_is_taken_over(tmp_path):
    # What a machine left that was switched off; its clock may have been any.
    left = {"pid": 7, "host": "off", "boot": "another", "token": "t", "renewed": 3}
    (tmp_path / "run.lease").write_text(json.dumps(left))
    started = time.monotonic()
    with RunLock(tmp_path) as lock:
        assert 1.0 <= time.monotonic() - started < 10
        said = json.loads((tmp_path / "run.lease").read_text())
        assert said["pid"] == os.getpid()
        lock.check()
        (tmp_path / "run.lease").unlink()
        with pytest.raises(RunLockedError, match=r"run\.lease was removed or taken"):
            lock.check()
