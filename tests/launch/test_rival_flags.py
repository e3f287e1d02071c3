"""The flagfiles of the paper's rivals: what was published for each data set."""

import dataclasses

import pytest
import reproduce
import train_flags

from sop_keras import methods


def experiment(name, *more):
    """The settings that a flagfile stands for."""
    values = reproduce.parsed([f"--flagfile={name}", *more])
    return train_flags.experiment(values, values.method[0])


def settings(method, **numbers):
    return methods.record(method).settings(**numbers)


# Epochs and steps of GCE's protocol, by data set: those of Table A.1 for SOP.
SCHEDULES = {"cifar10": (120, (40, 80)), "cifar100": (150, (80, 120))}
COLUMNS = [f"{data}_sym{rate}" for data in SCHEDULES for rate in (20, 40, 60, 80)]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("method", ["gce", "forward"])
def test_gces_own_protocol(method, column):
    epochs, steps = SCHEDULES[column.split("_")[0]]
    found = experiment(f"{column}_{method}")
    assert found.record.name == method
    expected = dataclasses.replace(
        experiment(column),
        method=found.method,
        epochs=epochs,
        learning_rate=0.01,
        l2=1e-4,
        schedule="step",
        decay_epochs=steps,
        decay_factor=0.1,
    )
    assert found == expected
    if method == "gce":
        assert found.method == settings("gce", q=0.7)


@pytest.mark.parametrize("column", COLUMNS)
def test_sl_has_its_authors_weights_and_sops_schedule(column):
    numbers = {"cifar10": (0.1, 1.0), "cifar100": (6.0, 0.1)}[column.split("_")[0]]
    method = settings("sl", alpha=numbers[0], beta=numbers[1])
    expected = dataclasses.replace(experiment(column), method=method)
    assert experiment(f"{column}_sl") == expected


@pytest.mark.parametrize("data", SCHEDULES)
@pytest.mark.parametrize("rate", [20, 50, 80])
def test_mixup_has_its_authors_schedule(data, rate):
    column = f"{data}_plus_sym{rate}"
    expected = dataclasses.replace(
        experiment(column),
        method=settings("mixup", alpha=1.0),
        epochs=200,
        learning_rate=0.1,
        l2=1e-4,
        schedule="step",
        decay_epochs=(100, 150),
        final_learning_rate=0.0,
    )
    assert experiment(f"{column}_mixup") == expected


@pytest.mark.parametrize("column", ["clothing1m", "webvision"])
def test_forward_has_sops_schedule_where_none_was_published(column):
    found = experiment(f"{column}_forward")
    expected = dataclasses.replace(experiment(column), method=found.method)
    assert found == expected
    assert found.record.name == "forward"
