"""Trains the cells of a comparison one after another, whatever becomes of one.

Each is a process of launch/train.py: TensorFlow keeps the graphs of runs that are over,
some 10 to 20 MB each with small networks, and a run that a lack of memory kills is not
to take the others with it.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import command
from cells import Cell
from terminal import say

from sop_keras.training.preemption import Preempted

TRAIN = Path(__file__).resolve().parent / "train_cell.py"


def train_cells(
    cells: Sequence[Cell], after: Callable[[Mapping[str, str]], None]
) -> dict[str, str]:
    """Train, or go on with, all cells that are not complete.

    Args:
        cells: what is compared, complete or not.
        after: called after each cell with what ended those that failed, by their names;
            once where all are complete.

    Returns:
        What ended the cells that failed, by their names.

    Raises:
        Preempted: after a SIGTERM.
    """
    errors: dict[str, str] = {}
    waiting = [cell for cell in cells if cell.run.result is None]
    done = len(cells) - len(waiting)
    if done:
        say(f"{done} of {len(cells)} cells are complete.")
    if not waiting:
        after(errors)
    for place, cell in enumerate(waiting):
        left = time_left(cells, waiting[place:])
        say(f"\n[{done + place + 1}/{len(cells)}] {cell.title}{left}")
        say(cell.run.folder)
        if (error := train_cell(cell.words)) is not None:
            errors[cell.name] = error
        after(errors)
    return errors


def train_cell(words: Sequence[str]) -> str | None:
    """Run launch/train.py to its end; what ended it if it failed.

    It has a session of its own, so that a signal to all processes of a terminal, or of
    a job, reaches it once: from here.

    Args:
        words: its flags.

    Raises:
        Preempted: after a SIGTERM here or there.
    """
    process = subprocess.Popen(
        [sys.executable, str(TRAIN), *words],
        stderr=subprocess.PIPE,
        start_new_session=True,
        encoding="utf-8",
        errors="replace",
    )
    lines = []
    with process, _handing_on_signals(process) as received:
        assert process.stderr is not None
        for line in process.stderr:
            say(line.rstrip("\n"), to=sys.stderr)
            lines.append(line.strip())
    code = process.returncode
    if received or code == command.CONTINUE:
        raise Preempted(
            "Stopped by SIGTERM. Run the same command again to go on from there."
        )
    return _reason(code, lines) if code else None


@contextlib.contextmanager
def _handing_on_signals(process: subprocess.Popen[str]) -> Iterator[list[int]]:
    """While it is entered, SIGTERM goes to the process; gives those that came."""
    received: list[int] = []

    def hand_on(number: int, frame: Any) -> None:
        received.append(number)
        process.send_signal(number)

    previous = signal.signal(signal.SIGTERM, hand_on)
    try:
        yield received
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def _reason(code: int, lines: Sequence[str]) -> str:
    """Why a process ended, in a line.

    Args:
        code: its exit code, not 0.
        lines: what it wrote to stderr.
    """
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; memory may have been short" * (name == "SIGKILL")
        return f"ended by {name}{hint}"
    errors = [line for line in lines if line.startswith("error: ")]
    said = errors or [line for line in lines if line]
    return said[-1].removeprefix("error: ") if said else f"exit code {code}"


def time_left(cells: Sequence[Cell], waiting: Sequence[Cell]) -> str:
    """How long the cells that wait will take, as text; nothing where none was timed.

    A cell takes as long an epoch as the others of its setting, and those that were not
    timed as long as all that were.

    Args:
        cells: all.
        waiting: those that are not complete.
    """
    timed: dict[str, list[float]] = {}
    for cell in cells:
        seconds = [row["seconds"] for row in cell.run.epochs_done()]
        if seconds and not cell.is_joined:
            timed.setdefault(cell.setting.name, []).append(sum(seconds) / len(seconds))
    if not timed:
        return ""
    means = {name: sum(some) / len(some) for name, some in timed.items()}
    of_all = sum(means.values()) / len(means)
    seconds_left = sum(
        means.get(cell.setting.name, of_all)
        * (cell.run.num_epochs - len(cell.run.epochs_done()))
        for cell in waiting
    )
    return f"; about {duration(seconds_left)} left"


def duration(seconds: float) -> str:
    """Seconds as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
