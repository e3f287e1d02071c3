"""Kills a training at random moments, again and again, and looks at how it ends.

    python tests/faults/kill_and_resume.py --kills=50 --truncations=20 --seed=0
    python tests/faults/kill_and_resume.py --kills=50 --truncations=20 --data_dir=DATA
    python tests/faults/kill_and_resume.py --kills=20 --arrays=peer,averages,tables \
        -- --method=elr_plus --average_ramp=20

One short real run is trained without interruption. Then the same command is run in
another folder, ended by SIGKILL at a random moment and started again, until it gets
through; then in the next folder, until the kills are used up. After some of the kills,
a file of the newest checkpoint is cut off at a random byte: the next start must report
it and go on from the checkpoint before.

All must end alike: the bits of weights, u, v and the optimizers' states, the rows of
history.csv (without `seconds`), the figures of result.json. The exit status is 1 where
one does not.

Moments are drawn from the seed: while a process starts, after a number of checkpoints
of the training (which writes one after nearly every batch), or after the last epoch,
while the models are saved. With --data_dir the data are CIFAR-10, otherwise digits.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import csv
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[2]

_COMMON = ("--checkpoint_minutes=0.0005",)
_DIGITS = ("--flagfile=digits.flags", *_COMMON)
_CIFAR10 = (
    *("--flagfile=cifar10_sym40.flags", *_COMMON, "--backbone=cnn"),
    *("--max_train_examples=1500", "--num_validation=500"),
    *("--schedule=constant", "--decay_epochs="),
)

_START, _TRAINING, _SAVING = "start", "training", "saving"
# How many checkpoints are waited for in training, at most, and how long after one.
_MOST_CHECKPOINTS = 10
_CHECKPOINT_SECONDS = 0.1

_POLL_SECONDS = 0.002


class FaultError(Exception):
    """Something that must not happen."""


@dataclass(frozen=True)
class Durations:
    """Of the uninterrupted run, in seconds.

    Args:
        start: until the first checkpoint.
        saving: from the first file of a model to the end.
    """

    start: float
    saving: float


@dataclass(frozen=True)
class Moment:
    """When to kill.

    Args:
        phase: of the run.
        count: in training, how many checkpoints later than at the start.
        delay: how many seconds after that.
    """

    phase: str
    count: int
    delay: float


@dataclass(frozen=True)
class Attempt:
    """One process: whether it was killed, and all that it said."""

    was_killed: bool
    output: str


class Training:
    """The command, in a folder of its own.

    Args:
        folder: for the run, and what it says; made here.
        flags: of the launcher.
        epochs: how many.
    """

    def __init__(self, folder: Path, flags: tuple[str, ...], epochs: int):
        self.run = folder / "run"
        self.checkpoints = self.run / "checkpoints"
        self._log = folder / "output.txt"
        self._command = [
            *(sys.executable, str(ROOT / "launch" / "train.py"), *flags),
            *(f"--epochs={epochs}", f"--output_dir={self.run}"),
        ]
        folder.mkdir(parents=True)

    def names(self) -> list[str]:
        """The checkpoints, in the order of training."""
        return sorted(path.name for path in self.checkpoints.glob("epoch-*"))

    def time(self) -> Durations:
        """Run the command to its end; gives how long it took where."""
        process, began = self._start(), time.time()
        first = saving = None
        while process.poll() is None:
            first = first or (time.time() if self.names() else None)
            saving = saving or (time.time() if self._is_saving(began) else None)
            time.sleep(_POLL_SECONDS)
        self._end(process)
        if first is None or saving is None:
            raise FaultError("The run was over before it began.")
        return Durations(first - began, time.time() - saving)

    def attempt(self, moment: Moment | None) -> Attempt:
        """Run the command to a moment, or to its end where that comes first."""
        process, began = self._start(), time.time()
        known, new, was_killed = set(self.names()), 0, False
        while moment and not was_killed and process.poll() is None:
            names = set(self.names())
            new += len(names - known)
            known |= names
            if (
                moment.phase == _START
                or (moment.phase == _TRAINING and new >= moment.count)
                or (moment.phase == _SAVING and self._is_saving(began))
            ):
                time.sleep(moment.delay)
                was_killed = process.poll() is None
            time.sleep(_POLL_SECONDS)
        if was_killed:
            process.kill()
            process.wait()
        else:
            self._end(process)
        return Attempt(was_killed, self._log.read_text("utf-8"))

    def _is_saving(self, began: float) -> bool:
        """Whether a process that began then has come to the saving of the models."""
        for path in self.run.glob("*.keras"):
            with contextlib.suppress(FileNotFoundError):  # renamed in the meantime
                if path.stat().st_mtime > began:
                    return True
        return False

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("w", encoding="utf-8") as log:
            return subprocess.Popen(
                self._command,
                stdout=log,
                stderr=subprocess.STDOUT,
                # What it has said must not wait in a buffer when it is killed.
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.wait():
            output = self._log.read_text("utf-8")[-3000:]
            raise FaultError(f"Exit status {process.returncode}:\n{output}")


class Faults:
    """Kills trainings and damages their checkpoints until enough of it was done.

    Args:
        kills: how many.
        truncations: how many of them are followed by a truncation.
        seed: of the moments and the places.
        durations: of the uninterrupted run.
    """

    def __init__(self, kills: int, truncations: int, seed: int, durations: Durations):
        self.kills = kills
        self.truncations = truncations
        self.counts: collections.Counter[str] = collections.Counter()
        self._random = random.Random(seed)
        self._durations = durations
        self._cut: set[tuple[Path, int]] = set()

    @property
    def are_left(self) -> bool:
        """Whether there is something left to do."""
        return self.kills > 0 or self.truncations > 0

    def train(self, training: Training) -> None:
        """Train to the end, with faults on the way as long as there are any left."""
        expected: str | None = None  # the checkpoint to go on from
        while True:
            moment = self._draw(after_damage=expected is not None)
            attempt = training.attempt(moment)
            if expected is not None:
                _check_restart(attempt.output, expected)
                expected = None
            if moment is None or not attempt.was_killed:
                return
            self.kills -= 1
            self.counts[f"killed in {moment.phase}"] += 1
            if list(training.checkpoints.glob("partial-*")):
                self.counts["while a checkpoint was written"] += 1
            if self.truncations > 0:
                expected = self._truncate(training)

    def _draw(self, after_damage: bool) -> Moment | None:
        """A moment to kill at; after damage, one when that has been found."""
        if not self.are_left:
            return None
        phases = {_START: 0.25, _TRAINING: 0.65, _SAVING: 0.1}
        if after_damage:
            del phases[_START]
        (phase,) = self._random.choices([*phases], [*phases.values()])
        longest = {
            _START: self._durations.start,
            _TRAINING: _CHECKPOINT_SECONDS,
            _SAVING: self._durations.saving,
        }
        return Moment(
            phase,
            self._random.randint(1, _MOST_CHECKPOINTS),
            self._random.uniform(0, longest[phase]),
        )

    def _truncate(self, training: Training) -> str | None:
        """Cut off a file of the newest checkpoint; gives the name of the one before.

        None where nothing was cut, as there are no two whole ones.
        """
        folders = [training.checkpoints / name for name in training.names()]
        # What was cut before, and is still there, has not been written since.
        whole = [path for path in folders if _identity(path) not in self._cut]
        if len(whole) < 2 or whole[-1] != folders[-1]:
            return None
        file = self._random.choice(sorted(whole[-1].iterdir()))
        size = file.stat().st_size
        os.truncate(file, self._random.randrange(size))
        self._cut.add(_identity(whole[-1]))
        self.truncations -= 1
        self.counts[f"cut {file.name}"] += 1
        return whole[-2].name


def _identity(folder: Path) -> tuple[Path, int]:
    return folder, folder.stat().st_ctime_ns


def _check_restart(output: str, expected: str) -> None:
    """Check that a run went on from a checkpoint, past a damaged one."""
    epoch, step = map(int, re.findall(r"\d+", expected))
    place = f"epoch {epoch}" + (f" and batch {step} of the next" if step else "")
    for text in ("Damaged, left out: ", f"Resuming after {place}."):
        if text not in output:
            raise FaultError(f"{text!r} was not said:\n{output[-3000:]}")


def compare(one: Path, other: Path, parts: Sequence[str]) -> int:
    """Check that two runs have ended alike; gives how many arrays their models have.

    Args:
        one: the folder of a run.
        other: the folder of another.
        parts: what names of their arrays must have in them.
    """
    states = [_arrays(folder / "model.keras", parts) for folder in (one, other)]
    if states[0].keys() != states[1].keys():
        raise FaultError(f"Other variables: {states[0].keys() ^ states[1].keys()}")
    for name, value in states[0].items():
        if value.tobytes() != states[1][name].tobytes():
            raise FaultError(f"{other}: {name} is not what it is in {one}.")
    for read in (_history, _result):
        if read(one) != read(other):
            raise FaultError(f"{other}: not the {read.__name__[1:]} of {one}.")
    return len(states[0])


def _arrays(path: Path, parts: Sequence[str]) -> dict[str, np.ndarray]:
    """All that a saved model holds: weights, rows and the optimizers' states."""
    arrays: dict[str, np.ndarray] = {}

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content) as file:
        file.visititems(add)
    for part in parts:
        if not any(part in name for name in arrays):
            raise FaultError(f"{path} holds no {part}: {sorted(arrays)}")
    return arrays


def _history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(encoding="utf-8") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def _result(folder: Path) -> dict[str, object]:
    result = json.loads((folder / "result.json").read_text("utf-8"))
    return {**result, "seconds": None, "flags": None}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how many")
    parser.add_argument(
        "--truncations",
        type=int,
        default=20,
        help="how many, at most one after each kill",
    )
    parser.add_argument("--seed", type=int, default=0, help="of moments and places")
    parser.add_argument("--epochs", type=int, default=6, help="of the short run")
    parser.add_argument("--data_dir", help="of CIFAR-10; unset: digits")
    parser.add_argument(
        "flags",
        nargs="*",
        default=["--method=sop", "--init_std=1e-4"],
        help="more flags of the training, after --: the method and its settings",
    )
    parser.add_argument(
        "--arrays",
        default="noise_table,u_optimizer,v_optimizer",
        help="what names of arrays in the saved model must have in them",
    )
    values = parser.parse_args(arguments)
    flags: tuple[str, ...] = (*_DIGITS, *values.flags)
    if values.data_dir:
        flags = (*_CIFAR10, *values.flags, f"--data_dir={values.data_dir}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            _run(Path(folder), flags, values)
        except FaultError as error:
            print(f"FAILED: {error}")
            return 1
    return 0


def _run(folder: Path, flags: tuple[str, ...], values: argparse.Namespace) -> None:
    whole = Training(folder / "whole", flags, values.epochs)
    durations = whole.time()
    print(f"Uninterrupted: {durations}", flush=True)
    faults = Faults(values.kills, values.truncations, values.seed, durations)
    number = 0
    while faults.are_left:
        number += 1
        training = Training(folder / str(number), flags, values.epochs)
        faults.train(training)
        parts = values.arrays.split(",")
        arrays = compare(whole.run, training.run, parts)
        counts = ", ".join(f"{n} {what}" for what, n in sorted(faults.counts.items()))
        print(
            f"Run {number}: {arrays} arrays, history and figures are equal, bit for "
            f"bit. So far: {counts}.",
            flush=True,
        )
        shutil.rmtree(training.run)


if __name__ == "__main__":
    sys.exit(main())
