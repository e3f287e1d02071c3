"""The flags of launch/train.py: what they are for, and which values they refuse."""

import dataclasses

import flags_of
import pytest
import reproduce
import train_flags
from absl import flags

from sop_keras import methods
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.settings import flag_of, kind_of
from sop_keras.training.execution import Execution
from sop_keras.training.experiment import Experiment


def of_flags(function, *arguments):
    """What a function makes of a command line of the digits' flagfile."""
    return function(reproduce.parsed(["--flagfile=digits", *arguments]))


def experiment(*arguments):
    return of_flags(
        lambda values: train_flags.experiment(values, values.method[0]), *arguments
    )


def execution(*arguments):
    return of_flags(train_flags.execution, *arguments)


def test_methods_of_one_command_differ_in_the_method_alone():
    def experiments(values):
        return {
            method: train_flags.experiment(values, method) for method in values.method
        }

    found = of_flags(experiments, "--flagfile=plus_cpu")
    assert list(found) == ["sop_plus", "sop", "ce"]
    # What methods have in common is the same, too.
    common = found["sop_plus"].settings()
    for method, one in found.items():
        settings = one.settings()
        assert settings.pop("method") == method
        assert settings == {name: common[name] for name in settings}


def test_flags_after_the_flagfile_win():
    settings = experiment("--epochs=3", "--method=ce")
    assert (settings.epochs, settings.record.name) == (3, "ce")


@pytest.mark.parametrize(
    ("arguments", "rates"),
    [
        ((), (10, 100, 1e-4)),  # the flagfile's
        (("--u_lr=auto",), (None, 100, 1e-4)),
        (("--v_lr=auto", "--init_std=1e-3"), (10, None, 1e-3)),
        (("--u_lr=auto", "--v_lr=Auto"), (None, None, 1e-4)),
        (("--u_lr=auto", "--v_lr=auto", "--init_std=auto"), (None, None, None)),
    ],
)
def test_auto_leaves_rates_to_set_themselves(arguments, rates):
    settings = experiment(*arguments).method
    found = settings.u_learning_rate, settings.v_learning_rate, settings.init_std
    assert found == rates


def test_every_field_has_its_flag_and_the_others_are_few():
    values = train_flags.define()
    settings = [Experiment, Execution, DataFiles]
    settings += [record.settings for record in methods.records().values()]
    fields = [field for one in settings for field in flags_of.fields_of(one)]
    known = {flag_of(field) for field in fields}
    others = {"method", "logical_cpus", "output_dir", "deterministic", "traceback"}
    assert set(values) == known | others | {"help", "helpshort", "helpfull"}
    for field in fields:
        flag = values[flag_of(field)]
        assert field.metadata["text"] in flag.help
        assert flag.boolean == (kind_of(field) == "bool")


def test_without_flags_all_is_as_in_the_library():
    values = train_flags.define()
    values(["train.py"])
    for method in methods.names():
        assert train_flags.experiment(values, method) == Experiment(method=method)
    assert train_flags.execution(values) == Execution()
    assert train_flags.files(values) == DataFiles()


def test_a_flag_of_several_methods_names_them_and_their_defaults():
    values = train_flags.define()
    assert values["u_lr"].default is None
    assert values["u_lr"].help.endswith(" By default, sop: auto, sop_plus: auto.")
    defaults = " By default, cores_star: 0.4, sop_plus: 0.9."
    assert values["consistency_weight"].help.endswith(defaults)


def test_what_a_method_does_not_have_is_left_out():
    assert experiment("--method=ce", "--u_lr=3") == experiment("--method=ce")
    assert experiment("--u_lr=3").method.u_learning_rate == 3
    assert experiment("--consistency_weight=0.5") == experiment()


def test_what_no_chosen_method_has_is_said_of_the_command_line_alone(tmp_path, capsys):
    def said(*words):
        values = reproduce.parsed(words)
        train_flags.say_what_is_not_used(words, values.method)
        return capsys.readouterr().err.splitlines()

    other = "--consistency_weight=0.5"
    assert said("--method=ce", "--u_lr=3", other) == [
        "--u_lr is not a flag of ce: not used.",
        "--consistency_weight is not a flag of ce: not used.",
    ]
    assert said("--method", "sop,ce", "--u_lr", "3", other) == [
        "--consistency_weight is not a flag of sop or ce: not used."
    ]
    assert said("--method=sop_plus,ce", "--u_lr=3", other) == []
    # The digits' flagfile has rates of SOP.
    assert said("--method=ce") == said("--flagfile=digits", "--method=ce") == []
    path = tmp_path / "own.flags"
    path.write_text("--u_lr=3\n--method=ce\n", "utf-8")
    assert said(f"--flagfile={path}") == []


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_a_flagfiles_schedule_can_be_changed(schedule):
    more = [] if schedule == "constant" else ["--decay_epochs=2", "--decay_factor=0.3"]
    found = experiment(
        "--flagfile=fig1_cpu", f"--schedule={schedule}", "--final_lr=0", *more
    )
    assert (found.schedule, found.final_learning_rate) == (schedule, 0)
    found = experiment(
        "--flagfile=cifar10_sym40", "--schedule=cosine", "--decay_epochs="
    )
    assert (found.schedule, found.decay_epochs) == ("cosine", ())


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ([], {}),
        (["--strategy=mirrored"], {"strategy": "mirrored"}),
        (["--strategy=multi_worker"], {"strategy": "multi_worker"}),
        (["--table_device=cpu"], {"table_device": "cpu"}),
        (["--table_device=disk"], {"table_device": "disk"}),
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
        ("--method=nothing", "different ones of: sop, .*ce.*sop_plus"),
        ("--method=sop,sop", "different ones of: sop, .*ce.*sop_plus"),
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
        ("--l2=nan", "finite"),
        ("--max_bad_fraction=1.5", "max_bad_fraction"),
        ("--num_classes=0", "num_classes"),
        ("--decay_factor=1", "above 0 and below 1"),
        ("--decay_factor=0", "above 0 and below 1"),
        ("--decay_factor=0.2", "schedule=constant.*no other schedule takes it"),
        ("--final_lr=1e-3", "--schedule=cosine or triangle; no other schedule takes"),
        ("--warmup_share=0.2", "is for --schedule=triangle; no other schedule takes"),
        ("--schedule=triangle --warmup_epochs=2", "is for --schedule=cosine; no"),
        ("--warmup_share=1.5", r"not in range|\[0, 1\]|lower|upper"),
        ("--offset_lr_factor=0", "must be above 0"),
        ("--schedule=step --decay_epochs=2 --final_lr=1e-3", "is for --schedule=cos"),
        ("--schedule=cosine --decay_factor=0.2", "is for --schedule=step"),
        (
            "--flagfile=cifar10_plus_sym20 --schedule=constant",
            r"\(--final_lr=0\.0 unsets a flagfile's\)",
        ),
        ("--decay_epochs=80,40", "rising positive integers"),
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
        ("--table_device=disk --strategy=mirrored", "needs --strategy=none"),
        (
            "--jit_compile --nodeterministic --table_device=disk",
            "table_device=cpu or disk",
        ),
    ],
)
def test_flag_values_are_checked_when_parsed(arguments, text):
    with pytest.raises(flags.IllegalFlagValueError, match=text):
        experiment(*arguments.split())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--schedule=step", "needs increasing --decay_epochs"),
        ("--decay_epochs=40,80", "no other schedule takes them"),
        ("--schedule=cosine --lr=0.1 --final_lr=1", "--final_lr must not be above"),
        ("--schedule=triangle --lr=0.1 --final_lr=1", "--final_lr must not be above"),
        ("--schedule=triangle --lr=0.1 --warmup_lr=1", "--warmup_lr must not be above"),
        ("--schedule=triangle --warmup_share=1", "`warmup_share` must be less than 1"),
        ("--schedule=triangle --warmup_lr=1e-4", "--warmup_share says how long it is"),
        ("--schedule=cosine --warmup_lr=1e-4", "--warmup_epochs says how long it is"),
        ("--optimizer=adam --offset_lr_factor=2", "--offset_lr_factor=1 unsets"),
        ("--image_size=9 --resize=8", "--image_size must not be above --resize"),
    ],
)
def test_flags_that_do_not_fit_each_other_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        experiment(*arguments.split())
