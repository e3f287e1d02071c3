"""Honest timing on a noisy machine: everything in one process, taking turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def take_turns(
    steps: dict[str, Callable[[], object]],
    rounds: int,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of a step, for each of several programs, in alternation.

    Args:
        steps: what to time, by name; each call must end when its work has.
        rounds: how often each has its turn, after one that is not counted. The order
            turns round every time, so that drift favours nobody.
        repeats: calls in a turn.
        clock: what tells the seconds: `time.process_time` has those of the processors,
            all threads together, where others use them as well. Defaults to
            `time.perf_counter`.

    Returns:
        Seconds a call in each turn, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        names = list(steps) if turn % 2 else list(reversed(steps))
        for name in names:
            started = clock()
            for _ in range(repeats):
                steps[name]()
            if turn:
                seconds[name].append((clock() - started) / repeats)
    return seconds


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median of the turns' ratios: slow spells hit both sides of a turn."""
    pairs = zip(numerator, denominator, strict=True)
    return statistics.median(a / b for a, b in pairs)
