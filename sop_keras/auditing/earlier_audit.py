"""The audit that a folder holds already: whether it is of the same ids."""

from __future__ import annotations

import logging
from pathlib import Path

from sop_keras.files.atomic import remove
from sop_keras.label_issues.decisions import Decisions
from sop_keras.training.run_folder import (
    Described,
    RunFolderError,
    data_differences,
    read_json,
    read_result,
)

logger = logging.getLogger(__name__)


def check_ids(
    folder: Path, data: Described, decisions: Decisions | None, mend: str
) -> None:
    """Check that decisions are on these ids; say where ids are others than before.

    Images in folders, and tables without ids, are numbered anew where one comes or
    goes.

    Args:
        folder: of the audit.
        data: what is audited now.
        decisions: of people; None for none.
        mend: what to do with decisions on other data, as a sentence.

    Raises:
        RunFolderError: for decisions on other data.
    """
    there = read_json(folder / "data.json")
    changed = [] if there is None else data_differences(there, data)
    if changed and decisions is not None:
        raise RunFolderError(
            "Decisions are on the ids of the last audit, and the data have changed "
            f"since: {folder} holds one of other data ({'; '.join(changed)}). {mend}"
        )
    if changed and read_result(folder) is not None:
        logger.warning(
            "The data are not those of the last audit in %s: ids may be others, "
            "and decisions that were saved from its page are not to be used here.",
            folder,
        )


def forget_result(folder: Path) -> None:
    """Remove `result.json` before anything is written: it is the last of an audit.

    A process that is killed in between leaves no figures of one audit beside the table
    of another.

    Args:
        folder: of the audit.

    Raises:
        OutputError: if it cannot be removed.
    """
    remove(folder / "result.json")
