import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--table_device=disk"]], ids=["memory", "disk"])
def test_a_run_that_is_killed_ends_as_if_it_had_not_been(flags):
    # SOP+ has all the state there is: u, v, and two views of every example.
    script = Path(__file__).parent / "kill_and_resume.py"
    ended = subprocess.run(
        [
            *(sys.executable, str(script), "--kills=2", "--truncations=1"),
            *("--epochs=2", "--seed=1", "--", "--method=sop_plus", "--init_std=1e-4"),
            *("--max_train_examples=300", "--batch_size=24", *flags),  # 26 batches
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "equal, bit for bit" in ended.stdout
    last = ended.stdout.splitlines()[-1]
    assert sum(map(int, re.findall(r"(\d+) killed", last))) >= 2
    assert sum(map(int, re.findall(r"(\d+) cut", last))) == 1
