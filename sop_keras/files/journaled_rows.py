"""Rows in a file that can go back to how they were at a mark.

The file has the rows as they are now, one after the other. After a mark, what a row was
is added to the mark's own file, its journal, before the row is written over. To go back
to a mark is to write the journals' rows, the last one first: those of the last mark,
then those of the one before it, down to the mark's own.

What a process that is killed, or a machine that stops, may leave, step by step:

- Rows are kept in memory (`_fresh`) until there are many. Then (1) their old values go
  to the end of the journal, which is flushed to disk; (2) the head of the file says how
  long the journal is; (3) the rows are written. An end before (3) leaves rows as they
  were, and a journal whose last piece is whole or torn; a torn one is passed over, as
  nothing that it says was written over. An end within (3) leaves some of the rows, all
  of them in the journal. Nothing of (3) can be on disk before the journal is.
- A mark: the rows are flushed to disk, an empty journal is made, and then the head
  names the mark, and is flushed. Before that, the mark is not there, and those before
  it are as they were. Whoever writes down that there is a mark does so afterwards.
- Going back: rows are written from the journals and flushed; then the head forgets the
  later marks; then the mark's journal is emptied. Until the head is written the same
  can be done again. Afterwards the journals of later marks are not read any more, and
  the mark's own, as long as it is not empty, says what the rows are already.
- Further rows: room is made at the end of the file; then the head has the new number,
  and no marks. Where there is no room, what was made is given back.
- Marks are forgotten in the head before their journals are removed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sop_keras.files.atomic import explained, flush
from sop_keras.files.row_file import RowFile
from sop_keras.files.row_journal import MARK, RowJournal, RowsFileError, last_first

# Of more rows, none wait in memory.
_FEW = 4096
_MOST_FRESH_ROWS = 2**14


class JournaledRows:
    """Rows of numbers in a file, some of which are read and written at a time.

    Memory does not grow with the file: it is some megabytes of rows that wait to be
    written.

    Args:
        path: the file. One that has no mark is replaced: its rows are nobody's. One
            that has must be of this shape, and gives no rows before `restore`.
        num_rows: at least 1.
        num_columns: at least 1.
        fill: the value of all numbers of new rows. Defaults to `0.0`.

    Attributes:
        is_finite: whether all that was written since the last `restore` is.
        is_settled: whether it can be read and written: a file that has marks only once
            one of them was restored.

    Raises:
        RowsFileError: if the file has a mark, but another shape or another length than
            it says; if it is none of rows, or missing beside its journals.
        OutputError: if it cannot be made, as on a full disk.
    """

    def __init__(self, path: Path, num_rows: int, num_columns: int, fill: float = 0.0):
        self._path = path
        self._journal: RowJournal | None = None
        self._fresh: dict[int, np.ndarray] = {}
        if not path.exists() and self._journals():
            raise RowsFileError(
                f"{path} is missing, though its journals are there. Put the file back, "
                f"or remove the folder {path.parent} and the checkpoints that go with "
                "it to start anew."
            )
        self._file = RowFile(path, num_rows, num_columns, fill)
        self.is_settled = not self._file.marks
        self.is_finite = True

    @property
    def shape(self) -> tuple[int, int]:
        """`(num_rows, num_columns)`."""
        return self._file.shape

    def read(self, ids: np.ndarray) -> np.ndarray:
        """The rows at `ids`, float32 `(n, num_columns)`.

        Args:
            ids: integers in `[0, num_rows)`, shape `(n,)`.

        Raises:
            RowsFileError: if there are marks, and none was restored.
            IndexError: for ids of no row.
        """
        ids = self._checked(ids)
        if len(ids) > _FEW:
            self.flush()
        rows = self._file.take(ids)
        if self._fresh:
            for place, number in enumerate(ids.tolist()):
                if (fresh := self._fresh.get(number)) is not None:
                    rows[place] = fresh
        return rows

    def write(self, ids: np.ndarray, rows: np.ndarray) -> None:
        """Write the rows at `ids`.

        Args:
            ids: integers in `[0, num_rows)`, shape `(n,)`; equal ones with equal rows.
            rows: shape `(n, num_columns)`.

        Raises:
            RowsFileError, IndexError: as `read`.
            OutputError: if they cannot be written, as on a full disk. What there was at
                the marks can still be restored.
        """
        ids = self._checked(ids)
        rows = np.array(rows, np.float32).reshape(len(ids), self.shape[1])
        self.is_finite = self.is_finite and bool(np.isfinite(rows).all())
        if self._journal is None or len(ids) > _FEW:
            self.flush()
            self._write_over(ids, rows)
        else:
            self._fresh.update(zip(ids.tolist(), rows, strict=True))
            if len(self._fresh) >= min(_MOST_FRESH_ROWS, self._file.rows_at_once):
                self.flush()

    def flush(self) -> None:
        """Write what waits in memory.

        Raises:
            OutputError: if it cannot be written; it waits on, then.
        """
        if self._fresh:
            ids = np.fromiter(self._fresh, np.int64, len(self._fresh))
            self._write_over(ids, np.stack(list(self._fresh.values())))
            self._fresh.clear()

    def mark(self, mark: str) -> None:
        """Have all rows on disk, and be able to come back to them.

        Args:
            mark: 16 hexadecimal digits, none of which was a mark before.

        Raises:
            OutputError: if it cannot be written. The marks before it are as they were.
        """
        self._check_settled()
        self.flush()
        self._file.sync()
        journal = self._new_journal(mark)
        self._file.write_head([*self._file.marks, (mark, 0)])
        self._replace_journal(journal)

    def check(self, mark: str) -> None:
        """Check that `restore` can go back to a mark.

        Raises:
            RowsFileError: if there is no such mark, or a journal is lost or damaged.
        """
        for _ in self._old_rows(mark):
            pass

    def restore(self, mark: str) -> None:
        """Go back to the rows that there were at a mark; later marks are forgotten.

        Args:
            mark: as of `mark`, of this process or of an earlier one.

        Raises:
            RowsFileError: as `check`.
            OutputError: if it cannot be written; the mark stays.
        """
        before = self._file.marks[: len(self._file.marks) - len(self._from(mark))]
        self._fresh.clear()
        for ids, rows in self._old_rows(mark):
            self._file.put(ids, rows)
        self._file.sync()
        self._file.write_head([*before, (mark, 0)])
        self._replace_journal(self._new_journal(mark))
        self._remove_journals()
        self.is_settled, self.is_finite = True, True

    def keep(self, marks: Collection[str]) -> None:
        """Forget the marks before the first of these; rows stay as they are.

        Raises:
            OutputError: if it cannot be written.
        """
        names = [name for name, _ in self._file.marks]
        first = next((i for i, name in enumerate(names) if name in marks), 0)
        if first:
            self._file.write_head(self._file.marks[first:])
            self._remove_journals()

    def start_anew(self) -> None:
        """Forget all marks; the rows are any, and to be written.

        Raises:
            OutputError: if it cannot be written.
        """
        self._fresh.clear()
        self._replace_journal(None)
        self._file.write_head(())
        self._remove_journals()
        self.is_settled, self.is_finite = True, True

    def reserve(self, num_rows: int) -> None:
        """As `RowFile.reserve`.

        Raises:
            RowsFileError: if there are marks, and none was restored.
            OutputError: if there is no room.
        """
        self._check_settled()
        self._file.reserve(num_rows)

    def release(self) -> None:
        """As `RowFile.release`."""
        self._file.release()

    def enlarge(self, num_rows: int, fill: float = 0.0) -> None:
        """Add rows at the end; all marks are forgotten.

        Args:
            num_rows: of all, old and new; at least as many as now.
            fill: the value of all numbers of the new ones. Defaults to `0.0`.

        Raises:
            OutputError: if there is no room for them. What there was at the marks can
                still be restored.
        """
        self._check_settled()
        self.flush()
        self._file.enlarge(num_rows, fill)
        self._replace_journal(None)
        self._remove_journals()

    def _check_settled(self) -> None:
        if not self.is_settled:
            raise RowsFileError(
                f"{self._path} has the rows of a training that checkpoints go with, "
                "and none of these was restored. Go on from them, choose another "
                f"folder, or remove {self._path.parent} to start anew."
            )

    def _checked(self, ids: Any) -> np.ndarray:
        self._check_settled()
        ids = np.asarray(ids, np.int64)
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.shape[0]:
            raise IndexError(
                f"There are rows 0 to {self.shape[0] - 1}. Received ids from "
                f"{ids.min()} to {ids.max()}."
            )
        return ids

    def _write_over(self, ids: np.ndarray, rows: np.ndarray) -> None:
        """Write rows, once what they were is in the journal."""
        if self._journal is None:
            self._file.put(ids, rows)
            return
        at_once = self._file.rows_at_once
        for start in range(0, len(ids), at_once):
            piece = slice(start, start + at_once)
            self._journal.append(ids[piece], self._file.take(ids[piece]))
            *before, (mark, _) = self._file.marks
            self._file.write_head([*before, (mark, self._journal.size)], wait=False)
            self._file.put(ids[piece], rows[piece])

    def _journal_path(self, mark: str) -> Path:
        return self._path.with_name(f"{self._path.name}.undo-{mark}")

    def _journals(self) -> set[Path]:
        pattern = re.compile(re.escape(self._path.name) + rf"\.undo-{MARK}")
        found = self._path.parent.iterdir()
        return {path for path in found if pattern.fullmatch(path.name)}

    def _new_journal(self, mark: str) -> RowJournal:
        journal = RowJournal(self._journal_path(mark))
        with explained(self._path):
            flush(self._path.parent)
        return journal

    def _replace_journal(self, journal: RowJournal | None) -> None:
        if self._journal is not None:
            self._journal.close()
        self._journal = journal

    def _remove_journals(self) -> None:
        """Remove those of no mark."""
        known = {self._journal_path(name) for name, _ in self._file.marks}
        with explained(self._path):
            for path in self._journals() - known:
                path.unlink(missing_ok=True)

    def _from(self, mark: str) -> Sequence[tuple[str, int]]:
        """A mark and those after it."""
        names = [name for name, _ in self._file.marks]
        if not names:
            raise RowsFileError(f"the rows that were in {self._path} are missing")
        if mark not in names:
            raise RowsFileError(
                f"the rows in {self._path} cannot go back to it: they are those of "
                "another run, or went on from an earlier checkpoint"
            )
        return self._file.marks[names.index(mark) :]

    def _old_rows(self, mark: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What was written over since a mark, the last first."""
        for name, size in reversed(self._from(mark)):
            path = self._journal_path(name)
            for ids, rows in last_first(path, size, self.shape[1]):
                if not 0 <= ids.min(initial=0) <= ids.max(initial=0) < self.shape[0]:
                    raise RowsFileError(f"{path} is damaged: it has rows of no example")
                yield ids, rows
