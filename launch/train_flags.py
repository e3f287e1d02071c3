"""The flags of launch/train.py, and the settings that they ask for.

Nearly all are fields of settings; a flag's checks are those of its field. Here are the
flags that are no settings, and what two flags of how it is computed may not say
together; `Experiment` says what two of its settings may not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

import command
import flagfiles
import flags_of
from absl import flags
from terminal import say

from sop_keras import methods
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.training.execution import Execution
from sop_keras.training.experiment import Experiment


def define() -> flags.FlagValues:
    """New flags of a training."""
    values = command.new_flags()
    for settings in (Experiment, Execution, DataFiles):
        flags_of.define(values, settings)
    flags_of.define_methods(values)
    flags.DEFINE_list(
        "method",
        [methods.DEFAULT],
        f"One of {', '.join(methods.names())}, or several, run one after another.",
        **command.own(values, "Method"),
    )
    flags.DEFINE_integer(
        "logical_cpus",
        0,
        "strategy=mirrored, without GPUs: how many devices to make of the CPU, to try "
        "it out; 0: one.",
        lower_bound=0,
        **command.own(values, Execution.__name__),
    )
    flags.DEFINE_string(
        "output_dir",
        None,
        "Where the results go; runs/FLAGFILE-seedN/METHOD if unset. With several "
        "methods, each has a folder of its own in it.",
        **command.own(values),
    )
    define_deterministic(values)
    _check_methods(values)
    _check_together(values)
    return values


def names() -> list[str]:
    """The names of all flags of a training, which other commands find in flagfiles."""
    return list(define())


def define_deterministic(values: flags.FlagValues) -> None:
    """Define the flag that no result depends on but in its last digits."""
    flags.DEFINE_bool(
        "deterministic",
        True,
        "Equal commands give equal bits. Costs speed on GPUs, and leaves XLA off.",
        **command.own(values, Execution.__name__),
    )


def experiment(values: flags.FlagValues, method: str) -> Experiment:
    """The settings that the flags ask for, under one of the methods.

    Raises:
        ValueError: for values that do not fit each other.
    """
    given = {
        one.name: flags_of.value_of(values, one)
        for one in flags_of.fields_of(Experiment)
    }
    return Experiment(**given, method=flags_of.read_method(values, method))


def say_what_is_not_used(words: Sequence[str], chosen: Collection[str]) -> None:
    """Say on stderr which flags of a command line no chosen method has.

    Those of flagfiles are for other methods too, and nothing is said of them.
    """
    others = " or ".join(dict.fromkeys(chosen))
    for name in flagfiles.given(words, flags_of.not_of_methods(chosen)):
        say(f"--{name} is not a flag of {others}: not used.", to=sys.stderr)


def changes_of(published: Experiment, asked: Experiment) -> list[str]:
    """The flags of the settings that differ, as they are written.

    Flags that say where the data are, or how a run is computed, are no settings.
    """
    return [
        flags_of.written(field, getattr(now, field.name))
        for there, now in ((published, asked), (published.method, asked.method))
        for field in flags_of.fields_of(now)
        if getattr(there, field.name) != getattr(now, field.name)
    ]


def parsed(arguments: Sequence[str]) -> flags.FlagValues:
    """The flags of launch/train.py as these arguments have them."""
    return command.parse(define(), arguments, flagfiles.DEFAULT).flags


def said(changes: Sequence[str]) -> list[str]:
    """A line of a table's caption, of flags that are not the paper's; none of none."""
    return [f"Not the paper's setting: {' '.join(changes)}"] if changes else []


def files(values: flags.FlagValues) -> DataFiles:
    """Where the flags say that the data set is."""
    return flags_of.read(values, DataFiles)


def execution(values: flags.FlagValues) -> Execution:
    """How the flags ask for it to be computed."""
    return flags_of.read(values, Execution)


def check_one_device(execution: Execution) -> None:
    """Check that a table is asked for as it is reproduced: by one process, on a device.

    Raises:
        ValueError: for a strategy.
    """
    if execution.strategy != "none":
        raise ValueError(
            "A table is reproduced on one device. Received: --strategy="
            f"{execution.strategy}; run the commands that --dry_run shows with it."
        )


def _check_methods(values: flags.FlagValues) -> None:
    known = methods.names()
    flags.register_validator(
        "method",
        lambda given: (
            bool(given) and set(given) <= set(known) and len(set(given)) == len(given)
        ),
        f"must be different ones of: {', '.join(known)}",
        values,
    )


def check_sizes(values: flags.FlagValues) -> None:
    """Have the sizes of images checked where no experiment is made that does it."""
    flags.register_multi_flags_validator(
        ["resize", "image_size"],
        lambda given: None in given.values() or given["image_size"] <= given["resize"],
        "--image_size must not be above --resize",
        values,
    )


def _check_together(values: flags.FlagValues) -> None:
    def is_for(schedules: str, name: str) -> Callable[[dict[str, Any]], bool]:
        default, known = values[name].default, schedules.split(" or ")
        return lambda given: given["schedule"] in known or given[name] == default

    def of_some(schedules: str, name: str) -> str:
        unset = f"--{name}={flags_of.text_of(values[name].default)}"
        return (
            f"--{name} is for --schedule={schedules}; no other schedule takes it "
            f"({unset} unsets a flagfile's)"
        )

    for together, fits, message in (
        *(
            (["schedule", name], is_for(schedules, name), of_some(schedules, name))
            for schedules, name in (
                ("cosine or triangle", "final_lr"),
                ("cosine", "warmup_epochs"),
                ("cosine or triangle", "warmup_lr"),
                ("triangle", "warmup_share"),
                ("step", "decay_factor"),
            )
        ),
        (
            ["jit_compile", "strategy"],
            lambda given: not given["jit_compile"] or given["strategy"] == "none",
            "--jit_compile needs --strategy=none: TensorFlow cannot compile the "
            "exchange between devices",
        ),
        (
            ["jit_compile", "table_device"],
            lambda given: not given["jit_compile"] or given["table_device"] is None,
            "--jit_compile cannot be had with --table_device=cpu or disk: a compiled "
            "step cannot reach a table in the host's memory, or on disk",
        ),
        (
            ["table_device", "strategy"],
            lambda given: (
                given["table_device"] != "disk" or given["strategy"] == "none"
            ),
            "--table_device=disk needs --strategy=none: it is for one device. "
            "--table_device=cpu has one table for all devices of a machine",
        ),
        (
            ["jit_compile", "deterministic"],
            lambda given: not (given["jit_compile"] and given["deterministic"]),
            "--jit_compile needs --nodeterministic: Keras leaves XLA off where equal "
            "commands must give equal bits",
        ),
        (
            ["strategy", "logical_cpus"],
            lambda given: given["strategy"] == "mirrored" or not given["logical_cpus"],
            "--logical_cpus is for --strategy=mirrored",
        ),
    ):
        flags.register_multi_flags_validator(together, fits, message, values)
