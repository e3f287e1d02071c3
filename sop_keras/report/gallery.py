"""The gallery of a report: the labels that look worst, with small pictures of them."""

from __future__ import annotations

import base64
import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.images.decoding import UnreadableImageError, decode
from sop_keras.data.images.encoded_images import EncodedImages, ImageFiles
from sop_keras.files.shown_text import shown
from sop_keras.report.no_images import NoImages
from sop_keras.report.run_labels import RunLabels
from sop_keras.training.picture_folder import is_inside

SIDE = 96
"""The longer side of a thumbnail, in pixels of the page, at most."""

LARGE = 256
"""The longer side of what the review shows larger, in pixels of the file, at most."""

OUTSIDE = "its file is not in the folder that may be shown"
"""The problem of an image that somebody else's list has from elsewhere."""

# Of photographs, that are made smaller; others keep their pixels.
_JPEG_QUALITY = 80


def gallery_rows(
    labels: RunLabels,
    train: Examples,
    num_examples: int,
    folder: Path | None = None,
    start: int = 0,
) -> list[dict[str, Any]]:
    """What the page shows of the labels of the lowest quality, as JSON knows it.

    Args:
        labels: of the run.
        train: its training examples.
        num_examples: how many to show; fewer where there are fewer.
        folder: of images that are files, those elsewhere are not shown. Defaults to
            `None`: all are.
        start: how many to leave out before them. Defaults to `0`.

    Returns:
        As of `rows_at`.
    """
    stop = min(start + num_examples, len(labels))
    return rows_at(labels, train, np.arange(start, stop), folder)


def rows_at(
    labels: RunLabels, train: Examples, places: np.ndarray, folder: Path | None = None
) -> list[dict[str, Any]]:
    """What the page shows of some labels, as JSON knows it.

    Args:
        labels: of the run.
        train: its training examples.
        places: which labels, by their place from the lowest quality on, `(m,)`.
        folder: as for `gallery_rows`.

    Returns:
        A dict an example: the columns of the table of label issues under short names
        (`noise` may be None), `clean` (or None), `file` (or None), and `image`, `width`
        and `height`; or `problem` where the image cannot be read, or is `OUTSIDE`; or
        `text` where there are no images.
    """
    rows = []
    positions = labels.positions[places].tolist()
    issues = labels.issues.iloc[places].to_dict("records")
    for place, position, issue in zip(places.tolist(), positions, issues, strict=True):
        noise = float(issue["noise_score"])
        rows.append(
            {
                "id": int(issue["id"]),
                "given": int(issue["given_label"]),
                "suggested": int(issue["suggested_label"]),
                "quality": float(issue["label_quality"]),
                "noise": noise if math.isfinite(noise) else None,
                "givenProb": float(issue["given_label_prob"]),
                "suggestedProb": float(issue["suggested_label_prob"]),
                "isIssue": bool(issue["is_label_issue"]),
                "clean": None if labels.clean is None else int(labels.clean[place]),
                "file": file_name(train, position),
                **picture(train, position, folder),
            }
        )
    return rows


def file_name(examples: Examples, position: int) -> str | None:
    """Where an image is; None for those that are in no file of their own."""
    images = examples.images
    if isinstance(images, ImageFiles):
        return shown(images.names[position])
    if isinstance(images, NoImages):
        return None
    if isinstance(images, EncodedImages):
        return images.name(position)
    return None


def thumbnail(image: Image.Image, side: int = LARGE) -> dict[str, Any]:
    """A small picture: `image`, a data URI, and its `width` and `height` on the page.

    What is too large is made smaller; what is small keeps its pixels, and the page
    shows each of them as a square of whole pixels.

    Args:
        image: of any mode that a PNG can have.
        side: the longer side of what is made smaller, in pixels of the file, at most.
            The page has room for `SIDE`. Defaults to `LARGE`.
    """
    content = io.BytesIO()
    longer = max(image.size)
    if longer > SIDE:
        width, height = (max(1, round(SIDE * one / longer)) for one in image.size)
        image = image.convert("RGB")
        image.thumbnail((side, side), Resampling.LANCZOS)
        image.save(content, "JPEG", quality=_JPEG_QUALITY)
        kind = "jpeg"
    else:
        image.save(content, "PNG")
        width, height = (SIDE // longer * one for one in image.size)
        kind = "png"
    text = base64.b64encode(content.getvalue()).decode()
    return {
        "image": f"data:image/{kind};base64,{text}",
        "width": width,
        "height": height,
    }


def picture(
    examples: Examples, position: int, folder: Path | None, side: int = LARGE
) -> dict[str, Any]:
    """A thumbnail of an example, or the `problem` that there is none.

    Of examples without images it is a `text` that names them.

    Args:
        examples: training examples.
        position: which one.
        folder: as for `gallery_rows`.
        side: as for `thumbnail`. Defaults to `LARGE`.
    """
    images = examples.images
    if isinstance(images, NoImages):
        return {"text": images.name(position)}
    if folder is not None and isinstance(images, ImageFiles):
        path = os.path.join(os.fsencode(images.folder), images.names[position])
        if not is_inside(path, folder):
            return {"problem": OUTSIDE}
    if isinstance(images, np.ndarray):
        pixels = images[position]
        is_grey = pixels.shape[-1] == 1
        grey_or_rgb = pixels[..., 0] if is_grey else pixels
        return thumbnail(Image.fromarray(grey_or_rgb), side)
    try:
        return thumbnail(decode(images.read(position), side), side)
    except (OSError, UnreadableImageError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return {"problem": reason or type(error).__name__}
