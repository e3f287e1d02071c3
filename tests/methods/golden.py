"""Reads the golden trajectories of tests/golden (see its README)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "golden"


@dataclass(frozen=True)
class Golden:
    """A trajectory; `u` is this project's `(T+1, N, 1)` in both variants."""

    name: str
    variant: str
    arrays: dict[str, np.ndarray]
    u: np.ndarray
    v: np.ndarray
    u_gradients: np.ndarray
    balance_weight: float
    consistency_weight: float

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    @property
    def views(self) -> tuple[np.ndarray, ...]:
        """The logits of every view, `(T, B, K)` each: `(weak, strong)` or one alone."""
        size = self["idx"].shape[1]
        logits = self["logits"]
        return tuple(np.split(logits, logits.shape[1] // size, axis=1))


def names(*patterns: str) -> list[str]:
    """The files' names, without ending; at least one a pattern."""
    found = []
    for pattern in patterns:
        matching = sorted(path.stem for path in FOLDER.glob(f"{pattern}.npz"))
        assert matching, pattern
        found += matching
    return found


def arrays(name: str) -> dict[str, np.ndarray]:
    """The file of this name."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def load(name: str) -> Golden:
    """The trajectory of this name."""
    content = arrays(name)
    u, by_u = content["u"], content["grad_u_rows"]
    paper = name.startswith("paper")

    def weight(key: str, *settings: str) -> float:
        # Other files have the scalar, too, but their runs do not use it.
        return float(content[key]) if any(one in name for one in settings) else 0.0

    if paper:
        # The full K-vector, of which only the entry at the label ever moves.
        u = np.take_along_axis(u, content["y"][None, :, None], axis=-1)
        labels = content["y"][content["idx"]]
        by_u = np.take_along_axis(by_u, labels[..., None], axis=-1)
    return Golden(
        name=name,
        variant="paper" if paper else "reference",
        arrays=content,
        u=u,
        v=content["v"],
        u_gradients=by_u,
        balance_weight=weight("ratio_balance", "_bal_", "_consbal_", "_sopplus_"),
        consistency_weight=weight(
            "ratio_consistency", "_cons_", "_consbal_", "_sopplus_"
        ),
    )


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a part of the expected array's largest value."""
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())
