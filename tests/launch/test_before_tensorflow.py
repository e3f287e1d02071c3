"""What is wrong with flags and folders is said before TensorFlow is imported."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sop_keras.training.experiment import Experiment
from sop_keras.training.run_lock import RunLock

LAUNCH = Path(__file__).resolve().parents[2] / "launch"

# Runs command lines of one command in turn; tells how each ended, what it showed, and
# which modules that take seconds were imported by then.
SCRIPT = """
import contextlib, importlib, io, json, sys

name, lines, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
sys.path.insert(0, folder)
module = importlib.import_module(name)
ends = []
for line in lines:
    shown, code = io.StringIO(), 0
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown):
        sys.argv = [f"{name}.py", *line]
        try:
            code = module.main()
        except SystemExit as ended:
            code = ended.code
    slow = [one for one in ("tensorflow", "keras", "pandas") if one in sys.modules]
    ends.append([code or 0, shown.getvalue(), slow])
print(json.dumps(ends), file=sys.stdout)
"""


def ends_of(name, lines, folder):
    """How the command ends for each command line, in one process."""
    # With -X faulthandler, no command asks a stand-in for stderr for its number.
    options = ["-W", "error", "-X", "faulthandler", "-c", SCRIPT]
    done = subprocess.run(
        [sys.executable, *options, name, json.dumps(lines), str(LAUNCH)],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path):
    """A folder with a file, and with a run of three epochs that was interrupted."""
    (tmp_path / "a_file").touch()
    (tmp_path / "begun").mkdir()
    settings = Experiment(epochs=3, method="ce").settings()
    (tmp_path / "begun" / "config.json").write_text(json.dumps(settings), "utf-8")
    return tmp_path


TRAINING = [
    (["--epochs=0"], "flag --epochs=0: "),
    (["--method=none_of_these"], "must be different ones of: sop, "),
    (["--backbone=none_of_these"], "Unknown backbone 'none_of_these'"),
    (["--dataset=none_of_these"], "The data set must be one of digits, "),
    (["--schedule=cosine", "--lr=0.1", "--final_lr=1"], "--final_lr must not be"),
    (["--flagfile=nowhere"], "There is no flagfile 'nowhere'"),
    (["--jit_compile"], "--jit_compile needs --nodeterministic"),
]
OTHERS = ["--lr=1"], "Unknown command line flag 'lr'"

CASES = {
    "train": [
        *TRAINING,
        (["--method=ce", "--output_dir=a_file"], "a_file is a file; a run needs"),
        (["--method=ce", "--output_dir=begun"], "begun holds a run of other settings"),
    ],
    "figure1": [
        *TRAINING,
        (["--noise_rates=2"], "--noise_rates=2: must be different numbers from 0 to 1"),
        (["--seed=1"], "Give --seeds, one or several"),
    ],
    "compare": [
        *[(line, text) for line, text in TRAINING if "method" not in line[0]],
        (["--methods=none_of_these"], "must be all, or different ones of: sop, "),
        (["--noises=none_of:these"], "A noise is symmetric:RATE or asymmetric:RATE"),
        (["--setting=ce:u_lr=1"], "u_lr is no setting of ce"),
        (["--join=nowhere"], "There is no folder nowhere to join"),
        (["--seed=1"], "Give --seeds, one or several"),
    ],
    "reproduce": [
        (["--table=1", "--epochs=0"], "flag --epochs=0: "),
        (["--table=1", "--methods=none_of_these"], "no figure of none_of_these"),
        (["--table=1", "--flagfile=nowhere"], "There is no flagfile 'nowhere'"),
    ],
    "evaluate": [
        OTHERS,
        ([], "Say what to evaluate"),
        (["--run=nowhere"], "nowhere is not the folder of a run"),
        (["--run=begun"], "the run is not complete"),
        (["--flagfile=nowhere"], "There is no flagfile 'nowhere'"),
    ],
    "report": [
        OTHERS,
        ([], "Say what it is about: report.py RUN"),
        (["nowhere"], "nowhere is not the folder of a run"),
        (["begun"], "begun is a run of CE, which says nothing about single"),
    ],
    "correct_labels": [
        OTHERS,
        (["begun"], "Say what to do and where to"),
        (["nowhere", "--action=drop", "--output_dir=new"], "nowhere is not the folder"),
        (["begun", "--action=drop", "--output_dir=begun"], "begun is not empty"),
        (["begun", "--action=drop", "--output_dir=new"], "the run is not complete"),
        (
            ["begun", "--action=keep", "--output_dir=new", "--decisions=nowhere"],
            "There is no file of decisions nowhere",
        ),
    ],
    "prepare": [
        OTHERS,
        (["--dataset=none_of_these"], "The data set must be one of digits, "),
        (["--dataset=prepared", "--data_dir=begun"], "There are no prepared images in"),
        (["--flagfile=nowhere"], "There is no flagfile 'nowhere'"),
        (["--image_format=png"], "flag --image_format=png"),
        (["--jpeg_quality=0"], "flag --jpeg_quality=0"),
        (["--decode=quick"], "flag --decode=quick"),
        (["--resize=8", "--image_size=9"], "--image_size must not be above --resize"),
    ],
    "theory": [OTHERS, (["--figure=5"], "flag --figure=5")],
    "contact_sheet": [OTHERS, (["extra"], "arguments that are no flags: extra")],
}


@pytest.mark.parametrize("name", CASES)
def test_errors_come_before_tensorflow(name, folder):
    lines = [line for line, _ in CASES[name]]
    ends = ends_of(name, lines, folder)
    for (line, text), (code, shown, slow) in zip(CASES[name], ends, strict=True):
        assert (code, slow) == (1, []), (line, shown)
        assert shown.startswith("error: "), line
        assert text in shown, line
        assert len(shown.splitlines()) == 1, shown
    assert sorted(path.name for path in folder.iterdir()) == ["a_file", "begun"]


@pytest.mark.parametrize("name", [name for name in CASES if name != "reproduce"])
def test_help_comes_without_tensorflow(name, tmp_path):
    lines = [["--help"], ["--helpshort"]]
    for code, shown, slow in ends_of(name, lines, tmp_path):
        assert (code, slow) == (0, [])
        assert f"launch/{name}.py" in shown  # what the file says of itself
        assert "--[no]traceback: " in shown


# Which are imported by all other tests.
@pytest.mark.parametrize("name", ["evaluate", "report", "correct_labels", "reproduce"])
def test_a_script_starts_in_any_folder(name, tmp_path):
    command = [sys.executable, str(LAUNCH / f"{name}.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert f"launch/{name}.py" in done.stdout


def test_a_run_that_is_being_trained_is_refused(tmp_path):
    with RunLock(tmp_path / "run"):
        words = ["--method=ce", "--output_dir=run"]
        ((code, shown, slow),) = ends_of("train", [words], tmp_path)
    assert (code, slow) == (1, [])
    said = (
        rf"error: run is being written to by process {os.getpid()} on .*Wait for it.*"
    )
    assert re.fullmatch(said, shown.rstrip("\n"))


def test_a_missing_tensorflow_is_one_line(tmp_path):
    # As find_spec sees it where it is not installed.
    script = """
import importlib.util, sys
sys.path.insert(0, sys.argv[1])
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: (
    None if name == "tensorflow" else find(name, *rest)
)
import train
"""
    command = [sys.executable, "-c", script, str(LAUNCH)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    assert done.stderr.startswith("error: sop_keras needs TensorFlow, which is not ")
    assert len(done.stderr.splitlines()) == 1
