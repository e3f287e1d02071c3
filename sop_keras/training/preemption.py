"""SIGTERM: the machine is wanted back, but not in the middle of a batch."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any, NoReturn


class Preempted(Exception):  # noqa: N818 (nothing went wrong)
    """A training that was told to stop, and can go on from where it did."""


class Preemption:
    """While it is entered, SIGTERM is taken note of in place of ending the process.

    The second SIGTERM ends the process at once, also where the first one could not be
    answered since the main thread waits for something, such as a file that does not
    come. In other threads than the main one, Python has no signals, and nothing is
    changed.

    Attributes:
        is_requested: whether there was a SIGTERM.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._previous: Any = None
        self._watch: _Watch | None = None

    def __enter__(self) -> Preemption:
        if threading.current_thread() is threading.main_thread():
            self._watch = _Watch()
            self._previous = signal.signal(signal.SIGTERM, self._take_note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._watch is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._watch.end()
            self._watch = None

    def stop(self, where: str) -> NoReturn:
        """Stop here, for a SIGTERM here or on another machine.

        Raises:
            Preempted: always.
        """
        raise Preempted(
            f"Stopped by SIGTERM {where}; nothing is lost. Run the same command again "
            "to go on from there."
        )

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        self.is_requested = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Watch:
    """Sees signals while the main thread waits, and ends the process at the second.

    A handler in Python runs between two steps of the main thread. While that waits in
    TensorFlow there are none, and neither the first handler runs nor, hence, is the
    next SIGTERM left to the system. But the number of each signal is written to a pipe
    as it comes, which a thread of its own reads.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        # Whoever had it, such as asyncio, still gets what comes.
        self._previous = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop watching; from the main thread."""
        signal.set_wakeup_fd(self._previous)
        os.close(self._write)
        self._thread.join()
        os.close(self._read)

    def _look(self) -> None:
        seen = 0
        while numbers := os.read(self._read, 64):
            if self._previous >= 0:
                with contextlib.suppress(OSError):
                    os.write(self._previous, numbers)
            seen += numbers.count(signal.SIGTERM)
            if seen > 1:
                os._exit(128 + signal.SIGTERM)  # as shells say it of a signal
