"""Runs that are judged by, and leave, the average of their weights."""

import csv
import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from runs import OFTEN, InterruptionError, assert_same_end, history, interrupt_at
from settings import digits

from sop_keras.data.datasets.digits import load_digits
from sop_keras.training.evaluation import evaluate_split
from sop_keras.training.run import Run
from sop_keras.training.run_folder import RunFolderError
from sop_keras.training.saved_classifier import load_classifier

pytestmark = pytest.mark.slow

LABELS = "label_issues.csv"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    Run(digits(), folder).train(verbose=0)
    return folder


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaged")
    Run(digits(weight_average="last:2"), folder).train(verbose=0)
    return folder


def test_it_trains_alike_and_ends_with_the_average(plain, averaged):
    one, other = (
        keras.saving.load_model(folder / "model.keras") for folder in (plain, averaged)
    )
    for group in ("backbone", "tables", "training_record"):
        pairs = zip(
            getattr(one, group).weights, getattr(other, group).weights, strict=True
        )
        for expected, found in pairs:
            np.testing.assert_array_equal(expected.numpy(), found.numpy())
    rows = list(zip(history(plain), history(averaged), strict=True))
    for epoch, (expected, found) in enumerate(rows):
        assert found["loss"] == expected["loss"]
        assert (found["test_loss"] == expected["test_loss"]) == (epoch == 0)
    deployed = load_classifier(averaged / "backbone.keras")
    dataset = load_digits()
    evaluation = evaluate_split(deployed, dataset, "test")
    last = float(history(averaged)[-1]["test_loss"])
    assert evaluation.cross_entropy == pytest.approx(last, rel=1e-5)
    of_model = load_classifier(averaged / "model.keras")
    images = dataset.test.images[:9].astype("float32")
    np.testing.assert_allclose(
        deployed.predict(images, verbose=0),
        of_model.predict(images, verbose=0),
        rtol=1e-4,
    )


def test_its_labels_are_judged_by_the_average(plain, averaged):
    probs = []
    for folder in (plain, averaged):
        with (folder / LABELS).open() as file:
            rows = {row["id"]: row["given_label_prob"] for row in csv.DictReader(file)}
        probs.append(rows)
    assert probs[0].keys() == probs[1].keys()
    assert probs[0] != probs[1]


def test_it_says_so_and_refuses_others_by_name(averaged):
    for name in ("config.json", "result.json"):
        found = json.loads((averaged / name).read_text("utf-8"))
        assert found.get("settings", found)["weight_average"] == "last:2"
    with pytest.raises(RunFolderError, match=r"weight_average.*last:2.*ema:0\.9"):
        Run(digits(weight_average="ema:0.9"), averaged)


@pytest.mark.parametrize(
    ("method", "weight_average"),
    [("sop", "last:1"), ("elr_plus", "ema:0.9")],
)
def test_stopped_within_the_average_it_goes_on_to_the_same_end(
    tmp_path, monkeypatch, method, weight_average
):
    options = {"epochs": 2, "decay_epochs": (1,), "weight_average": weight_average}
    experiment = digits(method, **options)
    Run(experiment, tmp_path / "whole").train(verbose=0)
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=1, batch=2)
        with pytest.raises(InterruptionError):
            Run(experiment, tmp_path / "cut", execution=OFTEN).train(verbose=0)
    Run(experiment, tmp_path / "cut").train(verbose=0)
    assert_same_end(tmp_path / "whole", tmp_path / "cut")
    deployed = [
        load_classifier(tmp_path / name / "backbone.keras") for name in ("whole", "cut")
    ]
    pairs = zip(*(one.get_weights() for one in deployed), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)


def test_the_run_before_a_run_is_as_without(tmp_path):
    experiment = digits(
        "cores_star", epochs=2, decay_epochs=(1,), weight_average="last:2"
    )
    method = replace(experiment.method, sieve_epochs=2)
    Run(replace(experiment, method=method), tmp_path).train(verbose=0)
    config = json.loads((tmp_path / "first_run" / "config.json").read_text("utf-8"))
    assert config["weight_average"] == "none"


def test_more_epochs_than_there_are():
    with pytest.raises(ValueError, match=r"--weight_average=last:3 at most.*last:4"):
        digits(weight_average="last:4")
    with pytest.raises(ValueError, match="`weight_average` must be"):
        digits(weight_average="swa")
