"""Pictures of the augmentations: one image under every operation and level, and views.

    python launch/contact_sheet.py
    python launch/contact_sheet.py --data_dir=DATA --output_dir=sheets

Writes augmentation.png (operations by levels, 0 to 10, moving in the positive
direction) and augmentation_pairs.png (weak views beside strong ones in several epochs).
The images are scikit-learn's photographs at 32x32 pixels, or CIFAR-10's where
--data_dir has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import command
import numpy as np
from absl import flags
from PIL import Image, ImageDraw, ImageFont
from terminal import say

from sop_keras.data.datasets.cifar import CIFAR10_MEAN, load_cifar10
from sop_keras.files.atomic import replacing

SIDE = 32
# What is shown of the photographs: file, top, left and side of a square in pixels.
PIECES = (
    ("china.jpg", 15, 30, 400),
    ("flower.jpg", 60, 145, 320),
    ("china.jpg", 20, 80, 250),
    ("china.jpg", 125, 330, 300),
)
STRENGTHS = {
    **dict.fromkeys(("ShearX", "ShearY"), "slope 0.3 l/10"),
    **dict.fromkeys(("TranslateX", "TranslateY"), "l pixels"),
    **dict.fromkeys(
        ("Sharpness", "Contrast", "Color", "Brightness"), "factor 0.1 + 1.8 l/10"
    ),
    "Rotate": "30 l/10 degrees",
    "Solarize": "from 256 - 256 l/10",
    "Posterize": "4 - int(4 l/10) bits",
    "Cutout": "2 l pixels",
}
POLICIES = ("weak", "uda", "autoaugment")
NUM_EPOCHS = 4

# Sizes in pixels of the pictures.
CELL, GAP, GROUP_GAP, MARGIN, LABELS, HEADER = 96, 4, 16, 12, 176, 44
INK, GREY = (20, 20, 20), (120, 120, 120)


def photographs() -> np.ndarray:
    """Pieces of scikit-learn's photographs, uint8 `(n, SIDE, SIDE, 3)`."""
    from sklearn.datasets import load_sample_image

    pieces = []
    for name, top, left, side in PIECES:
        box = (left, top, left + side, top + side)
        photograph = Image.fromarray(load_sample_image(name))
        pieces.append(photograph.resize((SIDE, SIDE), Image.Resampling.BOX, box))
    return np.stack([np.asarray(piece) for piece in pieces])


def operations_sheet(image: np.ndarray) -> Image.Image:
    """`image`, uint8 `(SIDE, SIDE, 3)`, under each operation (row) at each level."""
    from sop_keras.augment.operations import OPERATIONS, apply_operation

    levels = np.arange(11)
    images = np.repeat(image[None], len(levels), axis=0)
    rows = [apply_operation(images, name, levels).numpy() for name in OPERATIONS]
    columns = [MARGIN + LABELS + (CELL + GAP) * level for level in levels]
    sheet, draw = _blank(columns[-1] + CELL, len(rows))
    draw.text((MARGIN, _top_of(0) - GAP), "level l", GREY, _font(15), anchor="ld")
    for level, left in zip(levels, columns, strict=True):
        _centred(draw, str(level), left)
    for row, (name, cells) in enumerate(zip(OPERATIONS, rows, strict=True)):
        top = _top_of(row)
        draw.text((MARGIN, top + 28), name, INK, _font(17))
        draw.text((MARGIN, top + 52), STRENGTHS.get(name, ""), GREY, _font(13))
        for left, cell in zip(columns, cells, strict=True):
            sheet.paste(_enlarged(cell), (left, top))
    return sheet


def views_sheet(images: np.ndarray) -> Image.Image:
    """`images`, uint8 `(n, SIDE, SIDE, 3)`, and views of each in several epochs."""
    from sop_keras.augment.named import augmentation

    ids = np.arange(len(images))
    right = _column_of(len(POLICIES) * NUM_EPOCHS) + CELL
    sheet, draw = _blank(right, len(images))
    _centred(draw, "image", _column_of(0))
    views = [images]
    for name in POLICIES:
        draw.text((_column_of(len(views)), MARGIN), name, INK, _font(17))
        augment = augmentation(name, CIFAR10_MEAN)
        for epoch in range(NUM_EPOCHS):
            _centred(draw, f"epoch {epoch}", _column_of(len(views)))
            views.append(augment(images, ids, epoch, seed=0).numpy())
    for column, cells in enumerate(views):
        for row, cell in enumerate(cells):
            sheet.paste(_enlarged(cell), (_column_of(column), _top_of(row)))
    return sheet


def _column_of(column: int) -> int:
    """Columns of views are in groups: the image, then those of one policy each."""
    groups = (column + NUM_EPOCHS - 1) // NUM_EPOCHS
    return MARGIN + (CELL + GAP) * column + GROUP_GAP * groups


def _top_of(row: int) -> int:
    return MARGIN + HEADER + (CELL + GAP) * row


def _blank(right: int, num_rows: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    size = (right + MARGIN, _top_of(num_rows) - GAP + MARGIN)
    sheet = Image.new("RGB", size, "white")
    return sheet, ImageDraw.Draw(sheet)


def _enlarged(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image).resize((CELL, CELL), Image.Resampling.NEAREST)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _centred(draw: ImageDraw.ImageDraw, text: str, left: int) -> None:
    """A column's title, just above its first cell."""
    place = (left + CELL // 2, _top_of(0) - GAP)
    draw.text(place, text, GREY, _font(15), anchor="md")


def define_flags() -> flags.FlagValues:
    """New flags of this command."""
    values = command.new_flags()
    flags.DEFINE_string(
        "data_dir",
        None,
        "Has cifar10/3.0.2/; photographs if unset.",
        **command.own(values),
    )
    flags.DEFINE_string(
        "output_dir", "docs", "Where the pictures go.", **command.own(values)
    )
    return values


def draw_sheets(line: command.CommandLine) -> None:
    """Draw both pictures."""
    if line.flags.data_dir:
        images = load_cifar10(line.flags.data_dir).train.images[:6]
    else:
        images = photographs()
    folder = Path(line.flags.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name, sheet in (
        ("augmentation", operations_sheet(images[0])),
        ("augmentation_pairs", views_sheet(images)),
    ):
        path = folder / f"{name}.png"
        with replacing(path) as partial:
            sheet.save(partial, optimize=True)
        say(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what the command line asks for."""
    command.run(draw_sheets, define_flags(), __doc__, arguments)


if __name__ == "__main__":
    main()
