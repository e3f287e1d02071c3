"""The method of docs/methods.md trains, resumes, finds wrong labels and reports."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "methods.md").read_text("utf-8")


def test_the_blocks_in_one_go(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.M | re.S)
    (tmp_path / "own.py").write_text("\n".join(blocks), "utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "own.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    share = re.search(r"(\d+)% of the 100 worst are really wrong", done.stdout)
    assert int(share[1]) >= 80
    report = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "<dt>Method</dt><dd>Trust</dd>" in report
    assert len(blocks[0].split("class Trust")[1].strip().splitlines()) <= 35


def test_all_methods_are_in_its_table():
    from sop_keras import methods

    listed = re.findall(r"^\| `(\w+)` \| `methods\.(\w+)\(", PAGE, flags=re.M)
    assert dict(listed) == {
        name: record.class_name for name, record in methods.records().items()
    }
