"""Draws class matrices with matplotlib; `cells` says why Pillow draws others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, LinearSegmentedColormap
from matplotlib.image import AxesImage

from sop_keras.drawing.cells import DARKEST, is_dark, shades, shown_name


@dataclass(frozen=True)
class MatrixStyle:
    """How a matrix looks, and what there is room for beside and in its cells.

    Args:
        most_numbers: classes of a matrix with numbers in its cells.
        most_names: classes of a matrix with names beside it.
        longest_name: characters of them.
        name_sizes: points of the names, in a matrix with numbers and without.
        number_size: points of the numbers.
        background: the colour of a share of 0. Defaults to white.
        ink: of numbers on light cells. Defaults to nearly black.
        darkest: of a share of 1. Defaults to a dark blue.
    """

    most_numbers: int
    most_names: int
    longest_name: int
    name_sizes: tuple[float, float]
    number_size: float
    background: str = "#ffffff"
    ink: str = "#222222"
    darkest: str = "#{:02x}{:02x}{:02x}".format(*DARKEST)


def draw_class_matrix(
    axis: Axes,
    shares: np.ndarray,
    class_names: Sequence[str],
    texts: Mapping[tuple[int, int], str],
    style: MatrixStyle,
) -> AxesImage:
    """Draw a matrix of shares, darker where there is more.

    Args:
        axis: what to draw on.
        shares: in [0, 1], shape `(K, K)`.
        class_names: K of them.
        texts: what to write into the cells, by row and column.
        style: the sizes and colours.

    Returns:
        The image, for a colour bar.
    """
    colors = [style.background, style.darkest]
    colormap = LinearSegmentedColormap.from_list("shares", colors)
    norm = FuncNorm((shades, np.square), 0, 1)
    image = axis.imshow(shares, cmap=colormap, norm=norm, interpolation="nearest")
    has_numbers = len(class_names) <= style.most_numbers
    axis.set_xticks([])
    axis.set_yticks([])
    if len(class_names) <= style.most_names:
        names = [shown_name(name, style.longest_name) for name in class_names]
        written: dict[str, Any] = {
            "fontsize": style.name_sizes[0 if has_numbers else 1],
            "parse_math": False,
        }
        turn = 90 if max(map(len, names)) > 2 else 0
        axis.set_xticks(range(len(names)), names, rotation=turn, **written)
        axis.set_yticks(range(len(names)), names, **written)
    if has_numbers:
        middle: dict[str, Any] = {"ha": "center", "va": "center"}
        for (row, column), text in texts.items():
            color = style.background if is_dark(shares[row, column]) else style.ink
            size = style.number_size
            axis.text(column, row, text, color=color, fontsize=size, **middle)
    return image
