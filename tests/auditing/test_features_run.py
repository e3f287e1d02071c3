import json

import numpy as np
import pytest

from sop_keras.auditing import features_run
from sop_keras.auditing.features_run import audit_features
from sop_keras.features.own_features import OwnFeatures
from sop_keras.label_issues.decisions import Decisions
from sop_keras.training.run_folder import RunFolderError
from sop_keras.training.run_lock import RunLock, RunLockedError

NAMES = ("ant", "bee")


def rows(count=60):
    """Rows of two clouds in turn."""
    labels = np.arange(count) % 2
    features = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    features[:, 0] += 6 * labels
    return OwnFeatures(features, labels, np.arange(count), NAMES)


def written(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


GIVEN = Decisions(
    np.array([2]), np.array(["given"]), np.array([0]), np.zeros(1, "datetime64[ms]")
)


def test_decisions_are_on_the_rows_of_the_last_audit(tmp_path, caplog):
    folder = tmp_path / "audit"
    audit_features(rows(), folder, source="a/train.npy")
    before = written(folder)
    assert set(before) == {"data.json", "label_issues.csv", "result.json"}
    # One row more: ids may be others, though none of the decisions says so.
    with pytest.raises(RunFolderError, match="num_examples: 60 there, 61 now"):
        audit_features(rows(61), folder, source="a/train.npy", decisions=GIVEN)
    # As many, in another order, with labels that still fit what was decided.
    one = rows()
    swapped = one.labels.copy()
    swapped[[4, 5]] = swapped[[5, 4]]
    other = OwnFeatures(one.features, swapped, one.ids, NAMES)
    with pytest.raises(RunFolderError, match=r"\(other labels\)\. Put the data back"):
        audit_features(other, folder, decisions=GIVEN)
    assert written(folder) == before
    # The same rows of another network are the same examples.
    again = OwnFeatures(one.features[:, :3], one.labels, one.ids, NAMES)
    audit_features(again, folder, decisions=GIVEN)
    assert not caplog.text
    # Without decisions it is done, and said.
    audit_features(rows(61), folder)
    assert "The data are not those of the last audit" in caplog.text
    assert json.loads((folder / "data.json").read_text())["num_examples"] == 61


def test_two_files_of_one_name_do_not_share_a_folder(tmp_path):
    folder = tmp_path / "train-audit"
    audit_features(rows(), folder, source=tmp_path / "a" / "train.npy")
    before = written(folder)
    with pytest.raises(RunFolderError, match=r"another file, .*a/train\.npy\. Choose"):
        audit_features(rows(), folder, source=tmp_path / "b" / "train.npy")
    assert written(folder) == before


def test_one_audit_at_a_time(tmp_path):
    with RunLock(tmp_path), pytest.raises(RunLockedError):
        audit_features(rows(), tmp_path)


def test_a_kill_leaves_no_figures_of_the_audit_before(tmp_path, monkeypatch):
    audit_features(rows(), tmp_path)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(features_run, "write_label_issues", killed)
    with pytest.raises(KeyboardInterrupt):
        audit_features(rows(61), tmp_path)
    assert not (tmp_path / "result.json").exists()
