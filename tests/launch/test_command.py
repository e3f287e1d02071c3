"""What commands say of a command line that they cannot take."""

import re

import command
import pytest
import report
import reproduce
import tensorflow as tf
import train
import train_flags
from absl import flags


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--weight_decay=1e-4", "'weight_decay'.*: L2 weight decay is --l2$"),
        ("--learning_rate=1", "'learning_rate'.*: the learning rate is --lr$"),
        ("--epoch=1", "'epoch'. Did you mean: epochs"),
        ("--method=jocor", "^flag --method=jocor: must be different ones of"),
        ("--method=sop,none", "^flag --method=sop,none: must be different ones of"),
        ("--final_lr=0.01", r"final_lr=0\.01: --final_lr is for --schedule=cosine"),
    ],
)
def test_flags_that_are_wrong(argument, text):
    with pytest.raises(flags.Error, match=text):
        command.parse(train_flags.define(), [argument], "digits")


def test_another_name_is_said_only_where_its_flag_is_there():
    with pytest.raises(flags.Error) as caught:
        command.parse(report.define_flags(), ["--weight_decay=1"])
    assert "--l2" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "arguments", "text"),
    [
        (
            train,
            ["foo"],
            "arguments that are no flags: foo. Flags are --flag=value, lists without "
            "blanks after commas.",
        ),
        (
            report,
            [],
            "Say what it is about: report.py RUN, RUN being the folder of a run, as "
            "its training printed it: runs/digits-seed0/sop.",
        ),
    ],
)
def test_arguments_that_are_wrong(module, arguments, text, in_process):
    failed = in_process(module, *arguments)
    assert (failed.returncode, failed.stderr) == (1, f"error: {text}\n")


@pytest.mark.parametrize("more", [["--traceback"], ["--notraceback", "--traceback"]])
def test_tables_are_planned_with_tracebacks(more, monkeypatch):
    monkeypatch.setattr(command, "show_messages", lambda: None)
    words = ["--table=1", "--seed=3", "--dry_run", *more]
    with pytest.raises(ValueError, match="choose by --seeds"):
        reproduce.main(words)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ([], "choose by --seeds"),
        (["--traceback=false"], "choose by --seeds"),
        (["--traceback=maybe"], "flag --traceback=maybe"),
    ],
)
def test_errors_of_a_plan_are_one_line_otherwise(more, text, monkeypatch, capsys):
    monkeypatch.setattr(command, "show_messages", lambda: None)
    assert reproduce.main(["--table=1", "--seed=3", "--dry_run", *more]) == 1
    assert re.fullmatch(rf"error: .*{text}.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "There is not enough memory."),
        (MemoryError("There is not enough memory for a.jpg."), "for a.jpg."),
        (
            tf.errors.ResourceExhaustedError(
                None, None, "Graph execution error:\n\nDetected at ...\nOOM when a\nb"
            ),
            "says: OOM when a",
        ),
        (
            tf.errors.ResourceExhaustedError(
                None, None, "MemoryError: Unable to allocate 5 bytes\nTraceback ...\n"
            ),
            "says: MemoryError: Unable to allocate 5 bytes",
        ),
    ],
)
def test_a_shortage_of_memory_is_one_line(error, text, capsys):
    def fail():
        raise error

    values = report.define_flags()
    command.parse(values, [])
    assert command.exit_code(fail, values) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: There is not enough memory")
    assert said.endswith(f"{text}\n")
    assert said.count("\n") == 1
