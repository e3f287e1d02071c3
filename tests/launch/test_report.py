import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import report
from absl import flags
from absl.testing import flagsaver

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.training.run import Run
from sop_keras.training.saved_run import recorded_files

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def flags_of(*arguments):
    """The flags of a command line; not those that change the whole process."""
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["report.py", "--nodeterministic", *arguments])
        yield


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A run of one epoch on the digits."""
    folder = tmp_path_factory.mktemp("complete") / "run"
    with flags_of("--augment=none", "--epochs=1", "--init_std=1e-3"):
        experiment = report.train.experiment_from_flags(flags.FLAGS, "sop")
    Run(experiment, folder).train(verbose=0)
    return folder


def test_a_run_gets_its_report(complete, capsys):
    with flags_of("--num_examples=7"):
        report.report("digits", str(complete))
    page = complete / "report.html"
    assert f"report: {page}\n" in capsys.readouterr().out
    text = page.read_text("utf-8")
    assert "The 7 labels of the lowest quality" in text
    assert text.count('"image":"data:image/png;base64,') == 7
    pictures = {one.name for one in (complete / "report").iterdir()}
    assert {"test_accuracy.png", "precision_recall.png"} < pictures
    # Where labels are right is known: digits are, and the noise was drawn.
    assert "True noise rate" in text


def test_the_page_goes_where_it_is_told_to(complete, tmp_path):
    with flags_of(f"--output={tmp_path / 'new' / 'page.html'}"):
        report.report("digits", str(complete))
    assert {one.name for one in (tmp_path / "new").iterdir()} == {"page", "page.html"}


def test_data_are_where_they_were_unless_flags_say_otherwise(complete, tmp_path):
    assert recorded_files(complete) == DataFiles()
    with flags_of("--data_dir=D", "--noexpect_full_size"):
        files = report.files_of_run(flags.FLAGS, complete)
    assert files == DataFiles(data_dir="D", expect_full_size=False)
    with flags_of():
        assert report.files_of_run(flags.FLAGS, tmp_path) == DataFiles()


def run_main(monkeypatch, *arguments):
    """What the command line ends with, in this process."""

    def parse_and_run(run, argv):
        with flagsaver.flagsaver():
            flags.FLAGS.unparse_flags()
            run(flags.FLAGS([*argv, "--nodeterministic"]))

    monkeypatch.setattr(report.train.app, "run", parse_and_run)
    monkeypatch.setattr(report.train, "show_messages", lambda: None)
    monkeypatch.setattr(sys, "argv", ["report.py", *arguments])
    try:
        report.main()
    finally:
        flags.FLAGS.set_gnu_getopt(False)


def test_flags_may_stand_before_and_after_the_run(complete, monkeypatch, tmp_path):
    page = tmp_path / "page.html"
    run_main(monkeypatch, "--num_examples=3", str(complete), "--output", str(page))
    assert "The 3 labels of" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "error: Say what it is about: report.py RUN"),
        (["a", "b"], "error: arguments that are no flags: b"),
        (["/nowhere"], "error: /nowhere is not the folder of a run"),
    ],
)
def test_errors_are_one_line(arguments, text, monkeypatch):
    with pytest.raises(SystemExit, match=text):
        run_main(monkeypatch, *arguments)


def test_a_run_that_is_not_complete_has_none(complete, monkeypatch, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(complete, folder)
    (folder / "result.json").unlink()
    (folder / "report.html").unlink(missing_ok=True)
    with pytest.raises(SystemExit, match=r"error: .*not complete\. The command that"):
        run_main(monkeypatch, str(folder))
    assert not (folder / "report.html").exists()


@pytest.mark.slow
def test_the_command_line(complete, tmp_path):
    script = str(ROOT / "launch" / "report.py")
    command = [sys.executable, script, str(complete), f"--output={tmp_path}/a.html"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"report: {tmp_path}/a.html" in done.stdout
    assert (tmp_path / "a.html").is_file()
