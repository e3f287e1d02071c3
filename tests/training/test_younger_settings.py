"""Runs of earlier versions, which lack settings that came later."""

import json
from dataclasses import dataclass, replace

import pytest
from settings import DIGITS

from sop_keras import methods
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.methods import MethodRecord, MethodSettings, setting
from sop_keras.training.experiment import Experiment
from sop_keras.training.run_folder import RunFolder, RunFolderError


@dataclass(frozen=True)
class TrustSettings(MethodSettings):
    memory: float = setting(0.8, "Old.", least=0, most=1)
    patience: int = setting(3, "Added later.", flag="wait", least=1, came_later=True)


@pytest.fixture
def trust(monkeypatch):
    """A method of a user's own, registered for one test."""
    monkeypatch.setattr(methods, "_REGISTERED", {})
    record = MethodRecord("trust", "Trust", "here", TrustSettings, "nowhere:Trust")
    methods.register(record)
    return replace(DIGITS, method=TrustSettings(memory=0.9))


def test_a_setting_added_to_a_method_does_not_shut_out_its_old_runs(trust, tmp_path):
    old = trust.settings()
    del old["patience"]
    assert Experiment.from_settings(old) == trust
    assert Experiment.completed(old) == trust.settings()
    (tmp_path / "config.json").write_text(json.dumps(old))
    RunFolder(tmp_path, trust, DataFiles()).check()
    other = replace(trust, method=TrustSettings(memory=0.9, patience=4))
    with pytest.raises(RunFolderError, match=r"\(patience \(--wait\): 3 there, 4"):
        RunFolder(tmp_path, other, DataFiles()).check()
    del old["memory"]
    with pytest.raises(ValueError, match=r"missing memory\. Were"):
        Experiment.from_settings(old)


@pytest.mark.parametrize("method", ["unknown", None, ["sop"]])
def test_settings_of_an_unknown_method_are_completed_as_far_as_known(method):
    completed = Experiment.completed({"method": method})
    assert completed["method"] == method
    assert completed["precision"] == "float32"
    with pytest.raises(ValueError, match=r"`method` must be one of sop, "):
        Experiment.from_settings({"method": method})


def test_a_refusal_to_go_on_names_flags(tmp_path):
    there = {**DIGITS.settings(), "u_learning_rate": 10.0}
    (tmp_path / "config.json").write_text(json.dumps(there))
    other = replace(DIGITS, learning_rate=0.5, epochs=4, method="ce")
    with pytest.raises(RunFolderError) as refused:
        RunFolder(tmp_path, other, DataFiles()).check()
    text = str(refused.value)
    assert "(epochs: 3 there, 4 now; " in text
    assert "; learning_rate (--lr): 0.02 there, 0.5 now; " in text
    assert "; u_learning_rate (--u_lr): 10.0 there, None now; " in text
    assert text.endswith("train anew, or give the flags as they were.")


def test_settings_of_no_method_are_refused():
    with pytest.raises(ValueError, match=r"settings of no method: MethodSettings\(\)"):
        Experiment(dataset="digits", method=MethodSettings())
    with pytest.raises(ValueError, match="name of a method, or the settings of one"):
        Experiment(dataset="digits", method=7)
