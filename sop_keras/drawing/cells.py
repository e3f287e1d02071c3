"""What a picture of a class matrix shows, whichever library draws it.

Two do. Reports and evaluations are drawn with matplotlib (`class_matrix`): its font has
Greek and Cyrillic letters, and their other plots are its own. The monitor draws while
training goes on (`sop_keras.monitoring.pictures`) with Pillow, which takes a few
hundredths of a second where matplotlib takes several tenths, and is all that the extra
`monitor` installs for it. They share what is here: names, shades and numbers.
"""

from __future__ import annotations

import numpy as np

from sop_keras.files.shown_text import shown

DARKEST = (8, 48, 107)
"""Red, green and blue of a share of 1, on a white page."""

MOST_CLASSES = 2_000
"""Of more classes no matrix of all pairs is made: of these it has 32 MB, and four
million cells that nobody tells apart."""

# The largest share that is.
_ROUNDED_TO_0 = 0.005


def shown_name(name: str, longest: int = 24) -> str:
    """A class's name in one line of characters that can be shown.

    Args:
        name: whatever it holds.
        longest: how many characters there is room for, more than 3. Defaults to
            `24`.
    """
    text = shown(name)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def shades(shares: np.ndarray) -> np.ndarray:
    """How dark each share in [0, 1] is: its root, so that a few percent are seen."""
    return np.sqrt(shares)


def is_dark(share: float) -> bool:
    """Whether a number on that share's shade has the colour of the page."""
    return share > 0.3  # whose root is about half way


def percents(shares: np.ndarray) -> dict[tuple[int, int], str]:
    """What is written into the cells, by row and column: percent, but for 0.

    Args:
        shares: in [0, 1], shape `(K, K)`.
    """
    places = np.argwhere(shares > _ROUNDED_TO_0).tolist()
    return {(row, column): f"{100 * shares[row, column]:.0f}" for row, column in places}
