from types import SimpleNamespace

import audit_runs
import numpy as np
import pandas as pd
import pytest

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.label_issues.decisions import Conflict, Decisions
from sop_keras.training.experiment import Experiment


def test_what_decisions_say_goes_by_labels():
    # Of three, one is to be removed; one was called another class that is its own.
    kinds = np.array(["remove", "other", "given"])
    times = np.zeros(3, "datetime64[ms]")
    decisions = Decisions(np.arange(3), kinds, np.array([-1, 1, 0]), times)
    table = pd.DataFrame(
        {
            "decision": ["remove", "given", "given", ""],
            "label_quality": [np.nan, 1.0, 1.0, 0.25],
            "is_label_issue": [False, False, False, True],
        }
    )
    said = audit_runs._of_decisions([decisions], table)
    assert "decided: 3; wrong were 33 % of them" in said
    assert "worth a look: 1 more, of which about 1 are wrong" in said


def printed(monkeypatch, files, dataset, decisions=(), flags=()):
    """What an audit of images, in which nothing is computed, prints and has written."""
    said, pages = [], []
    audited = SimpleNamespace(data=SimpleNamespace(dataset=None))
    audited.data.dataset = SimpleNamespace(class_names=())
    for name in ("_of_features", "_say_found", "_files_of", "_similar", "check_folder"):
        monkeypatch.setattr(audit_runs, name, lambda *_: "")
    experiment = Experiment(dataset=dataset)
    monkeypatch.setattr(audit_runs, "experiment_of", lambda *_, **__: experiment)
    monkeypatch.setattr(audit_runs, "read_decisions", lambda files, _: files)

    def run_audit(*_, read, **__):
        read(2)
        return audited

    monkeypatch.setattr(audit_runs, "run_audit", run_audit)
    monkeypatch.setattr(audit_runs, "say", lambda *texts, **_: said.extend(texts))
    monkeypatch.setattr(
        "sop_keras.report.write.write_report", lambda *_, **given: pages.append(given)
    )
    values = SimpleNamespace(
        backbone="x", pretrained="x", decisions=list(decisions), store=None
    )
    values.num_examples, values.picture_folder = 200, None
    values.mean = values.std = None
    audit_runs.audit_images(values, "audit", None, {}, files, flags)
    return "\n".join(said), pages[0]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([], "decisions.csv"),
        (["decisions.csv"], "decisions2.csv"),
        (["ann.csv"], "decisions2.csv"),
        (["a/decisions2.csv"], "decisions3.csv"),
        (["decisions9.csv", "bob.csv", "decisions10.csv"], "decisions11.csv"),
    ],
)
def test_the_page_saves_the_file_that_the_commands_name(monkeypatch, before, expected):
    text, page = printed(monkeypatch, DataFiles(), "digits", before)
    assert page["decisions"] == expected
    # It has what was decided before, and the commands name it alone: of files beside
    # one another, the later word on an example would be another person's.
    assert page["earlier"] == (before or None)
    assert f"save {expected}. Then" in text
    named = [word for word in text.split() if word.startswith("--decisions=")]
    assert named == [f"--decisions={expected}"] * 2


def test_what_people_disagree_on_is_listed():
    said = (("ann.csv", "given", 1), ("bob.csv", "remove", -1))
    conflicts = tuple(Conflict(one, said) for one in range(7, 19))
    nothing = np.array([])
    decisions = Decisions(nothing, nothing, nothing, nothing, conflicts)
    table = pd.DataFrame(
        {"decision": [""], "label_quality": [0.25], "is_label_issue": [False]}
    )
    text = audit_runs._of_decisions([decisions], table)
    assert "in conflict, and not taken: 12\n" in text
    assert "id 7: ann.csv: given 1, bob.csv: remove\n" in text
    assert "id 16: " in text  # ten of them
    assert "id 17: " not in text
    assert "and 2 more" in text


def test_the_command_that_corrects_has_what_the_folder_does_not_say(monkeypatch):
    files = DataFiles(max_manifest_rows=2_000_000)
    text, _ = printed(monkeypatch, files, "tfds:huggingface:x")
    (line,) = (one for one in text.splitlines() if one.startswith("correct: "))
    assert "--max_manifest_rows=2000000" in line
    assert "--may_fetch=tfds:huggingface:x" in line
