"""The commands that are printed do what they say, where they are printed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import command
import pytest
import report
import train_runs
from printed_command import launch_command, program, shell_line

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.training.run_folder import LABEL_ISSUES

ROOT = Path(__file__).resolve().parents[2]
WORDS = [
    "plain",
    "two words",
    "it's",
    "$(touch x)",
    "`touch x`",
    "a\nb",
    "\x1b[31m",
    "\u202egnp",
    "C:\\a",
    "\\' \x07 \\",
    "*",
    "",
    "!",
    "größe",
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_shell_gives_back_each_word(tmp_path):
    line = shell_line(["printf", "%s\\0", *WORDS])
    assert line.isprintable()
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.decode().split("\0")[:-1] == WORDS
    assert list(tmp_path.iterdir()) == []


def test_words_that_are_plain_are_as_they_are():
    assert shell_line(["a", "--b=c/d.csv", 1.5]) == "a --b=c/d.csv 1.5"


def test_a_script_is_named_from_where_the_command_is_printed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    script = shlex.quote(str(ROOT / "launch" / "train.py"))
    assert launch_command("train.py") == f"{tmp_path / 'python'} {script}"
    # The environment is active, and this is the checkout.
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(ROOT)
    assert (
        launch_command("train.py", ["-a", "b c"]) == "python launch/train.py -a 'b c'"
    )
    assert program("python", "/other/python") == "/other/python"
    # An environment in the checkout that is not active.
    there = str(ROOT / ".venv" / "bin" / "python")
    assert program("python", there) == ".venv/bin/python"


@pytest.mark.parametrize("script", ["train.py", "report.py", "figure1.py"])
def test_the_scripts_are_there(script):
    python, path = shlex.split(launch_command(script))
    assert shutil.which(python)
    assert Path(path).is_file()


def test_the_next_commands_of_a_training(tmp_path):
    folder = tmp_path / "it's a folder"
    first = folder / "sop"
    first.mkdir(parents=True)
    (first / LABEL_ISSUES).write_text("")
    lines = dict(
        re.findall(r"^([\w ]+): +(.*)$", train_runs.next_commands(folder, first), re.M)
    )
    words = shlex.split(lines["curves"])
    assert words[1:] == [f"--logdir={folder}"]
    assert shutil.which(words[0])
    words = shlex.split(lines["report"])
    assert Path(words[1]) == ROOT / "launch" / "report.py"
    line = command.parse(report.define_flags(), words[2:], num_arguments=1)
    assert line.arguments == (str(first),)
    assert lines["figures"] == str(first / "result.json")
    assert line.flags.picture_folder is None


def test_the_report_is_of_the_first_method_that_finds_wrong_labels(tmp_path, capsys):
    planned = {}
    for method in ("ce", "sop", "elr"):
        folder = tmp_path / method
        folder.mkdir()
        run = SimpleNamespace(
            folder=folder,
            train=lambda **_: {"seconds": 1.0},
            picture_folder=None,
            experiment=SimpleNamespace(dataset="digits"),
            files=DataFiles(),
        )
        planned[method] = SimpleNamespace(result={}, make=lambda _, run=run: run)
        if method != "ce":
            (folder / LABEL_ISSUES).write_text("")
    train_runs.train_all(planned, SimpleNamespace(), tmp_path)
    text = capsys.readouterr().out
    assert re.search(rf"^report: .*report\.py {tmp_path}/sop$", text, re.M)
    # Where none does, there are figures and a network to look at.
    train_runs.train_all({"ce": planned["ce"]}, SimpleNamespace(), tmp_path)
    text = capsys.readouterr().out
    assert "report: " not in text
    assert f"figures: {tmp_path}/ce/result.json" in text


def test_the_report_is_told_where_the_pictures_may_be(tmp_path):
    (tmp_path / LABEL_ISSUES).write_text("")
    photos = tmp_path / "my photos"
    run = SimpleNamespace(
        picture_folder=photos,
        experiment=SimpleNamespace(dataset="tfds:huggingface:a/b"),
        files=DataFiles(max_manifest_rows=7, max_bad_fraction=0.5, data_dir="d"),
    )
    flags = train_runs.report_flags(run)
    text = train_runs.next_commands(tmp_path, tmp_path, flags)
    words = shlex.split(re.search(r"^report: +(.*)$", text, re.M)[1])
    line = command.parse(report.define_flags(), words[2:], num_arguments=1)
    assert line.flags.picture_folder == str(photos)
    # The folder of the run does not say these.
    assert line.flags.max_manifest_rows == 7
    assert line.flags.may_fetch == "tfds:huggingface:a/b"
    assert not {"data_dir", "max_bad_fraction"} & {
        word.split("=")[0].strip("-") for word in words
    }
