"""Pictures of the label noise.

Pillow writes and pastes them in a few hundredths of a second; matplotlib would need
several tenths, which is a good part of a short epoch. What a class matrix shows is as
in all other pictures of them: `sop_keras.drawing.cells`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sop_keras.drawing.cells import DARKEST, is_dark, percents, shades, shown_name
from sop_keras.label_issues.noise_matrix import transition_rates

if TYPE_CHECKING:
    from PIL.Image import Image

_WHITE, _BLACK, _GREY = (255, 255, 255), (0, 0, 0), (90, 90, 90)
_RED, _BLUE, _GREEN = (178, 34, 34), (0, 0, 128), (0, 100, 0)
_MARGIN = 10
_NAME_LENGTH = 14

# Of matrices, in pixels.
_MOST_NAMES = 30
_LARGEST_CELL, _SIDE = 34, 480
_LEAST_FOR_NUMBERS = 24

# Of the gallery, in pixels.
_TILE, _CAPTION, _LINE = 120, 62, 14
_COLUMNS = 9


@dataclass(frozen=True)
class Suspect:
    """An example of the gallery.

    Args:
        image: uint8, shape `(height, width, 1 or 3)`.
        title: what stands on the first line below it.
        given: the name of the given label.
        suggested: of the suggested one.
        clean: of the clean one. Defaults to `None`: not known.
    """

    image: np.ndarray
    title: str
    given: str
    suggested: str
    clean: str | None = None


def noise_matrices(
    matrices: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> np.ndarray:
    """Class-to-class noise, one matrix beside the other.

    Args:
        matrices: counts `(K, K)` by title, as `noise_matrix` gives them.
        class_names: one a class; up to 30 are written.

    Returns:
        uint8, shape `(height, width, 3)`.
    """
    parts = [
        np.asarray(_matrix(title, counts, class_names))
        for title, counts in matrices.items()
    ]
    return np.concatenate(parts, axis=1)


def gallery(suspects: Sequence[Suspect], title: str) -> np.ndarray:
    """Examples with their labels below them.

    Args:
        suspects: the examples, at least one; the first goes to the upper left.
        title: what stands above them.

    Returns:
        uint8, shape `(height, width, 3)`.
    """
    columns = min(_COLUMNS, len(suspects))
    rows = math.ceil(len(suspects) / columns)
    top = 3 * _MARGIN
    page, draw = _page(
        max(columns * (_TILE + _MARGIN) + _MARGIN, 420), top + rows * (_TILE + _CAPTION)
    )
    draw.text((_MARGIN, _MARGIN), title, fill=_BLACK, font=_font(13))
    for place, suspect in enumerate(suspects):
        x = _MARGIN + place % columns * (_TILE + _MARGIN)
        y = top + place // columns * (_TILE + _CAPTION)
        page.paste(_tile(suspect.image), (x, y))
        lines = [
            (suspect.title, _GREY),
            (f"given {_shown(suspect.given)}", _RED),
            (f"suggested {_shown(suspect.suggested)}", _BLUE),
        ]
        if suspect.clean is not None:
            lines.append((f"clean {_shown(suspect.clean)}", _GREEN))
        for number, (line, colour) in enumerate(lines):
            corner = (x, y + _TILE + 2 + number * _LINE)
            draw.text(corner, line, fill=colour, font=_font(11))
    return np.asarray(page)


def _matrix(title: str, counts: np.ndarray, class_names: Sequence[str]) -> Image:
    num_classes = len(counts)
    cell = max(1, min(_LARGEST_CELL, _SIDE // num_classes))
    names = [_shown(name) for name in class_names] if num_classes <= _MOST_NAMES else []
    font = _font(11 if cell > 12 else 9)
    space = max((math.ceil(font.getlength(name)) for name in names), default=0)
    left, top, side = 2 * _MARGIN + space + 16, 5 * _MARGIN, cell * num_classes
    width = max(side, math.ceil(_font(13).getlength(title)))
    page, draw = _page(left + width + _MARGIN, top + side + space + 40)
    rates = transition_rates(counts)
    page.paste(_heat(rates, cell), (left, top))
    draw.rectangle((left - 1, top - 1, left + side, top + side), outline=_GREY)
    draw.text((left, _MARGIN), title, fill=_BLACK, font=_font(13))
    draw.text((left, _MARGIN + 18), "% of a row", fill=_GREY, font=_font(11))
    draw.text((left, top + side + space + 16), "given label", _GREY, font=_font(11))
    _write_upwards(page, "true class", (_MARGIN, top), _GREY)
    for place, name in enumerate(names):
        middle = place * cell + cell // 2
        draw.text((left - 6, top + middle), name, _BLACK, font=font, anchor="rm")
        corner = (left + middle - 7, top + side + 6)
        _write_upwards(page, name, corner, _BLACK, space)
    if cell >= _LEAST_FOR_NUMBERS:
        for (row, column), text in percents(rates).items():
            draw.text(
                (left + column * cell + cell // 2, top + row * cell + cell // 2),
                text,
                fill=_WHITE if is_dark(rates[row, column]) else _BLACK,
                font=font,
                anchor="mm",
            )
    return page


def _heat(rates: np.ndarray, cell: int) -> Image:
    """White where a rate is 0, dark blue where it is 1, a square for each."""
    from PIL import Image

    colours = 255 + shades(rates)[..., None] * (np.array(DARKEST) - 255.0)
    pixels = np.round(colours).astype(np.uint8)
    return Image.fromarray(pixels.repeat(cell, axis=0).repeat(cell, axis=1))


def _shown(name: str) -> str:
    return shown_name(name, _NAME_LENGTH)


def _write_upwards(
    page: Image,
    text: str,
    corner: tuple[int, int],
    colour: tuple[int, int, int],
    length: int | None = None,
) -> None:
    """Write a text that reads upwards and, with a `length`, ends at its top."""
    font = _font(11)
    width = math.ceil(font.getlength(text))
    line, draw = _page(max(width, length or 0, 1), 15)
    draw.text((line.width - width, 0), text, fill=colour, font=font)
    page.paste(line.rotate(90, expand=True), corner)


def _tile(image: np.ndarray) -> Image:
    """The image in the middle of a square of the gallery, as large as it can be."""
    from PIL import Image

    pixels = np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
    picture = Image.fromarray(pixels)
    scale = _TILE / max(picture.size)
    width, height = (max(1, round(scale * length)) for length in picture.size)
    # Small images are enlarged pixel by pixel: people should see what they are.
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    tile = Image.new("RGB", (_TILE, _TILE), "white")
    corner = (_TILE - width) // 2, (_TILE - height) // 2
    tile.paste(picture.resize((width, height), method), corner)
    return tile


def _page(width: int, height: int) -> tuple[Image, Any]:
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (width, height), "white")
    return page, ImageDraw.Draw(page)


@functools.cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
