"""The gallery of a report: the labels that look worst, with small pictures of them."""

from __future__ import annotations

import base64
import io
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
from sop_keras.report.run_labels import RunLabels
from sop_keras.training.picture_folder import is_inside

SIDE = 96
"""The longer side of a thumbnail, in pixels of the page, at most."""

OUTSIDE = "its file is not in the folder that may be shown"
"""The problem of an image that somebody else's list has from elsewhere."""

# Of photographs, that are made smaller; others keep their pixels.
_JPEG_QUALITY = 85


def gallery_rows(
    labels: RunLabels, train: Examples, num_examples: int, folder: Path | None = None
) -> list[dict[str, Any]]:
    """What the page shows of the labels of the lowest quality, as JSON knows it.

    Args:
        labels: of the run.
        train: its training examples.
        num_examples: how many to show; fewer where there are fewer.
        folder: of images that are files, those elsewhere are not shown. Defaults to
            `None`: all are.

    Returns:
        A dict an example: the columns of the table of label issues under short names,
        `clean` (or None), `file` (or None), and `image`, `width` and `height`, or
        `problem` where the image cannot be read, or is `OUTSIDE`.
    """
    rows = []
    positions = labels.positions[:num_examples].tolist()
    issues = labels.issues.iloc[:num_examples].to_dict("records")
    for place, (position, issue) in enumerate(zip(positions, issues, strict=True)):
        rows.append(
            {
                "id": int(issue["id"]),
                "given": int(issue["given_label"]),
                "suggested": int(issue["suggested_label"]),
                "quality": float(issue["label_quality"]),
                "noise": float(issue["noise_score"]),
                "givenProb": float(issue["given_label_prob"]),
                "suggestedProb": float(issue["suggested_label_prob"]),
                "isIssue": bool(issue["is_label_issue"]),
                "clean": None if labels.clean is None else int(labels.clean[place]),
                "file": file_name(train, position),
                **_picture(train, position, folder),
            }
        )
    return rows


def file_name(examples: Examples, position: int) -> str | None:
    """Where an image is; None for those that are in no file of their own."""
    images = examples.images
    if isinstance(images, ImageFiles):
        return shown(images.names[position])
    if isinstance(images, EncodedImages):
        return images.name(position)
    return None


def thumbnail(image: Image.Image) -> dict[str, Any]:
    """A small picture: `image`, a data URI, and its `width` and `height` on the page.

    What is too large is made smaller; what is small keeps its pixels, and the page
    shows each of them as a square of whole pixels.

    Args:
        image: of any mode that a PNG can have.
    """
    content = io.BytesIO()
    if max(image.size) > SIDE:
        image = image.convert("RGB")
        image.thumbnail((SIDE, SIDE), Resampling.LANCZOS)
        image.save(content, "JPEG", quality=_JPEG_QUALITY)
        kind, factor = "jpeg", 1
    else:
        image.save(content, "PNG")
        kind, factor = "png", SIDE // max(image.size)
    text = base64.b64encode(content.getvalue()).decode()
    return {
        "image": f"data:image/{kind};base64,{text}",
        "width": factor * image.width,
        "height": factor * image.height,
    }


def _picture(examples: Examples, position: int, folder: Path | None) -> dict[str, Any]:
    images = examples.images
    if folder is not None and isinstance(images, ImageFiles):
        path = os.path.join(os.fsencode(images.folder), images.names[position])
        if not is_inside(path, folder):
            return {"problem": OUTSIDE}
    if isinstance(images, np.ndarray):
        pixels = images[position]
        is_grey = pixels.shape[-1] == 1
        return thumbnail(Image.fromarray(pixels[..., 0] if is_grey else pixels))
    try:
        return thumbnail(decode(images.read(position), SIDE))
    except (OSError, UnreadableImageError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return {"problem": reason or type(error).__name__}
