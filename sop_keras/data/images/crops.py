"""Where the crops of an image lie, by what was drawn for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# The share of the image's area that a resized crop has, and its width over its height.
_AREAS = (0.08, 1.0)
_RATIOS = (3 / 4, 4 / 3)
_LOG_RATIOS = (math.log(_RATIOS[0]), math.log(_RATIOS[1]))

NUM_TRIES = 10
"""How many shapes are drawn for a resized crop; the first that fits is taken."""


@dataclass(frozen=True)
class ResizedCrop:
    """What is drawn for a crop of random size and shape, which is then resized.

    It has 8 to 100% of the image's area, equally likely all, and is 3/4 to 4/3 times as
    wide as high, equally likely all logarithms of that; its place is equally likely
    all. Of ten shapes that are drawn, the first one counts that fits into the image; if
    none does, it is the largest one in the centre that has a ratio as above.

    C. Szegedy et al., "Going Deeper with Convolutions" (CVPR 2015), Section 6; with the
    numbers and roundings of torchvision's `RandomResizedCrop`.

    Args:
        shapes: `NUM_TRIES` pairs of integers in `[0, 2**32)`, which choose area and
            ratio.
        place: such a pair, which chooses the first row and column.
    """

    shapes: Sequence[tuple[int, int]]
    place: tuple[int, int]

    def region(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Its left, top, right and bottom in an image of `width` x `height`."""
        for area_draw, ratio_draw in self.shapes:
            area = width * height * _between(*_AREAS, area_draw)
            ratio = math.exp(_between(*_LOG_RATIOS, ratio_draw))
            columns, rows = (
                round(math.sqrt(area * ratio)),
                round(math.sqrt(area / ratio)),
            )
            if 0 < columns <= width and 0 < rows <= height:
                top, left = drawn_corner(self.place, width - columns, height - rows)
                return left, top, left + columns, top + rows
        columns, rows = width, height
        if width < _RATIOS[0] * height:
            rows = round(width / _RATIOS[0])
        elif width > _RATIOS[1] * height:
            columns = round(height * _RATIOS[1])
        left, top = (width - columns) // 2, (height - rows) // 2
        return left, top, left + columns, top + rows


Draw = tuple[int, int] | ResizedCrop | None
"""What chooses a crop: of the whole image when it is resized, a pair of integers in
`[0, 2**32)` for its first row and column; None for the one in the centre; or a crop
that is resized itself."""


def crop_corner(
    draw: tuple[int, int] | None, width: int, height: int, image_size: int
) -> tuple[int, int]:
    """The first row and column of a crop in a resized image of `width` x `height`."""
    if draw is None:
        # Halves are rounded to the even neighbour, which torchvision does as well.
        return round((height - image_size) / 2), round((width - image_size) / 2)
    return drawn_corner(draw, width - image_size, height - image_size)


def drawn_corner(draw: tuple[int, int], across: int, down: int) -> tuple[int, int]:
    """A row from 0 to `down` and a column from 0 to `across`, equally likely all."""
    top, left = map(int, draw)
    return (top * (down + 1)) >> 32, (left * (across + 1)) >> 32


def _between(first: float, last: float, draw: int) -> float:
    return first + (last - first) * (int(draw) / 2**32)
