import json
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from settings import digits

from sop_keras import NoisyLabelModel, methods
from sop_keras.methods.sop_regularizers import check_class_prior
from sop_keras.training.execution import Execution
from sop_keras.training.experiment import Experiment
from sop_keras.training.network import _learning_rate, compile_model


def test_settings_survive_json():
    settings = digits().settings()
    assert json.loads(json.dumps(settings)) == settings


def test_settings_that_a_method_ignores_are_not_among_its_own():
    # Two commands that differ in these alone train the same network.
    of_sop = {"u_learning_rate", "v_learning_rate", "init_std", "variant", "v_loss"}
    of_sop_plus = {"consistency_weight", "strong_augment", "balance_weight"}
    of_sop_plus |= {"class_prior"}
    full = digits(method="sop_plus").settings().keys()
    assert full >= of_sop | of_sop_plus
    assert digits(method="sop").settings().keys() == full - of_sop_plus
    assert digits(method="ce").settings().keys() == full - of_sop_plus - of_sop


@pytest.mark.parametrize("method", ["sop", "sop_plus", "ce"])
def test_an_experiment_is_made_of_its_settings(method):
    original = digits(method=method, label_set="worst", u_learning_rate=3.0)
    settings = json.loads(json.dumps(original.settings()))
    again = Experiment.from_settings(settings)
    assert again.settings() == original.settings()
    assert again.decay_epochs == (1, 2)
    assert again == original
    # What the method ignores is not there; the rest is what it was.
    rate = getattr(again.method, "u_learning_rate", None)
    assert rate == (None if method == "ce" else 3.0)
    balance_weight = getattr(again.method, "balance_weight", None)
    assert balance_weight == (0.1 if method == "sop_plus" else None)
    assert again.method.second_view == original.method.second_view


def test_settings_of_earlier_versions_lack_what_has_a_default():
    settings = digits().settings()
    del settings["precision"]
    assert Experiment.from_settings(settings) == replace(
        Experiment.from_settings(digits().settings()), precision="float32"
    )


def test_settings_that_are_none_are_refused_by_name():
    settings = {**digits().settings(), "colour": "red"}
    del settings["seed"], settings["noise"]
    text = r"settings of an experiment: missing noise, seed; unknown colour\."
    with pytest.raises(ValueError, match=text):
        Experiment.from_settings(settings)
    settings = {**digits(method="sop_plus").settings(), "method": "sop+"}
    with pytest.raises(ValueError, match=r"one of sop, ce, .*sop_plus.*'sop\+'"):
        Experiment.from_settings(settings)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        *(
            ({"decay_epochs": wrong}, r"list or tuple of rising .*: decay_epochs=")
            for wrong in (40, "40", (1.5, 2), (2, 1), (0, 1), (True, 2), None)
        ),
        ({"decay_epochs": ()}, r"needs increasing.*'step', decay_epochs=\(\)\.$"),
        ({"schedule": "cosine", "decay_epochs": (1,)}, "no other schedule takes them"),
        (
            {"schedule": "cosine", "final_learning_rate": 1.0},
            "must not be above `learning_rate`.*learning_rate=1.0, learning_rate=0.02",
        ),
        ({"image_size": 9, "resize": 8}, "not be above `resize`.*=9, resize=8"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        digits(**changes)


def test_epochs_that_are_none_are_refused_in_a_file_too():
    with pytest.raises(ValueError, match=r"tuple of rising.*decay_epochs=40"):
        Experiment.from_settings({**digits().settings(), "decay_epochs": 40})


def test_epochs_in_a_list_are_those_in_a_tuple():
    listed = digits(decay_epochs=[np.int64(1), 2])
    assert listed == digits()
    assert json.loads(json.dumps(listed.settings())) == digits().settings()


def backbone():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(10)])


def compiled(**changes):
    # Labels 0, 0, 0, 1 of ten classes in a table of 500 rows.
    data = SimpleNamespace(
        dataset=SimpleNamespace(num_examples=500, num_classes=10),
        train=SimpleNamespace(labels=np.array([0, 1, 0, 0])),
    )
    return compile_model(
        digits(**changes), backbone(), data, steps_per_epoch=5, execution=Execution()
    )


def test_sop_gets_its_rates_and_table():
    model = compiled(u_learning_rate=3.0, v_learning_rate=7.0, init_std=0.1)
    assert isinstance(model, NoisyLabelModel)
    assert isinstance(model.method, methods.SOP)
    assert float(model.u_optimizer.learning_rate) == 3.0
    assert float(model.v_optimizer.learning_rate) == 7.0
    assert model.tables.v.shape == (500, 10)
    # 5,000 draws of N(0, 0.1^2): the deviation is within 4 * 0.1 / sqrt(10,000).
    assert abs(model.tables.v.numpy().std() - 0.1) < 0.004


def test_rates_that_are_none_set_themselves():
    rates = {"u_learning_rate": None, "v_learning_rate": None, "init_std": None}
    model = compiled(**rates)
    assert model.method == methods.SOP("auto", "auto", "auto")
    assert model.row_optimizers() == {}
    # 5,000 draws of N(0, 1e-16), as above.
    assert abs(model.tables.v.numpy().std() - 1e-8) < 4e-10
    model = compiled(**{**rates, "v_learning_rate": 7.0})
    numbers = {n: float(o.learning_rate) for n, o in model.row_optimizers().items()}
    assert numbers == {"v": 7.0}


def test_what_the_optimizer_may_do_besides():
    cosine = {"schedule": "cosine", "learning_rate": 0.3, "epochs": 4}
    warm = {"warmup_epochs": 2, "warmup_learning_rate": 0.1}
    model = compiled(method="ce", nesterov=True, clip_norm=5.0, **cosine, **warm)
    assert model.optimizer.nesterov
    assert model.optimizer.global_clipnorm == 5.0
    # In 2 of 4 epochs of 5 steps from 0.1 to 0.3.
    schedule = model.optimizer._learning_rate
    found = [float(schedule(step)) for step in (0, 5, 10, 20)]
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3, 0.0], atol=1e-7)
    plain = compiled(method="ce")
    assert not plain.optimizer.nesterov
    assert plain.optimizer.global_clipnorm is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup_epochs": 1}, "`warmup_epochs` is for schedule=cosine"),
        ({"warmup_epochs": 3, "schedule": "cosine"}, "must be below `epochs`"),
        ({"nesterov": True, "momentum": 0.0}, "`nesterov` needs a momentum"),
    ],
)
def test_what_the_optimizer_may_not_do(changes, message):
    with pytest.raises(ValueError, match=message):
        digits(**changes)


def test_cores2_divides_the_rate_by_1_plus_beta():
    model = compiled(method="cores2", schedule="constant", epochs=10)
    schedule = model.optimizer._learning_rate
    # Beta is 0, 0, 1, 2 and so on, of 5 steps each.
    found = [float(schedule(5 * epoch)) for epoch in range(5)]
    expected = 0.02 / (1 + np.array([0, 0, 1, 2, 2]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_cross_entropy_shares_the_network_and_its_optimizer():
    model = compiled(method="ce")
    assert isinstance(model.method, methods.CrossEntropy)
    assert model.optimizer.l2 == 5e-4
    assert model.optimizer.momentum == 0.9


def test_the_regularisers_are_those_of_sop_plus_alone():
    weights = {"consistency_weight": 0.7, "balance_weight": 0.3}
    plus = compiled(method="sop_plus", **weights).method
    assert (plus.consistency_weight, plus.balance_weight) == (0.7, 0.3)
    plain = compiled(method="sop", **weights).method
    assert (plain.consistency_weight, plain.balance_weight) == (0.0, 0.0)
    second_views = [
        digits(method=m).method.second_view for m in ("sop_plus", "sop", "ce")
    ]
    assert second_views == ["uda", None, None]


def test_without_consistency_sop_plus_has_the_balance_loss_alone():
    changes = {"method": "sop_plus", "consistency_weight": 0.0}
    assert compiled(**changes).method.balance_weight == 0.1
    assert digits(**changes).method.second_view is None


@pytest.mark.parametrize(
    ("class_prior", "expected"),
    [("empirical", [0.75, 0.25] + 8 * [0.0]), ("uniform", 10 * [0.1])],
)
def test_the_class_prior_is_of_the_labels_that_are_trained_on(class_prior, expected):
    model = compiled(method="sop_plus", class_prior=class_prior)
    prior = check_class_prior(model.method.class_prior, 10)
    np.testing.assert_allclose(prior, expected, rtol=1e-6)


def test_the_class_prior_of_balanced_epochs_is_uniform():
    model = compiled(method="sop_plus", class_prior="empirical", examples_per_class=1)
    prior = check_class_prior(model.method.class_prior, 10)
    np.testing.assert_allclose(prior, 10 * [0.1], rtol=1e-6)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match=r"one of sop, ce, .*sop_plus.*'sop\+'"):
        Experiment(method="sop+")
    with pytest.raises(ValueError, match=r"name of a method, or the settings.*=3\.0"):
        Experiment(method=3.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # Steps 0-4 are epoch 0; the rate drops at the first step of epochs 1 and 2.
        ({}, {0: 0.02, 4: 0.02, 5: 0.002, 9: 0.002, 10: 0.0002}),
        # 4 epochs are 20 steps: half way down the cosine, at 10, is (0.02 + 0.002) / 2.
        (
            {"schedule": "cosine", "final_learning_rate": 0.002, "epochs": 4},
            {0: 0.02, 10: 0.011, 20: 0.002},
        ),
        ({"schedule": "constant"}, {0: 0.02, 14: 0.02}),
    ],
)
@pytest.mark.parametrize("method", ["sop", "sop_plus", "ce"])
def test_schedules(method, changes, expected):
    model = compiled(method=method, **changes)
    for step, rate in expected.items():
        model.optimizer.iterations.assign(step)
        assert float(model.optimizer.learning_rate) == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize("factor", [0, 1, 1.5])
def test_a_step_lowers_the_rate(factor):
    with pytest.raises(ValueError, match=rf"decay_factor.*Received.*{factor}"):
        digits(decay_factor=factor)


def test_a_step_may_be_of_any_factor():
    experiment = digits(schedule="step", decay_epochs=(1,), decay_factor=0.01, epochs=2)
    rate = _learning_rate(experiment, steps_per_epoch=3)
    found = [float(rate(step)) for step in range(6)]
    np.testing.assert_allclose(found, [0.02] * 3 + [0.0002] * 3, rtol=1e-6)
