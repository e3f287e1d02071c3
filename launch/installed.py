"""The packages that commands need beside the library, and the extra that has them."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection

PACKAGES = {
    "absl": "absl-py",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "tensorboard": "tensorboard",
}
"""Of the extra `launch`, by the modules to import, what every command needs."""


def what_is_missing(modules: Collection[str] = tuple(PACKAGES)) -> str | None:
    """What to install where some of these are missing; None where all are there.

    They are looked for, not imported.

    Args:
        modules: keys of `PACKAGES`. Defaults to all.
    """
    missing = [
        PACKAGES[name] for name in modules if importlib.util.find_spec(name) is None
    ]
    if not missing:
        return None
    return (
        f"The commands need {', '.join(missing)}, which "
        f"{'is' if len(missing) == 1 else 'are'} not installed: "
        'pip install "sop-keras[launch]".'
    )


def check_installed() -> None:
    """Check for what every command needs.

    Raises:
        ImportError: if something is missing.
    """
    if missing := what_is_missing():
        raise ImportError(missing)


def check_parquet(*paths: str | None) -> None:
    """Check for what Parquet files are read through, before anything is loaded.

    Args:
        paths: of files; None for those that were not given.

    Raises:
        ImportError: if one is Parquet, and pyarrow is not installed.
    """
    parquet = [path for path in paths if path and path.lower().endswith(".parquet")]
    if parquet and importlib.util.find_spec("pyarrow") is None:
        raise ImportError(
            f"{parquet[0]} is read through pyarrow, which is not installed: "
            'pip install "sop-keras[parquet]".'
        )
