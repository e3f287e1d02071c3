"""The flags of launch/train.py: what they are for, and which values they refuse."""

import dataclasses

import flag_settings
import flagfiles
import pytest
import train
import train_flags
from absl import flags
from absl.testing import flagsaver

from sop_keras.training.execution import Execution


def of_flags(function, *arguments):
    """What a function makes of a command line of the digits' flagfile."""
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        argv = ["train.py", "--flagfile=digits", *arguments]
        assert flags.FLAGS(flagfiles.resolve(argv)[0]) == ["train.py"]
        return function(flags.FLAGS)


def experiment(*arguments):
    return of_flags(
        lambda values: flag_settings.experiment_from_flags(values, values.method[0]),
        *arguments,
    )


def execution(*arguments):
    return of_flags(flag_settings.execution_from_flags, *arguments)


def test_methods_of_one_command_differ_in_the_method_alone():
    def experiments(values):
        return {
            method: flag_settings.experiment_from_flags(values, method)
            for method in values.method
        }

    found = of_flags(experiments, "--flagfile=plus_cpu")
    assert list(found) == ["sop_plus", "sop", "ce"]
    for method, one in found.items():
        assert one == dataclasses.replace(found["sop_plus"], method=method)


def test_flags_after_the_flagfile_win():
    settings = experiment("--epochs=3", "--method=ce")
    assert (settings.epochs, settings.method) == (3, "ce")


@pytest.mark.parametrize(
    ("arguments", "rates"),
    [
        ((), (10, 100, 1e-4)),  # the flagfile's
        (("--u_lr=auto",), (None, 100, 1e-4)),
        (("--v_lr=auto", "--init_std=1e-3"), (10, None, 1e-3)),
        (("--u_lr=auto", "--v_lr=Auto"), (None, None, None)),
    ],
)
def test_auto_leaves_rates_to_be_suggested(arguments, rates):
    settings = experiment(*arguments)
    found = settings.u_learning_rate, settings.v_learning_rate, settings.init_std
    assert found == rates


def test_the_launchers_own_flags_are_these():
    # That is what --helpshort shows, and what launch/reproduce.py compares.
    own = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(train)}
    assert {"dataset", "lr", "strategy", "traceback"} <= own
    module = flags.FLAGS.get_key_flags_for_module(train_flags)
    assert own == {flag.name for flag in module}


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ([], {}),
        (["--strategy=mirrored"], {"strategy": "mirrored"}),
        (["--strategy=multi_worker"], {"strategy": "multi_worker"}),
        (["--table_device=cpu"], {"table_device": "cpu"}),
        (["--jit_compile", "--nodeterministic"], {"jit_compile": True}),
        (["--jit_compile=true", "--nodeterministic"], {"jit_compile": True}),
        # Off is what there is anyway under these: it is no contradiction.
        (
            ["--nojit_compile", "--strategy=mirrored"],
            {"jit_compile": False, "strategy": "mirrored"},
        ),
        (["--steps_per_execution=8"], {"steps_per_execution": 8}),
        (["--checkpoint_minutes=0"], {"checkpoint_minutes": 0.0}),
        (["--checkpoint_minutes=2.5"], {"checkpoint_minutes": 2.5}),
        (["--strategy=mirrored", "--logical_cpus=2"], {"strategy": "mirrored"}),
    ],
)
def test_what_the_flags_make_of_the_execution(arguments, changes):
    assert execution(*arguments) == dataclasses.replace(Execution(), **changes)
    # It is no setting of the experiment: a run may be resumed under another one.
    assert experiment(*arguments) == experiment()


@pytest.mark.parametrize(
    ("argument", "changes"),
    [
        ("--precision=mixed_bfloat16", {"precision": "mixed_bfloat16"}),
        ("--precision=mixed_float16", {"precision": "mixed_float16"}),
        ("--gradient_accumulation_steps=4", {"gradient_accumulation_steps": 4}),
    ],
)
def test_what_changes_the_numbers_is_of_the_experiment(argument, changes):
    assert experiment().precision == "float32"
    assert experiment(argument) == dataclasses.replace(experiment(), **changes)
    assert execution(argument) == Execution()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--method=elr", "different ones of: sop, sop_plus, ce"),
        ("--method=sop,sop", "different ones of: sop, sop_plus, ce"),
        ("--noise_rate=1.5", r"not in range|\[0, 1\]|lower|upper"),
        ("--epochs=0", "positive|lower"),
        ("--decay_epochs=40,x", "positive integers, like 40,80"),
        ("--backbone=resnet51", "(?s)cnn.*resnet50"),
        ("--dataset=mnist", "digits.*tfds:NAME"),
        ("--noise=human", "symmetric"),
        ("--augment=strong", "autoaugment"),
        ("--strong_augment=randaugment", "uda"),
        ("--consistency_weight=-1", "non-negative|lower"),
        ("--consistency_weight=nan", "finite"),
        ("--balance_weight=inf", "finite"),
        ("--class_prior=0.1", "uniform.*empirical"),
        ("--lr=nan", "finite"),
        ("--u_lr=inf", "finite"),
        ("--v_lr=fast", "must be a number of at least 0, or auto"),
        ("--v_lr=-1", "a number of at least 0, or auto"),
        ("--v_lr=nan", "finite"),
        ("--init_std=nan", "finite"),
        ("--momentum=1", "less than 1"),
        ("--seed=5000000000", "seed"),
        ("--max_bad_fraction=1.5", "max_bad_fraction"),
        ("--webvision_classes=0", "webvision_classes"),
        ("--schedule=step", "needs increasing --decay_epochs"),
        ("--decay_epochs=40,80", "no other schedule takes them"),
        ("--precision=float16", "float32.*mixed_bfloat16.*mixed_float16"),
        ("--gradient_accumulation_steps=0", "positive|lower"),
        ("--strategy=tpu", "none.*mirrored.*multi_worker"),
        ("--table_device=gpu", "cpu"),
        ("--steps_per_execution=0", "positive|lower"),
        ("--checkpoint_minutes=-1", "non-negative|lower"),
        ("--checkpoint_minutes=inf", "finite"),
        ("--logical_cpus=-1", "non-negative|lower"),
        ("--logical_cpus=2", "is for --strategy=mirrored"),
        ("--jit_compile", "needs --nodeterministic"),
        (
            "--jit_compile --nodeterministic --strategy=mirrored",
            "needs --strategy=none",
        ),
        (
            "--jit_compile --nodeterministic --strategy=multi_worker",
            "needs --strategy=none",
        ),
        (
            "--jit_compile --nodeterministic --table_device=cpu",
            "cannot be had with --table_device=cpu",
        ),
    ],
)
def test_flag_values_are_checked_when_parsed(arguments, text):
    with pytest.raises(flags.IllegalFlagValueError, match=text):
        experiment(*arguments.split())
