"""Units of work: computed by several processes, each kept in a file when it is done.

A figure is many independent pieces, some of them minutes long. Whatever stops it, the
same call goes on with what is missing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sop_keras.files.atomic import replacing, write_atomically
from sop_keras.files.untrusted import MAX_BYTES, open_untrusted, read_text

logger = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]

_SETTINGS = "settings.json"
# Whichever library numpy was built with, one of them speaks to it.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# What np.load and its arrays raise for a file that is cut, or no .npz at all.
_CORRUPT = (
    *(OSError, ValueError, TypeError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class Unit:
    """A piece of a figure.

    Args:
        name: of its file, without the suffix; one of its own.
        function: of a module, so that it can be sent to another process.
        arguments: of the function, which returns named arrays.
    """

    name: str
    function: Callable[..., Arrays]
    arguments: tuple[Any, ...]


def run_units(
    units: Sequence[Unit],
    folder: str | os.PathLike[str],
    settings: Mapping[str, Any],
    workers: int = 1,
) -> dict[str, Arrays]:
    """Compute what the folder does not have yet.

    A bar shows the progress where the standard error is a terminal; elsewhere a line
    for each tenth goes to this module's logger.

    Args:
        units: of different names.
        folder: gets NAME.npz for each unit, whole or not at all, and settings.json.
        settings: what the units depend on, such as `json` can write.
        workers: how many processes. Defaults to `1`: this one. Others are started anew
            ("spawn") and use one thread each.

    Returns:
        The arrays of every unit, by name.

    Raises:
        ValueError: if the folder was made with other settings, or `workers` is not
            positive.
        ChildProcessError: if a process was killed.
        KeyboardInterrupt: on Ctrl-C; processes that were started are ended.
    """
    if workers < 1:
        raise ValueError(f"`workers` must be at least 1. Received: workers={workers}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _check_settings(folder / _SETTINGS, settings)
    results = {}
    for unit in units:
        arrays = _read(folder / f"{unit.name}.npz")
        if arrays is not None:
            results[unit.name] = arrays
    missing = [unit for unit in units if unit.name not in results]
    if results:
        logger.info(f"{folder}: {len(results)} of {len(units)} parts are there.")
    # What was computed first is kept first, in whichever order it was asked for.
    with contextlib.closing(_compute(missing, workers)) as computed:
        for name, arrays in _shown(computed, len(missing), folder.name):
            write_arrays(folder / f"{name}.npz", arrays)
            results[name] = arrays
    return {unit.name: results[unit.name] for unit in units}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file, of which no half is ever seen."""
    with replacing(path) as partial, partial.open("wb") as file:
        # Typed for keyword arguments of its own, that no array here is named after.
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _read(path: Path) -> Arrays | None:
    """The arrays of a part; None if there is no such file, or it is damaged."""
    if not path.exists():
        return None
    try:
        # Opened here: numpy leaves the file of a damaged one open.
        with open_untrusted(path) as file:
            with zipfile.ZipFile(file) as archive:
                if sum(one.file_size for one in archive.infolist()) > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES:,} bytes when unpacked")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
    except _CORRUPT as error:
        logger.info(f"{path} is damaged ({error}): computed anew.")
        return None


def _check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    # As they come back from the file: tuples are lists there.
    now = json.loads(json.dumps(settings))
    if not path.exists():
        if any(path.parent.glob("*.npz")):
            raise ValueError(
                f"{path.parent} has parts, but no {path.name} that says of what. "
                "Choose another folder, or delete this one."
            )
        write_atomically(path, json.dumps(now, indent=1) + "\n")
        return
    try:
        then = dict(json.loads(read_text(path)))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}). Choose another folder, or delete this one."
        ) from error
    if then != now:
        different = sorted(
            name for name in then.keys() | now.keys() if then.get(name) != now.get(name)
        )
        lines = [
            f"  {name}: {then.get(name)} there, {now.get(name)} now"
            for name in different
        ]
        raise ValueError(
            f"The parts in {path.parent} were made with other settings. Choose another "
            "folder, or delete this one.\n" + "\n".join(lines)
        )


def _compute(
    units: Sequence[Unit], workers: int
) -> Generator[tuple[str, Arrays], None, None]:
    """Name and arrays of each unit, as they get done."""
    if workers == 1 or not units:
        for unit in units:
            yield unit.name, unit.function(*unit.arguments)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(units)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    )
    try:
        with _inherited_by_workers():
            names: dict[Future[Arrays], str] = {
                pool.submit(unit.function, *unit.arguments): unit.name for unit in units
            }
        for future in as_completed(names):
            yield names.pop(future), future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "A process of the pool was killed, perhaps for want of memory. The parts "
            "that are done are kept; try fewer `workers`."
        ) from error
    except BaseException:
        # Also where the caller stops asking. A unit takes minutes: not waited for.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _inherited_by_workers() -> Iterator[None]:
    """One thread for linear algebra, and Ctrl-C is the parent's business alone."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    # Only the main thread may set a handler; others get no Ctrl-C either.
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_with_parent() -> None:
    """Do not outlive a parent that was killed."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _shown(
    computed: Iterable[tuple[str, Arrays]], total: int, title: str
) -> Iterator[tuple[str, Arrays]]:
    """The same, with a progress bar or lines in the log."""
    if total == 0:
        return
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(computed, total=total, desc=title, unit="part")
        return
    logger.info(f"{title}: {total} parts to compute.")
    for done, one in enumerate(computed, start=1):
        yield one
        if 10 * done // total > 10 * (done - 1) // total:
            logger.info(f"{title}: {done} of {total} parts.")
