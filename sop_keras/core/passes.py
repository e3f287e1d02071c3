"""A network's pass over the examples, where two networks learn in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sop_keras.randomness.keyed import random_bits


@dataclass(frozen=True)
class Pass:
    """What a network may learn of in a pass, n examples.

    Args:
        epoch: from 0.
        network: the place of the network: 0 of the backbone, 1 of the peer.
        ids: of the examples, int64 `(n,)`.
        rows: gives their rows of the table of a name, `(n, columns)`.
        batch_size: of `fit`.
        seed: of orders, an integer in [0, 2**64).
        shuffles: whether orders are drawn. Defaults to `True`.
    """

    epoch: int
    network: int
    ids: np.ndarray
    rows: Callable[[str], np.ndarray]
    batch_size: int
    seed: int
    shuffles: bool = True

    @property
    def number(self) -> int:
        """Of all passes of both networks: a key of draws."""
        return pass_number(self.epoch, self.network)

    def order(
        self, places: np.ndarray | None = None, stream: str = "all", turn: int = 0
    ) -> np.ndarray:
        """Places in an order of this pass's own: an id's turn hangs on the id alone.

        Args:
            places: of some examples. Defaults to `None`: of all.
            stream: a word for what they are taken for.
            turn: how often that stream has been gone through in this pass.
        """
        places = np.arange(len(self.ids)) if places is None else places
        if not self.shuffles:
            return places
        use = f"pass_order: {stream}"
        bits = random_bits(self.seed, use, self.number, turn, self.ids[places])
        return places[np.argsort(bits, kind="stable")]

    @staticmethod
    def cut(places: np.ndarray, size: int) -> Sequence[np.ndarray]:
        """Places in batches of a size; the last has what is left."""
        return [places[start : start + size] for start in range(0, len(places), size)]


@dataclass(frozen=True)
class PlannedBatch:
    """A batch of a pass.

    Args:
        number: of the pass, a key of draws.
        places: of its examples in the source, integers `(n,)`.
    """

    number: int
    places: np.ndarray


@dataclass(frozen=True)
class EpochPlan:
    """The batches of both networks' passes in an epoch.

    Args:
        phase: of the training.
        of_first: the backbone's.
        of_second: the peer's.
        done: how many of all are done already.
    """

    phase: str
    of_first: Sequence[PlannedBatch]
    of_second: Sequence[PlannedBatch]
    done: int = 0

    @property
    def batches(self) -> list[PlannedBatch]:
        """Those of both passes, in the order of the epoch's steps."""
        return [*self.of_first, *self.of_second]

    @property
    def count(self) -> int:
        """How many batches both passes have."""
        return len(self.of_first) + len(self.of_second)

    @property
    def left(self) -> list[PlannedBatch]:
        """Those that are not done."""
        return self.batches[self.done :]

    def network(self, step: int) -> int:
        """Whose batch the step of the epoch is, from 0."""
        return int(step >= len(self.of_first))

    def begins_pass(self, step: int) -> bool:
        """Whether a pass begins with the step."""
        return step in (0, len(self.of_first))


def pass_number(epoch: int, network: int) -> int:
    """The number of a network's pass: they take turns."""
    return 2 * epoch + network
