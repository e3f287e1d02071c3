"""SIGTERM: the machine is wanted back, but not in the middle of a batch."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, NoReturn


class Preempted(Exception):  # noqa: N818 (nothing went wrong)
    """A training that was told to stop, and can go on from where it did."""


class Preemption:
    """While it is entered, SIGTERM is taken note of in place of ending the process.

    The second SIGTERM does what the first one would have done by default. In other
    threads than the main one, Python has no signals, and nothing is changed.

    Attributes:
        is_requested: whether there was a SIGTERM.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._previous: Any = None

    def __enter__(self) -> Preemption:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._take_note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

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
