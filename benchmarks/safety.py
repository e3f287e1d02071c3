"""Is SOP safe on anybody's data? A grid of small trainings on real images.

    pip install -e ".[cpu,launch]"
    python benchmarks/safety.py --file=FILE.csv --data_dir=DATA --cache=FOLDER
    python benchmarks/safety.py --file=FILE.csv --close --seeds=1,2 ...
    python benchmarks/safety.py --file=FILE.csv --report

Every cell of a covering design (safety_cells.py) is trained on the same data, from the
same weights, with the same batches by every arm (safety_arms.py): cross entropy, SOP
with rates "auto", and four fixed settings. --report says how "auto" does beside the
others, bar by bar (safety_report.py).

The file has a line for each cell, seed and arm, written when it is done: what is in it
is not trained again, so that a run can be ended and taken up at any time, and several
processes can share the cells and the file (`--part=0/2` and `--part=1/2`). Each takes
one core.

DATA is TFDS' folder with cifar10, and with cifar100 unless --cifar100_dir names another
one. `--cells` can leave out what is not there: its regular expression picks cells by
their names (--list), and "k10" or "k2-" are without CIFAR-100.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from safety_cells import Cell, covering_cells, seconds
from safety_report import close_cells, markdown, read_rows

COLUMNS = (
    *("cell", "seed", "arm", "accuracy", "balanced_accuracy", "last_recall", "wrong"),
    *("least_right", "flagged_right", "found_wrong", "auroc", "seconds", "warnings"),
)


def append(path: Path, row: dict[str, object]) -> None:
    """Write a line, whole and at once: other processes write to the file, too."""
    if not path.exists():
        header = path.with_name(f"{path.name}.{os.getpid()}")
        header.write_text(",".join(COLUMNS) + "\n")
        try:
            os.link(header, path)
        except FileExistsError:
            pass  # another process was first
        finally:
            header.unlink()
    line = _line([_short(row[name]) for name in COLUMNS])
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":  # a line that a killed process left
            line = "\n" + line
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def todo(
    path: Path, cells: list[Cell], seeds: list[int], arms: list[str]
) -> Iterator[tuple[Cell, int, list[str]]]:
    """Cells, seeds and their arms that are not in the file yet."""
    done = {(row["cell"], row["seed"], row["arm"]) for row in read_rows(path)}
    for seed in seeds:
        for cell in cells:
            left = [arm for arm in arms if (cell.name, seed, arm) not in done]
            if left:
                yield cell, seed, left


def run(args: argparse.Namespace, cells: list[Cell]) -> None:
    """Train what is left, until there is nothing or no time left."""
    import keras
    from safety_arms import FIXED, FixedModel, figures, make_model
    from safety_data import cell_data, load_pool

    start = time.monotonic()
    folders = {
        "cifar10": args.data_dir,
        "cifar100": args.cifar100_dir or args.data_dir,
    }
    pools = {}
    for cell, seed, arms in todo(args.file, cells, args.seeds, args.arms):
        if cell.dataset not in pools:
            pools[cell.dataset] = load_pool(cell.dataset, args.cache, folders)
        data = cell_data(cell, seed, pools[cell.dataset])
        fixed = None
        for arm in arms:
            if time.monotonic() - start > args.max_seconds:
                return
            begun = time.process_time()
            if arm in FIXED:
                fixed = fixed or FixedModel(cell, data, seed)
                model = fixed.start_again(FIXED[arm](cell))
            else:
                model = make_model(cell, arm, data, seed)
            made = time.process_time() - begun
            row = figures(cell, model, data, seed)
            row |= {"cell": cell.name, "seed": seed, "arm": arm}
            append(args.file, row | {"seconds": row["seconds"] + made})
        # Else the graphs of all cells stay in memory.
        keras.backend.clear_session()
        print(cell.name, seed, f"{time.monotonic() - start:.0f} s", flush=True)


def chosen_cells(args: argparse.Namespace) -> list[Cell]:
    """The cells of the design that are asked for."""
    cells = [cell for cell in covering_cells() if re.search(args.cells, cell.name)]
    part, _, parts = args.part.partition("/")
    cells = cells[int(part) :: int(parts)]
    if args.close:
        close = close_cells(read_rows(args.file))
        cells = [cell for cell in cells if cell.name in close]
    return cells


def take_one_core() -> None:
    """Small steps gain nothing by a second one, and another process can have it."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def main() -> None:
    """Train, list or report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--file", type=Path, required=True, help="the CSV of all lines")
    parser.add_argument("--data_dir", help="TFDS' folder")
    parser.add_argument("--cifar100_dir", help="TFDS' folder, if another one")
    parser.add_argument("--cache", type=Path, help="where images as used are kept")
    parser.add_argument("--cells", default="", help="a regular expression of names")
    parser.add_argument("--arms", help="some of them, by commas; default: all")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--part", default="0/1", help="0/2: every second, from the 0th")
    parser.add_argument("--close", action="store_true", help="cells within 3 points")
    parser.add_argument("--max_seconds", type=float, default=float("inf"))
    parser.add_argument("--distrust", default="", help="which warnings count, a regex")
    parser.add_argument("--list", action="store_true", help="show the cells")
    parser.add_argument(
        "--report", action="store_true", help="show bars, train nothing"
    )
    args = parser.parse_args()
    if args.report:
        print(markdown(read_rows(args.file), args.distrust))
        return
    cells = chosen_cells(args)
    if args.list:
        for cell in cells:
            print(f"{cell.name}  {seconds(cell):.1f} s")
        return
    if args.cache is None:
        sys.exit("error: --cache must name a folder for the images as they are used")
    from safety_arms import ARMS

    args.arms = args.arms.split(",") if args.arms else list(ARMS)
    if unknown := set(args.arms) - set(ARMS):
        sys.exit(f"error: no such arms: {', '.join(sorted(unknown))}")
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    take_one_core()
    run(args, cells)


def _short(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, str):
        return " ".join(value.split())[:400]
    return round(value, 5) if isinstance(value, float) else value


def _line(values: list[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


if __name__ == "__main__":
    main()
