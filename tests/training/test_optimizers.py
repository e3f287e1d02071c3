"""What an experiment makes of `optimizer`, `schedule` and `late_beta1`."""

import json
from dataclasses import replace

import numpy as np
import pytest
from settings import digits

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.optimizers.adam import Adam
from sop_keras.optimizers.sgd import SGD
from sop_keras.training.experiment import Experiment
from sop_keras.training.network import make_optimizer, rate_of_epochs
from sop_keras.training.run_folder import RunFolder

LINEAR = {"schedule": "linear", "decay_epochs": (2,), "epochs": 6}


def test_adam_as_co_teaching_has_it():
    experiment = digits(
        optimizer="adam", late_beta1=0.1, l2=0.0, learning_rate=0.001, **LINEAR
    )
    optimizer = make_optimizer(experiment, steps_per_epoch=5)
    assert isinstance(optimizer, Adam)
    config = optimizer.get_config()
    assert (config["beta_1"], config["beta_2"], config["epsilon"]) == (0.9, 0.999, 1e-8)
    assert (config["late_beta_1"], config["late_from"], config["l2"]) == (0.1, 10, 0.0)
    # Whole for two of six epochs, then 4, 3, 2 and 1 quarters.
    rate = optimizer._learning_rate
    found = [float(rate(5 * epoch + 4)) for epoch in range(6)]
    np.testing.assert_allclose(found, 2.5e-4 * np.array([4, 4, 4, 3, 2, 1]), rtol=1e-6)


def test_adam_has_l2_clipping_and_accumulation_too():
    experiment = digits(
        optimizer="adam", momentum=0.8, clip_norm=2.0, gradient_accumulation_steps=4
    )
    optimizer = make_optimizer(experiment, steps_per_epoch=5)
    assert (optimizer.beta_1, optimizer.l2, optimizer.late_beta_1) == (0.8, 5e-4, None)
    assert optimizer.global_clipnorm == 2.0
    assert optimizer.gradient_accumulation_steps == 4


def test_a_rate_that_rises_is_not_0_for_a_whole_epoch():
    # Of methods whose epochs are passes of two networks, a rate an epoch: the middle of
    # epochs that rise, the begin of those that fall.
    warm = {"schedule": "cosine", "epochs": 10, "learning_rate": 0.1}
    warm["final_learning_rate"] = 0.0
    rate = rate_of_epochs(digits("elr_plus", warmup_epochs=3, **warm))
    falls = [0.05 * (1 + np.cos(np.pi * epoch / 7)) for epoch in range(7)]
    expected = [0.1 / 6, 0.3 / 6, 0.5 / 6, *falls]
    np.testing.assert_allclose([rate(e) for e in range(10)], expected, rtol=1e-5)
    triangle = {**warm, "schedule": "triangle", "warmup_share": 0.4}
    rate = rate_of_epochs(digits("elr_plus", **triangle))
    expected = [0.0125, 0.0375, 0.0625, 0.0875, *(0.1 * (1 - np.arange(6) / 6))]
    np.testing.assert_allclose([rate(e) for e in range(10)], expected, rtol=1e-5)
    assert rate_of_epochs(digits("ce", warmup_epochs=3, **warm)) is None


def test_sgd_takes_the_line_too():
    optimizer = make_optimizer(digits(**LINEAR), steps_per_epoch=5)
    assert isinstance(optimizer, SGD)
    assert float(optimizer._learning_rate(29)) == pytest.approx(0.02 / 4)


def test_a_triangle_is_of_all_steps():
    rates = {"learning_rate": 1.0, "warmup_learning_rate": 0.2}
    experiment = digits(
        schedule="triangle",
        epochs=4,
        warmup_share=0.5,
        final_learning_rate=0.1,
        offset_rate_factor=64.0,
        **rates,
    )
    optimizer = make_optimizer(experiment, steps_per_epoch=5)
    found = [float(optimizer._learning_rate(step)) for step in (0, 5, 10, 20)]
    np.testing.assert_allclose(found, [0.2, 0.6, 1.0, 0.1], rtol=1e-6)
    assert optimizer.offset_rate_factor == 64
    assert make_optimizer(digits(), steps_per_epoch=5).offset_rate_factor == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset_rate_factor": -1.0}, "`offset_rate_factor` must be"),
        ({"warmup_share": 0.1}, "`warmup_share` is for schedule=triangle"),
        ({"optimizer": "rmsprop"}, "`optimizer` must be one of sgd, adam"),
        ({"optimizer": "adam", "nesterov": True}, "`nesterov` is for optimizer=sgd"),
        ({"late_beta1": 0.1}, "`late_beta1` is for --optimizer=adam with --schedule=l"),
        ({"late_beta1": 0.1, **LINEAR}, "`late_beta1` is for --optimizer=adam"),
        ({"late_beta1": 0.1, "optimizer": "adam"}, "`late_beta1` is for"),
        ({"late_beta1": 1.0}, "`late_beta1` must be less than 1"),
        ({**LINEAR, "decay_epochs": (2, 3)}, "--schedule=linear one, like 80"),
        ({**LINEAR, "decay_epochs": ()}, "--schedule=linear one, like 80"),
    ],
)
def test_what_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        digits(**changes)


def test_runs_of_earlier_versions_were_by_sgd(tmp_path):
    settings = digits().settings()
    for name in ("optimizer", "late_beta1"):
        del settings[name]
    assert Experiment.from_settings(settings) == digits()
    (tmp_path / "config.json").write_text(json.dumps(settings))
    RunFolder(tmp_path, digits(), DataFiles()).check()
    with pytest.raises(ValueError, match="optimizer: 'sgd' there, 'adam' now"):
        RunFolder(tmp_path, replace(digits(), optimizer="adam"), DataFiles()).check()
