import re
import shutil

import command
import pytest
import report
from data_flags import files_of_run

from sop_keras import methods
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.training.experiment import Experiment
from sop_keras.training.run import Run
from sop_keras.training.saved_run import recorded_files


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A run of one epoch on the digits."""
    folder = tmp_path_factory.mktemp("complete") / "run"
    method = methods.record("sop").settings(init_std=1e-3)
    Run(Experiment(augment="none", epochs=1, method=method), folder).train(verbose=0)
    return folder


def test_a_run_gets_its_report(complete, in_process):
    done = in_process(report, "--num_examples=7", complete)
    page = complete / "report.html"
    assert f"report: {page}\n" in done.stdout
    text = page.read_text("utf-8")
    assert "The 7 labels of the lowest quality" in text
    assert text.count('"image":"data:image/png;base64,') == 7
    pictures = {one.name for one in (complete / "report").iterdir()}
    assert {"test_accuracy.png", "precision_recall.png"} < pictures
    # Where labels are right is known: digits are, and the noise was drawn.
    assert "True noise rate" in text


def test_the_page_goes_where_it_is_told_to(complete, tmp_path, in_process):
    in_process(report, complete, f"--output={tmp_path / 'new' / 'page.html'}")
    assert {one.name for one in (tmp_path / "new").iterdir()} == {"page", "page.html"}


def test_data_are_where_they_were_unless_flags_say_otherwise(complete, tmp_path):
    assert recorded_files(complete) == DataFiles()
    values = report.define_flags()
    command.parse(values, ["--data_dir=D", "--noexpect_full_size"])
    files = files_of_run(values, complete)
    assert files == DataFiles(data_dir="D", expect_full_size=False)
    command.parse(unset := report.define_flags(), [])
    assert files_of_run(unset, tmp_path) == DataFiles()


def test_flags_may_stand_before_and_after_the_run(complete, in_process, tmp_path):
    page = tmp_path / "page.html"
    in_process(report, "--num_examples=3", complete, "--output", page)
    assert "The 3 labels of" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "error: Say what it is about: report.py RUN"),
        (["a", "b"], "error: arguments that are no flags: b"),
        (["/nowhere"], "error: /nowhere is not the folder of a run"),
    ],
)
def test_errors_are_one_line(arguments, text, in_process):
    failed = in_process(report, *arguments)
    assert failed.returncode == 1
    assert text in failed.stderr


def test_a_run_that_is_not_complete_has_none(complete, in_process, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(complete, folder)
    (folder / "result.json").unlink()
    (folder / "report.html").unlink(missing_ok=True)
    failed = in_process(report, folder)
    assert failed.returncode == 1
    assert re.search(r"error: .*not complete\. The command that", failed.stderr)
    assert not (folder / "report.html").exists()
