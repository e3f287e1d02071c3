"""Runs on a disk that gets full, one after the other; prints how each ended, as JSON.

    python tests/training/full_disk.py DISK CASES

CASES is JSON: by name, after which function's call (`recorder.Recorder._save`), after
how many of them, how many bytes are then left on the disk, and where the rows of the
examples are.
"""

import json
import operator
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

from settings import digits

from sop_keras.files.atomic import OutputError
from sop_keras.training import recorder, run
from sop_keras.training.execution import Execution

MODULES = SimpleNamespace(recorder=recorder, run=run)


def train(folder, function, count, bytes_left, execution):
    """Train until the disk of the folder is full; gives the error's message."""
    owner, _, name = function.rpartition(".")
    owner = operator.attrgetter(owner)(MODULES)
    original, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        result = original(*args, **kwargs)
        calls.append(1)
        if len(calls) == count:
            free = shutil.disk_usage(folder.parent).free
            filler = b" " * max(0, free - bytes_left)
            (folder.parent / "filler").write_bytes(filler)
        return result

    setattr(owner, name, wrapped)
    try:
        run.Run(digits(), folder, execution=execution).train(verbose=0)
    except OutputError as error:
        return str(error)
    finally:
        setattr(owner, name, original)
    return ""


def end(folder, case):
    """How a case ended, and whether the run goes on once there is room again."""
    *moment, table_device = case
    execution = Execution(table_device=table_device)
    error = train(folder, *moment, execution)
    found = {
        "error": error,
        "checkpoints": sorted(path.name for path in folder.glob("checkpoints/*")),
        "partial": [str(path) for path in folder.parent.rglob("partial-*")],
    }
    (folder.parent / "filler").unlink()
    run.Run(digits(), folder, execution=execution).train(verbose=0)
    found["is_complete"] = (folder / "result.json").exists()
    shutil.rmtree(folder)
    return found


def main(disk, cases):
    """Go through the cases."""
    cases = json.loads(cases)
    print(json.dumps({name: end(Path(disk, name), cases[name]) for name in cases}))


if __name__ == "__main__":
    main(*sys.argv[1:])
