"""Photographs in files, some of them troublesome."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_photos(folder: Path) -> None:
    """Twelve of two classes, one of which is a piece of HTML; one is no image.

    Their table is train.csv; a name looks like a formula.
    """
    rng = np.random.default_rng(0)
    folder.mkdir()
    names = ["=cmd|' ,C calc'!A0.png", *(f"{i}.png" for i in range(1, 12))]
    lines = ["path,label,id"]
    for number, name in enumerate(names):
        pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
        label = "<script>alert(1)</script>" if number % 2 else "cat"
        lines.append(f'"{name}",{label},{3 * number}')
    (folder / "train.csv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "5.png").write_bytes(b"no image")
