"""The doubts of SOP: of arrays made by hand, and of trainings on the digits."""

import logging
from dataclasses import replace

import keras
import numpy as np
import pytest

from sop_keras import SOPModel, suggest_uv_rates
from sop_keras.label_issues.doubts import Evidence
from sop_keras.methods.sop_doubts import (
    GATE_WIDEST,
    learnt_by_heart,
    not_begun,
    sop_doubts,
    too_early,
)


def test_u_and_v_that_have_not_grown_are_told_of():
    assert not_begun(Evidence(largest_score=-1.9)) is None
    text = not_begun(Evidence(largest_score=-8.0)).text
    assert "the largest ||s||_1 is 1e-08" in text
    assert "Train longer, or raise init_std" in text
    assert "hardly grown" in not_begun(Evidence(largest_score=-np.inf)).text


def test_they_may_still_grow():
    assert not_begun(Evidence(largest_score=-8.0, is_over=False)) is None


def of_predicted(num_lost, score=0.0, quality=0.5, **kwargs):
    """60 examples; the network predicts the labels of 50, of which some are lost."""
    places = np.arange(60)
    is_lost = places < num_lost
    return Evidence(
        largest_score=0.0,
        noise_scores=np.where(is_lost | (places >= 50), score, -6.0),
        quality=np.where(is_lost, quality, np.where(places < 50, 1.0, 0.01)),
        labels=np.zeros(60, int),
        predictions=np.where(places < 50, 0, 1),
        **kwargs,
    )


def test_labels_that_were_taken_up_though_the_network_predicts_them():
    assert too_early(of_predicted(9)) is None
    # 10 and the 10 that the network contradicts are a third of 60.
    text = too_early(of_predicted(10)).text
    assert "took up 33% of the labels, among them 20% of those that the network" in text


def test_before_the_end_it_takes_half_of_them():
    assert too_early(of_predicted(24, is_over=False)) is None
    assert too_early(of_predicted(25, is_over=False)) is not None


def test_trusted_labels_do_not_hide_it():
    # 5 of 50 are too few. Of these, 25 are trusted, and 5 of the other 25 are 20%.
    few = of_predicted(5)
    assert too_early(few) is None
    is_trusted = (np.arange(60) >= 5) & (np.arange(60) < 30)
    scores = np.where(is_trusted, np.nan, few.noise_scores)
    assert "20% of those" in too_early(replace(few, noise_scores=scores)).text


@pytest.mark.parametrize(
    "evidence",
    [
        of_predicted(30, score=-1.1),  # ||s||_1 is 0.08: the network alone is unsure
        of_predicted(30, quality=0.8),
        replace(of_predicted(30), predictions=np.arange(60) - 19),  # one is predicted
        Evidence(largest_score=0.0),
    ],
)
def test_what_is_no_reason(evidence):
    assert too_early(evidence) is None


def by_heart(widest=0.5, agreed=58, marked=1, **kwargs):
    """60 examples, of which the network predicts the labels of some."""
    places = np.arange(60)
    return Evidence(
        largest_score=-8.0,
        quality=np.where(places < marked, 0.4, 0.9),
        labels=np.zeros(60, int),
        predictions=np.where(places < agreed, 0, 1),
        figures={GATE_WIDEST: widest},
        **kwargs,
    )


def test_wrong_labels_that_were_learnt_by_heart_before_rows_had_grown():
    text = learnt_by_heart(by_heart()).text
    assert "97% of them by heart" in text
    assert "1.7% of the labels count as issues" in text
    assert [one.name for one in sop_doubts(by_heart(), True)] == ["learnt_by_heart"]
    # Constant rates ask nothing of a gate: their rows have not begun.
    assert [one.name for one in sop_doubts(by_heart(), False)] == ["not_begun"]


@pytest.mark.parametrize(
    "evidence",
    [
        by_heart(widest=0.1),  # nothing ever contradicted it much
        by_heart(agreed=56),  # 93%: it has not learnt all
        by_heart(marked=2),  # 3%: they were found
        by_heart(is_over=False),
        Evidence(largest_score=-8.0),
    ],
)
def test_what_is_no_learning_by_heart(evidence):
    assert learnt_by_heart(evidence) is None


def digits(noise=0.0, rare=None):
    """1,500 digits, some labels drawn anew; of one class, 15 alone may be left."""
    from sklearn.datasets import load_digits

    x, clean = load_digits(return_X_y=True)
    x, clean = x[:1500].astype(np.float32), clean[:1500]
    if rare is not None:
        kept = (clean != rare) | (np.cumsum(clean == rare) <= 15)
        x, clean = x[kept], clean[kept]
    rng = np.random.default_rng(0)
    other = (clean + rng.integers(1, 10, len(clean))) % 10
    return x, np.where(rng.random(len(clean)) < noise, other, clean)


def trained(optimizer, noise=0.0, rare=None, scale=1 / 16, epochs=12, rates_for=30):
    keras.utils.set_random_seed(0)
    x, y = digits(noise, rare)
    rates = suggest_uv_rates(rates_for, 64, 10)
    network = [keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)]
    backbone = keras.Sequential([keras.Input((64,)), *network])
    model = SOPModel(backbone, len(x), 10, init_std=rates.init_std, seed=0)
    model.compile(
        optimizer,
        u_optimizer=rates.u_learning_rate,
        v_optimizer=rates.v_learning_rate,
        steps_per_execution=24,  # an epoch
    )
    model.fit(scale * x, y, batch_size=64, epochs=epochs, verbose=0)
    return model, scale * x, y


def names(model):
    return [doubt.name for doubt in model.method.doubts(model.evidence())]


def said(caplog):
    own = [
        one
        for one in caplog.records
        if one.name.startswith("sop_keras") and one.levelno >= logging.WARNING
    ]
    return [one.getMessage() for one in own]


def test_right_labels_given_up_before_the_network_has_learnt(caplog, tmp_path):
    model, x, y = trained(keras.optimizers.Adam(1e-4), epochs=14)
    assert names(model) == ["whole_classes", "too_early"]
    early, at_the_end = said(caplog)  # once each, and what shows before the end then
    assert "After epoch 8: u and v took up" in early
    assert "After epoch 14: 99% of all labels count as issues" in at_the_end
    caplog.clear()
    issues = model.label_issues(x, y)
    assert (issues["label_quality"] < 0.5).mean() > 0.5
    assert not issues["is_label_issue"].any()
    _, doubt, consequence = said(caplog)
    assert "% of those that the network itself predicts" in doubt
    assert "no label is marked: num_issues or issue_rate" in consequence
    assert model.label_issues(x, y, num_issues=7)["is_label_issue"].sum() == 7
    # A part of the examples is judged by all of them.
    part = {"label": y[:5], "index": np.arange(5)}
    assert not model.label_issues(x[:5], part)["is_label_issue"].any()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.method.doubts(loaded.evidence()) == model.method.doubts(
        model.evidence()
    )


def test_inputs_that_are_not_scaled(caplog, tmp_path):
    sgd = keras.optimizers.SGD(0.002, momentum=0.9)
    model, x, y = trained(sgd, scale=255 / 16, epochs=3)
    assert "high_loss" in names(model)
    text = said(caplog)[0]
    assert text.startswith("After epoch 1: In the first epoch the mean cross entropy")
    assert "The inputs are in [0, 255], which looks unscaled" in text
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.method.doubts(loaded.evidence()) == model.method.doubts(
        model.evidence()
    )
    caplog.clear()
    # It does not count as a beginning that a trained network goes on with less.
    loaded.fit(x / 255, y, batch_size=500, verbose=0)
    assert "The inputs are in [0, 255]" in said(caplog)[0]


def test_a_rare_class_that_is_given_up(caplog):
    model, x, y = trained(keras.optimizers.SGD(0.02, momentum=0.9), rare=3)
    assert names(model) == ["whole_classes"]
    (text,) = said(caplog)
    assert "Nearly all labels of class 3 (15 of 15) count as issues" in text
    assert not model.label_issues(x, y)["is_label_issue"].any()


@pytest.mark.parametrize(
    ("noise", "rare", "epochs"), [(0.0, None, 8), (0.8, None, 30), (0.0, 3, 8)]
)
def test_trainings_that_are_no_reason(noise, rare, epochs, caplog):
    sgd = keras.optimizers.SGD(0.1, momentum=0.9)
    model, _, _ = trained(sgd, noise, rare, epochs=epochs)
    assert names(model) == []
    assert said(caplog) == []
