import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sop_keras.theory.figures import condition27, figure3, make_figure

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments):
    return [sys.executable, str(ROOT / "launch" / "theory.py"), *arguments]


def run(*arguments):
    return subprocess.run(
        command(*arguments), capture_output=True, encoding="utf-8", timeout=300
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Figure 3 on its coarse grid."""
    folder = tmp_path_factory.mktemp("theory")
    # What an earlier command wrote of another figure, and of this one.
    (folder / "findings.csv").write_text(
        "figure,claim,found,holds\nfigure4,old of 4,x,True\nfigure3,old of 3,y,True\n"
    )
    flags = ["--figure=3", "--quick", f"--output_dir={folder}", "--workers=1"]
    return folder, run(*flags)


def test_the_command_makes_the_files_and_says_what_was_found(quick):
    folder, done = quick
    assert done.returncode == 0, done.stderr
    names = {path.name for path in folder.iterdir()}
    files = {f"figure3.{suffix}" for suffix in ("npz", "csv", "png")}
    assert names == files | {"findings.csv", "parts"}
    with (folder / "findings.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # Those of figure 3 are new; that of figure 4 stays, and comes after them.
    assert [row["figure"] for row in rows] == ["figure3"] * (len(rows) - 1) + [
        "figure4"
    ]
    assert "old of 3" not in {row["claim"] for row in rows}
    for row in rows[:-1]:
        line = f"| figure3 | {row['claim']} | {row['found']} | yes |"
        assert line in done.stdout.splitlines()
        assert row["holds"] == "True"
    # Not a terminal: lines, no bar.
    assert "figure3: 5 of 5 parts." in done.stderr
    assert "%|" not in done.stderr


def test_only_what_is_missing_is_computed_again(quick):
    folder, _ = quick
    before = (folder / "figure3.csv").read_bytes()
    parts = folder / "parts" / "figure3"
    (parts / "k10-r20.npz").unlink()
    cut = parts / "k20-r20.npz"
    cut.write_bytes(cut.read_bytes()[:100])
    times = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.npz")}
    make_figure("figure3", figure3.Settings.quick(), folder)
    now = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.npz")}
    renewed = {name for name in now if times.get(name) != now[name]}
    assert renewed == {"k10-r20.npz", "k20-r20.npz"}
    assert (folder / "figure3.csv").read_bytes() == before


def test_mistakes_are_one_line(quick):
    folder, _ = quick
    # The same folder with the fine grid.
    done = run("--figure=3", f"--output_dir={folder}")
    assert done.returncode == 1
    last = done.stderr[done.stderr.index("error: ") :]
    assert "were made with other settings" in last
    assert "penalties_per_decade: 4 there, 10 now" in last
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_all_processes_with_one_line(tmp_path):
    flags = ["--figure=condition27", f"--output_dir={tmp_path}", "--workers=2"]
    started = subprocess.Popen(
        command(*flags),
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
        # It is ignored in what a shell starts in the background, as these tests may be.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    parts = tmp_path / "parts" / "condition27"
    try:
        wait_until((parts / "N100-p150-r1-k1-0.npz").exists)
        # What a terminal does: to all processes of the group.
        os.killpg(started.pid, signal.SIGINT)
        _, errors = started.communicate(timeout=60)
    finally:
        kill_group(started)
    assert started.returncode == 130
    assert "Interrupted. The same command goes on." in errors
    assert "Traceback" not in errors
    # The helper process of multiprocessing notices a little later.
    wait_until(lambda: not group_is_alive(started.pid))
    # A part is there as a whole, and is what this process computes.
    first = condition27.units(condition27.Settings())[0]
    expected = first.function(*first.arguments)
    with np.load(parts / f"{first.name}.npz") as arrays:
        assert set(arrays) == set(expected)
        for name in expected:
            # Other numbers of threads may round otherwise.
            np.testing.assert_allclose(arrays[name], expected[name], 1e-3, atol=1e-7)


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def group_is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def kill_group(process):
    if group_is_alive(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
