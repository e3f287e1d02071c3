"""Which files a page may show: a list of images may name any file of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.images.encoded_images import ImageFiles


def default_folder(images: ImageFiles, files: DataFiles) -> Path:
    """The folder whose files may be shown where nobody named one.

    That is the manifest's own, whatever folder a run recorded for its paths to start
    from; for other data sets, the one that is searched for images.

    Args:
        images: of the run.
        files: where its data set is.
    """
    return Path(files.manifest).parent if files.manifest else images.folder


def needed_folder(examples: Examples, files: DataFiles) -> Path | None:
    """The folder to name for all pictures to be shown; None if the default will do.

    Links are not looked at.

    Args:
        examples: of the run.
        files: where its data set is.
    """
    images = examples.images
    if not isinstance(images, ImageFiles) or not len(images) or not files.manifest:
        return None
    default = os.path.abspath(os.fsencode(default_folder(images, files)))
    start = os.path.abspath(os.fsencode(images.folder))
    parts = {os.path.dirname(name) for name in images.names.tolist()}
    places = [os.path.normpath(os.path.join(start, part)) for part in parts]
    common = os.path.commonpath(places)
    is_inside = os.path.commonpath([default, common]) == default
    return None if is_inside else Path(os.fsdecode(common))


def is_inside(path: str | bytes, folder: Path) -> bool:
    """Whether a file is in a folder or below it, once all links are followed.

    Args:
        path: of the file; it need not be there.
        folder: the folder.
    """
    real = os.path.realpath(os.fsencode(path))
    place = os.path.realpath(os.fsencode(folder))
    return os.path.commonpath([place, real]) == place
