"""One process writes to a run's folder at a time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any

from sop_keras.files.atomic import explained, partial_name
from sop_keras.files.kernel_lock import try_lock
from sop_keras.files.shown_text import shown
from sop_keras.files.untrusted import read_bytes
from sop_keras.training.run_folder import RunFolderError

logger = logging.getLogger(__name__)

LOCK, LEASE = "run.lock", "run.lease"
"""The files in a run's folder, while a process writes to it."""

PATIENCE = 120.0
"""Seconds to wait for a lock that another machine has: a server takes as long to find
out that the machine is gone."""

LEASE_SECONDS = 120.0
"""How long a lease that is not renewed is respected."""

_RENEWALS = 8  # in that time

# Seconds in which a start says who it is, once it has the lock.
_UNSAID = 2.0

_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_MAX_BYTES = 4096


class RunLockedError(RunFolderError):
    """A run's folder that another process writes to."""


class RunLock:
    """Held, while it is entered, by the one process that writes to a run's folder.

    It is a lock of the kernel on the file `run.lock`: it goes with the process, however
    that ends, so that a run that was killed is continued at once, here or on another
    machine. The file says who has it, and goes at the end; one that is left behind
    locks nothing. Where another machine has the lock, a start waits `PATIENCE` seconds:
    file servers give back the locks of a machine that is gone after a while.

    Where the file system has no locks, it is a lease, and says so: the file
    `run.lease`, renewed while the process lives. A start that finds one watches it, and
    takes it over once it has not been renewed for `LEASE_SECONDS`. Clocks of machines
    are not compared.

    Args:
        folder: the run's folder; made if needed, and removed at the end if it is empty.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._made: list[Path] = []
        self._held: _KernelLock | _Lease | None = None

    def __enter__(self) -> RunLock:
        """Take the lock.

        Raises:
            RunLockedError: if another process has it.
            OutputError: if the folder cannot be written to.
        """
        self._make_folder()
        try:
            with explained(self._folder / LOCK):
                self._held = self._take()
        except BaseException:
            self._remove_empty_folders()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None
        self._remove_empty_folders()

    def check(self) -> None:
        """Check that the lock is still this process'.

        Raises:
            RunLockedError: if its file was removed, or another start took it over.
        """
        if self._held is not None and not self._held.is_ours():
            raise RunLockedError(
                f"{self._held.path} was removed or taken over: another start may write "
                f"to {self._folder} now, so this one stops. Its last checkpoint is "
                "kept. Run the same command again once no other start runs."
            )

    def _take(self) -> _KernelLock | _Lease:
        lock = _KernelLock(self._folder / LOCK)
        started, is_waiting = time.monotonic(), False
        while (taken := self._try(lock)) is False:
            holder = _holder(lock.path)
            patience = PATIENCE
            if not holder:
                patience = _UNSAID
            elif _is_of_this_machine(holder):
                patience = 0.0
            if time.monotonic() - started >= patience:
                raise _refusal(self._folder, lock.path, holder)
            if holder and not is_waiting:
                is_waiting = True
                logger.info(
                    "%s is locked by %s: waiting up to %d seconds, in case that "
                    "machine is gone.",
                    *(self._folder, _described(holder), PATIENCE),
                )
            time.sleep(min(1.0, patience / 10))
        if taken:
            return lock
        with contextlib.suppress(OSError):
            if not lock.path.stat().st_size:  # made here, to try
                lock.path.unlink()
        return _Lease(self._folder / LEASE).take()

    def _try(self, lock: _KernelLock) -> bool | None:
        while True:
            try:
                return lock.take()
            except FileNotFoundError:  # a start that failed removed its empty folder
                self._make_folder()

    def _make_folder(self) -> None:
        place = self._folder
        while not place.exists() and place != place.parent:
            self._made.append(place)
            place = place.parent
        with explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)

    def _remove_empty_folders(self) -> None:
        for place in self._made:
            with contextlib.suppress(OSError):  # it has files, or is gone
                place.rmdir()
        self._made = []


def check_not_locked(folder: Path) -> None:
    """Check that no process of this machine writes to a run's folder.

    For a quick answer: only a RunLock keeps others out.

    Args:
        folder: the run's folder; it need not be there.

    Raises:
        RunLockedError: if one does.
    """
    try:
        descriptor = os.open(folder / LOCK, _OPEN)
    except OSError:  # there is none; or what is wrong is said where it is taken
        return
    try:
        holder = _holder(folder / LOCK)
        if try_lock(descriptor) is False and _is_of_this_machine(holder):
            raise _refusal(folder, folder / LOCK, holder)
    finally:
        os.close(descriptor)


class _KernelLock:
    """A file that is locked while it is open."""

    def __init__(self, path: Path):
        self.path = path
        self._descriptor = -1

    def take(self) -> bool | None:
        """As `try_lock`."""
        while True:
            descriptor = os.open(self.path, _OPEN | os.O_CREAT, 0o666)
            taken = None
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise OSError("it is no regular file")
                taken = try_lock(descriptor)
                # Whoever had it may have removed the file between the two calls.
                if taken and not _is_at(self.path, descriptor):
                    continue
                if taken:
                    _write(descriptor, _record())
                    self._descriptor, descriptor = descriptor, -1
                return taken
            finally:
                if descriptor >= 0:
                    os.close(descriptor)

    def is_ours(self) -> bool:
        """Whether the file is still the one that was locked."""
        return _is_at(self.path, self._descriptor)

    def release(self) -> None:
        """Remove the file, while it is locked, and let it go."""
        if self.is_ours():
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)


class _Lease:
    """A file that is renewed, where there are no locks."""

    def __init__(self, path: Path):
        self.path = path
        self._token = secrets.token_hex(8)
        self._count = 0
        self._descriptor = -1
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def take(self) -> _Lease:
        """Make the file, or take one over that is not renewed.

        Raises:
            RunLockedError: if it is renewed.
        """
        logger.warning(
            "The file system of %s has no locks. In their place, this start keeps a "
            "lease, %s: if it is killed, the next start waits %d seconds.",
            *(self.path.parent, self.path.name, LEASE_SECONDS),
        )
        while True:
            try:
                flags = _OPEN | os.O_CREAT | os.O_EXCL
                self._descriptor = os.open(self.path, flags, 0o666)
                break
            except FileExistsError:
                self._take_over()
        self._renew()
        self._thread.start()
        return self

    def is_ours(self) -> bool:
        """Whether the file is still the one that was made."""
        return _is_at(self.path, self._descriptor)

    def release(self) -> None:
        """Remove the file."""
        self._end.set()
        self._thread.join()
        if self.is_ours():
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)

    def _take_over(self) -> None:
        """Remove a lease that nobody renews.

        Raises:
            RunLockedError: if somebody does.
        """
        seen = _content(self.path)
        end = time.monotonic() + LEASE_SECONDS
        while time.monotonic() < end:
            time.sleep(LEASE_SECONDS / _RENEWALS / 4)
            now = _content(self.path)
            if now is None:
                return
            if now != seen:
                raise _refusal(self.path.parent, self.path, _holder(self.path))
        # Another start may take it over at the same moment, and have made its own.
        aside = self.path.with_name(partial_name(self.path.name))
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(aside)
            try:
                if _content(aside) != seen:
                    os.link(aside, self.path)
                    raise _refusal(self.path.parent, self.path, _holder(aside))
            finally:
                aside.unlink()

    def _keep(self) -> None:
        while not self._end.wait(LEASE_SECONDS / _RENEWALS):
            try:
                if not self.is_ours():
                    return
                self._renew()
            except OSError as error:  # it may pass; if not, the lease ends
                logger.warning("%s could not be renewed: %s", self.path, error)

    def _renew(self) -> None:
        self._count += 1
        _write(
            self._descriptor,
            {**_record(), "token": self._token, "renewed": self._count},
        )


def _record() -> dict[str, Any]:
    return {"pid": os.getpid(), **_machine()}


def _machine() -> dict[str, str]:
    """Which machine it is, since it was started: another may have its name."""
    machine = {"host": socket.gethostname()}
    with contextlib.suppress(OSError):
        machine["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return machine


def _is_of_this_machine(holder: dict[str, Any]) -> bool:
    return {name: holder.get(name) for name in _machine()} == _machine()


def _write(descriptor: int, record: dict[str, Any]) -> None:
    content = json.dumps(record).encode()
    os.ftruncate(descriptor, len(content))
    os.pwrite(descriptor, content, 0)
    os.fsync(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the file that is open is the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _content(path: Path) -> bytes | None:
    try:
        return read_bytes(path, _MAX_BYTES)
    except FileNotFoundError:
        return None


def _holder(path: Path) -> dict[str, Any]:
    """What a file says of who made it; nothing where that cannot be read."""
    try:
        record = json.loads(read_bytes(path, _MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    known = {"pid": int, "host": str, "boot": str}
    return {
        name: record[name]
        for name, kind in known.items()
        if type(record.get(name)) is kind
    }


def _described(holder: dict[str, Any]) -> str:
    pid = f"process {holder['pid']}" if "pid" in holder else "another process"
    return f"{pid} on {shown(holder['host'])}" if "host" in holder else pid


def _refusal(folder: Path, path: Path, holder: dict[str, Any]) -> RunLockedError:
    gone = ""
    if not _is_of_this_machine(holder):
        gone = f" If that machine is gone for good, remove {path}."
    return RunLockedError(
        f"{folder} is being written to by {_described(holder)}: the same run was "
        "started before. Wait for it, or stop it and run this command again; to train "
        f"beside it, choose another folder.{gone}"
    )
