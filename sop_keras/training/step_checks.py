"""What the settings of how the network steps may not say, alone or together."""

from __future__ import annotations

from typing import Any

from sop_keras.core.averaging import averaging_of


def check_momentum(momentum: float) -> None:
    """Check a momentum.

    Raises:
        ValueError: if it is out of range.
    """
    if momentum >= 1:
        raise ValueError(
            f"`momentum` must be less than 1. Received: momentum={momentum!r}."
        )


def check_late_beta1(beta: float) -> None:
    """Check a beta1 of Adam.

    Raises:
        ValueError: if it is out of range.
    """
    if beta >= 1:
        raise ValueError(
            f"`late_beta1` must be less than 1. Received: late_beta1={beta!r}."
        )


def check_decay_factor(factor: float) -> None:
    """Check a factor of schedule=step.

    Raises:
        ValueError: if it is out of range.
    """
    if not 0 < factor < 1:
        raise ValueError(
            "`decay_factor` must be above 0 and below 1, such as 0.1. Received: "
            f"decay_factor={factor!r}."
        )


def check_offset_rate_factor(factor: float) -> None:
    """Check a factor of the learning rate.

    Raises:
        ValueError: if it is out of range.
    """
    if not factor > 0:
        raise ValueError(
            "`offset_rate_factor` must be above 0, such as 64. Received: "
            f"offset_rate_factor={factor!r}."
        )


def check_steps(experiment: Any) -> None:
    """Check optimizer and schedule of an `Experiment`; the texts name flags, too.

    Raises:
        ValueError: if two settings do not fit each other.
    """
    num_decays = len(experiment.decay_epochs)
    fits = {"step": num_decays > 0, "linear": num_decays == 1}
    if not fits.get(experiment.schedule, num_decays == 0):
        raise ValueError(
            "`schedule` and `decay_epochs` do not fit: --schedule=step needs "
            "increasing --decay_epochs, like 40,80, and --schedule=linear one, "
            "like 80; no other schedule takes them "
            "(--decay_epochs= unsets a flagfile's). "
            f"Received: schedule={experiment.schedule!r}, "
            f"decay_epochs={experiment.decay_epochs}."
        )
    first, last = experiment.learning_rate, experiment.final_learning_rate
    if experiment.schedule in ("cosine", "triangle") and last > first:
        raise ValueError(
            "`final_learning_rate` must not be above `learning_rate`: --final_lr "
            "must not be above --lr. Received: "
            f"final_learning_rate={last}, learning_rate={first}."
        )
    if experiment.warmup_epochs and (
        experiment.schedule != "cosine" or experiment.warmup_epochs >= experiment.epochs
    ):
        raise ValueError(
            "`warmup_epochs` is for schedule=cosine, and must be below `epochs`: "
            "--warmup_epochs=0 unsets a flagfile's. Received: warmup_epochs="
            f"{experiment.warmup_epochs}, schedule={experiment.schedule!r}, "
            f"epochs={experiment.epochs}."
        )
    _check_triangle(experiment)
    _check_rate_that_rises(experiment)
    if experiment.nesterov and not experiment.momentum:
        raise ValueError(
            "`nesterov` needs a momentum: --nonesterov unsets a flagfile's. "
            "Received: momentum=0."
        )
    if experiment.nesterov and experiment.optimizer != "sgd":
        raise ValueError(
            "`nesterov` is for optimizer=sgd: --nonesterov unsets a flagfile's. "
            f"Received: optimizer={experiment.optimizer!r}."
        )
    if experiment.offset_rate_factor != 1 and experiment.optimizer != "sgd":
        raise ValueError(
            "`offset_rate_factor` is for optimizer=sgd: --offset_lr_factor=1 unsets a "
            f"flagfile's. Received: optimizer={experiment.optimizer!r}."
        )
    if experiment.late_beta1 is not None and (
        (experiment.optimizer, experiment.schedule) != ("adam", "linear")
    ):
        raise ValueError(
            "`late_beta1` is for --optimizer=adam with --schedule=linear. Received: "
            f"late_beta1={experiment.late_beta1}, optimizer={experiment.optimizer!r}, "
            f"schedule={experiment.schedule!r}."
        )


def check_weight_average(weight_average: str) -> None:
    """Check what an average of weights is of.

    Raises:
        ValueError: if it is not known.
    """
    averaging_of(weight_average)


def check_average(experiment: Any) -> None:
    """Check the average of an `Experiment`; the text names the flag, too.

    Raises:
        ValueError: if it is of more epochs than there are.
    """
    averaging = averaging_of(experiment.weight_average)
    if averaging is not None and (averaging.epochs or 0) > experiment.epochs:
        raise ValueError(
            "`weight_average` is of more epochs than there are: "
            f"--weight_average=last:{experiment.epochs} at most. Received: "
            f"weight_average={experiment.weight_average!r}, "
            f"epochs={experiment.epochs}."
        )


def _check_triangle(experiment: Any) -> None:
    share, start = experiment.warmup_share, experiment.warmup_learning_rate
    if experiment.schedule != "triangle":
        if share:
            raise ValueError(
                "`warmup_share` is for schedule=triangle: --warmup_share=0 unsets a "
                f"flagfile's. Received: warmup_share={share}, "
                f"schedule={experiment.schedule!r}."
            )
        return
    if share == 1:
        raise ValueError(
            "`warmup_share` must be less than 1, as the rate falls after the warm-up. "
            f"Received: warmup_share={share}."
        )
    if start > experiment.learning_rate:
        raise ValueError(
            "`warmup_learning_rate` must not be above `learning_rate`, which it rises "
            "to: --warmup_lr must not be above --lr. Received: warmup_learning_rate="
            f"{start}, learning_rate={experiment.learning_rate}."
        )


def _check_rate_that_rises(experiment: Any) -> None:
    start = experiment.warmup_learning_rate
    rises = experiment.warmup_epochs or experiment.warmup_share
    if experiment.schedule in ("cosine", "triangle") and start and not rises:
        length = {"cosine": "warmup_epochs", "triangle": "warmup_share"}
        raise ValueError(
            "`warmup_learning_rate` is where the rate rises from, in a warm-up that "
            f"takes no step here: --{length[experiment.schedule]} says how long it is; "
            f"--warmup_lr=0 unsets a flagfile's. Received: warmup_learning_rate={start}"
            f", {length[experiment.schedule]}=0."
        )
