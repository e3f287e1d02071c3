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
    numbers = {"q": 0.7}
    if method == "forward":  # 3% would cut whole classes of CIFAR-100 away
        numbers = {"anchor_percentile": 97 if column.startswith("cifar10_") else 100}
    assert found.method == settings(method, **numbers)


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
    percentile = {"clothing1m": 97, "webvision": 100}[column]
    assert found.method == settings("forward", anchor_percentile=percentile)


def test_cores2_has_sops_schedule_where_none_was_published():
    found = experiment("clothing1m_cores2")
    method = settings("cores2", largest_regularization=2.0, sieve_start=31)
    assert found == dataclasses.replace(experiment("clothing1m"), method=method)


# The dropped images of a step and the ratio, of the nearest noise that was published.
NEAREST = {
    **{f"cifar10n_{name}": (80, 0.2) for name in ("clean", "aggregate")},
    **{f"cifar10n_random{person}": (80, 0.2) for person in (1, 2, 3)},
    "cifar10n_worst": (160, 0.4),
    "cifar100n_clean": (80, 0.2),
    "cifar100n_noisy": (160, 0.4),
}


@pytest.mark.parametrize("column", NEAREST)
def test_cores_star_has_its_authors_numbers_for_the_nearest_noise(column):
    dropped, ratio = NEAREST[column]
    found = experiment(f"{column}_cores_star")
    expected = dataclasses.replace(
        experiment(column),
        method=settings("cores_star", consistency_weight=ratio),
        backbone="resnet34",
        epochs=1600,
        batch_size=320 + dropped,
        learning_rate=0.3,
        nesterov=True,
        clip_norm=5.0,
        final_learning_rate=0.0,
        warmup_epochs=120,
        warmup_learning_rate=0.001,
    )
    assert found == expected
    # The run before it is CORES2 as published.
    first = dataclasses.replace(found, **found.method.first_run())
    assert first == dataclasses.replace(
        experiment(column),
        method=settings("cores2"),
        backbone="resnet34",
        epochs=100,
        batch_size=64,
        learning_rate=0.1,
        momentum=0.0,
        l2=0.0,
        schedule="step",
        decay_epochs=(50,),
        final_learning_rate=0.0,
    )


@pytest.mark.parametrize("name", ["fast_worst", "fast_clean", "fast_sym40"])
def test_cores_star_has_its_first_training_under_any_schedule(name):
    found = experiment(name, "--method=cores_star", "--weight_average=last:2")
    first = dataclasses.replace(found, **found.method.first_run())
    assert (first.schedule, first.warmup_share, first.offset_rate_factor) == (
        *("step", 0.0, 1.0),
    )
    assert first.weight_average == "none"


# ELR+ by its authors' configuration: by data set and kind of noise.
ELR_PLUS = {
    # beta, lambda, its ramp, whether labels are multiplied by targets; epochs, step
    ("cifar10", "sym"): (0.7, 3.0, 0, False, 200, 150),
    ("cifar10", "asym"): (0.9, 1.0, 0, False, 200, 150),
    ("cifar100", "sym"): (0.9, 7.0, 40_000, True, 250, 200),
    ("cifar100", "asym"): (0.9, 7.0, 40_000, True, 250, 200),
}
MIXED = ["sym20", "sym50", "sym80", "asym40"]


def check_elr_plus(column, data, noise):
    """Compare a flagfile of ELR+ with what it is made of."""
    beta, weight, ramp, reweights, epochs, step = ELR_PLUS[data, noise]
    method = settings(
        "elr_plus",
        target_momentum=beta,
        regularization_weight=weight,
        regularization_ramp=ramp,
        average_decay=0.997,
        average_ramp=40_000,
        alpha=1.0,
        reweight_labels=reweights,
    )
    found = experiment(f"{column}_elr_plus")
    assert found == dataclasses.replace(
        experiment(column),
        method=method,
        num_validation=5000,  # of 50,000: it learns of 45,000
        epochs=epochs,
        schedule="step",
        decay_epochs=(step,),
        final_learning_rate=0.0,
    )
    numbers = (found.backbone, found.batch_size, found.learning_rate, found.l2)
    assert numbers == ("preact_resnet18", 128, 0.02, 5e-4)


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
@pytest.mark.parametrize("noise", MIXED)
def test_elr_plus_is_its_authors_configuration(data, noise):
    check_elr_plus(f"{data}_plus_{noise}", data, noise[:-2])


@pytest.mark.parametrize("column", NEAREST)
def test_elr_plus_has_its_numbers_of_symmetric_noise_for_peoples_labels(column):
    check_elr_plus(column, column.split("_")[0][:-1], "sym")


# Lambda_u of the appendix' table; of CIFAR-100 under asymmetric noise that of C2D.
LAMBDA_U = {
    "cifar10": dict(zip(MIXED, (0, 25, 25, 0), strict=True)),
    "cifar100": dict(zip(MIXED, (25, 150, 150, 150), strict=True)),
}


@pytest.mark.parametrize("data", LAMBDA_U)
@pytest.mark.parametrize("noise", MIXED)
def test_dividemix_has_its_authors_numbers(data, noise):
    column = f"{data}_plus_{noise}"
    method = settings(
        "dividemix",
        lambda_u=LAMBDA_U[data][noise],
        p_threshold=0.5,
        temperature=0.5,
        alpha=4.0,
        warm_up={"cifar10": 10, "cifar100": 30}[data],
        warm_up_penalty=noise == "asym40",
    )
    assert (method.second_augment, method.loss_history) == ("weak", 1)
    assert not method.labeled_only
    assert experiment(f"{column}_dividemix") == dataclasses.replace(
        experiment(column),
        method=method,
        batch_size=64,  # of labelled examples, and as many unlabelled ones
        schedule="step",
        decay_epochs=(150,),  # of 300, as of SOP+
        final_learning_rate=0.0,
    )


def test_the_networks_in_turn_on_real_images():
    # 192,000 / 14 = 13,714.3 and 32,000 / 14 = 2,285.7 images of each class.
    clothing1m, webvision = experiment("clothing1m"), experiment("webvision")
    method = settings(
        "elr_plus",
        target_momentum=0.7,
        regularization_weight=3.0,
        average_decay=0.9999,
        average_ramp=0,
    )
    assert experiment("clothing1m_elr_plus") == dataclasses.replace(
        clothing1m,
        method=method,
        examples_per_class=13_714,
        epochs=15,
        decay_epochs=(7,),
    )
    method = dataclasses.replace(method, average_decay=0.997, alpha=1.5)
    assert experiment("webvision_elr_plus") == dataclasses.replace(
        webvision, method=method
    )
    method = settings(
        "dividemix",
        lambda_u=0.0,
        alpha=0.5,
        warm_up=1,
        labeled_only=True,
        warm_up_penalty=True,
        second_augment="flip",
    )
    assert experiment("clothing1m_dividemix") == dataclasses.replace(
        clothing1m,
        method=method,
        examples_per_class=2286,
        epochs=80,
        batch_size=32,
        decay_epochs=(40,),
    )
    # Regions of random size: RandomResizedCrop(299) of images resized to 320.
    method = dataclasses.replace(
        method, warm_up_penalty=False, second_augment="resized_crop"
    )
    assert experiment("webvision_dividemix") == dataclasses.replace(
        webvision,
        method=method,
        resize=320,
        image_size=299,
        augment="resized_crop",
        epochs=80,
        learning_rate=0.01,
        decay_epochs=(40,),
    )


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        ("clothing1m", {"forget_rate": 0.3, "num_gradual": 5}),
        ("webvision", {"forget_rate": 0.2, "num_gradual": 10}),
    ],
)
def test_co_teaching_has_sops_schedule_where_none_was_published(column, numbers):
    method = settings("coteaching", **numbers)
    expected = dataclasses.replace(experiment(column), method=method)
    assert experiment(f"{column}_coteaching") == expected


# Where the rate begins to fall in Co-teaching's code; Co-teaching+'s first epochs.
RECIPES = {"cifar10": (80, 20), "cifar100": (100, 5)}


@pytest.mark.parametrize("data", RECIPES)
def test_co_teaching_and_its_successor_have_their_authors_recipes(data):
    start, init_epochs = RECIPES[data]
    found = experiment(f"coteaching_{data}_sym50")
    rates = {"forget_rate": 0.5, "forget_exponent": 1.0, "num_gradual": 10}
    expected = dataclasses.replace(
        experiment(f"{data}_plus_sym50"),
        method=settings("coteaching", **rates),
        include_true_class=False,
        augment="none",
        epochs=200,
        batch_size=128,
        optimizer="adam",
        learning_rate=0.001,
        momentum=0.9,
        l2=0.0,
        schedule="linear",
        decay_epochs=(start,),
        final_learning_rate=0.0,
        late_beta1=0.1,
    )
    assert found == expected
    plus = settings("coteaching_plus", **rates, init_epochs=init_epochs)
    assert experiment(f"coteaching_plus_{data}_sym50") == dataclasses.replace(
        expected, method=plus, decay_epochs=(80,)
    )


@pytest.mark.parametrize(
    ("name", "rate"), [("cifar10_plus_sym50", 0.45), ("digits", 0.36)]
)
def test_the_forget_rate_of_drawn_noise_is_the_share_that_is_wrong(name, rate):
    # One of ten labels that are redrawn is the right one.
    found = experiment(name, "--method=coteaching_plus")
    assert found.method.forget_rate == rate == pytest.approx(0.9 * found.noise_rate)
