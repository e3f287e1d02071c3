"""What is said where a run's files cannot be written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sop_keras.files.atomic import OutputError
from sop_keras.files.folders import LinkedFolderError
from sop_keras.training.checkpoint import Checkpoints


@contextlib.contextmanager
def saying_what_is_left(checkpoints: Checkpoints) -> Iterator[None]:
    """Say with an OutputError which checkpoint is intact, and how to go on.

    Args:
        checkpoints: of the run.
    """
    try:
        yield
    except LinkedFolderError:  # says itself what to do
        raise
    except OutputError as error:
        last = checkpoints.newest
        mend = "make room" if error.is_of_room else "mend that"
        intact = (
            f"The last checkpoint, {last}, is intact: {mend}, and run the same command "
            "again to go on from it."
            if last
            else f"There is no checkpoint yet: {mend}, and run the same command again."
        )
        raise OutputError(f"{error} {intact}") from None
