"""What all commands have in common: parsing, help, one-line errors, exit codes.

No command imports TensorFlow, which takes seconds, before it knows that its flags,
flagfiles and folders are right: the modules that need it are imported in the functions.
"""

from __future__ import annotations

import environment  # isort: skip  # noqa: F401

import faulthandler
import logging
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import flagfiles
from absl import flags
from installed import check_installed
from printed_command import as_started
from terminal import ShownFormatter, say

from sop_keras.training.preemption import Preempted

# EX_TEMPFAIL of sysexits.h, which job managers can be told to start again on.
CONTINUE = 75
# EX_CONFIG: of several machines, the others end with 75 when one has an error; its own
# is told from that by a code above it.
ERROR_OF_ONE_MACHINE = 78

OWN = "This command"
"""The heading, in the help, of flags that stand for no field of settings."""

ARGUMENTS = {
    "RUN": "RUN being the folder of a run, as its training printed it: "
    "runs/digits-seed0/sop",
}
"""What arguments that are no flags are."""

# By other names of flags: the flag, and what it is.
_INSTEAD = {
    "weight_decay": ("l2", "L2 weight decay"),
    "learning_rate": ("lr", "the learning rate"),
}

_HELP = ("help", "helpshort", "helpfull")


@dataclass(frozen=True)
class CommandLine:
    """What a user asked for.

    Args:
        flags: the values of the flags.
        flagfile: the name of the last flagfile, without its ending; None without one.
        arguments: those that are no flags.
        words: all of it, as it came.
    """

    flags: flags.FlagValues
    flagfile: str | None = None
    arguments: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def new_flags() -> flags.FlagValues:
    """Flags that every command has; a command adds its own."""
    values = flags.FlagValues()
    flags.DEFINE_bool(
        "traceback", False, "Show Python's traceback with an error.", **own(values)
    )
    for name in _HELP:
        flags.DEFINE_bool(name, False, "Show this.", **own(values))
    return values


def own(values: flags.FlagValues, heading: str = OWN) -> dict[str, Any]:
    """What a flag is defined with to be one of these, under a heading in the help."""
    return {"flag_values": values, "module_name": heading}


def parse(
    values: flags.FlagValues,
    arguments: Sequence[str],
    default_flagfile: str | None = None,
    ignored: Collection[str] = (),
    num_arguments: int = 0,
) -> CommandLine:
    """Parse a command line.

    Args:
        values: the command's flags; gets what the line says.
        arguments: without the program's name.
        default_flagfile: the flagfile where none is given. Defaults to `None`: none.
        ignored: flags that flagfiles may have for other commands. Defaults to none.
        num_arguments: how many arguments are no flags, at most. Defaults to `0`.

    Raises:
        ValueError: for a flagfile that is not there, or arguments that are too many.
        flags.Error: for unknown flags, and values that they do not take.
    """
    others = [name for name in ignored if name not in values]
    words, name = flagfiles.resolve(arguments, default_flagfile, others)
    values.set_gnu_getopt(True)  # flags may come after other arguments
    rest = _rest(values, words)
    if any(values[one].value for one in _HELP):
        return CommandLine(values)
    if extra := rest[num_arguments:]:
        raise ValueError(
            f"arguments that are no flags: {' '.join(extra)}. Flags are --flag=value, "
            "lists without blanks after commas."
        )
    return CommandLine(values, name, tuple(rest), tuple(arguments))


def _rest(values: flags.FlagValues, words: Sequence[str]) -> list[str]:
    """Parse words; those that are no flags."""
    try:
        return list(values(["", *words])[1:])
    except flags.UnrecognizedFlagError as error:
        mend = _INSTEAD.get(error.flagname)
        if mend is None or mend[0] not in values:
            raise
        raise flags.Error(f"{error}: {mend[1]} is --{mend[0]}") from None
    except flags.IllegalFlagValueError as error:
        text = str(error)
        for name, flag in values.flag_values_dict().items():
            if isinstance(flag, (list, tuple)):  # as it is written, not as Python does
                written = ",".join(map(str, flag))
                text = text.replace(f"{name}={flag}", f"{name}={written}")
        raise flags.IllegalFlagValueError(text) from None


def run(
    command: Callable[[CommandLine], None],
    values: flags.FlagValues,
    text: str | None,
    arguments: Sequence[str] | None = None,
    default_flagfile: str | None = None,
    ignored: Collection[str] = (),
    argument: str | None = None,
    argument_is_optional: bool = False,
    needs_launch: bool = True,
    messages: TextIO | None = None,
) -> None:
    """Parse the command line and run the command; ends the process if that fails.

    Args:
        command: what to do.
        values: its flags.
        text: what its help says above the flags.
        arguments: without the program's name. Defaults to `None`: the process' own.
        default_flagfile: the flagfile where none is given. Defaults to `None`: none.
        ignored: flags that flagfiles may have for other commands. Defaults to none.
        argument: what the one argument that is no flag is called, of `ARGUMENTS`
            unless it is optional. Defaults to `None`: there is none.
        argument_is_optional: whether the command does without it. Defaults to `False`.
        needs_launch: whether it needs the packages of the extra `launch`. Defaults to
            `True`.
        messages: where the library's messages go. Defaults to `None`: to stdout.
    """
    if not faulthandler.is_enabled():
        faulthandler.enable()
    show_messages(messages)
    words = sys.argv[1:] if arguments is None else arguments

    def parse_and_run() -> None:
        line = parse(values, words, default_flagfile, ignored, argument is not None)
        if any(values[name].value for name in _HELP):
            shown = f"{text}\nflags:\n{values.get_help(include_special_flags=False)}"
            say(as_started(shown))
            return
        if argument is not None and not (line.arguments or argument_is_optional):
            program = sys.argv[0].rpartition("/")[2]
            raise ValueError(
                f"Say what it is about: {program} {argument}, {ARGUMENTS[argument]}."
            )
        if needs_launch:
            check_installed()
        command(line)

    if code := exit_code(parse_and_run, values):
        sys.exit(code)


def exit_code(function: Callable[[], Any], values: flags.FlagValues) -> int:
    """Call a function; what goes wrong is shown as one line, on stderr.

    Args:
        function: to be called.
        values: the flags that say how errors are shown, which need not be parsed.

    Returns:
        0; `CONTINUE` after a SIGTERM, or the loss of another machine; 1 for an error,
        `ERROR_OF_ONE_MACHINE` for one on one of several machines.

    Raises:
        Exception: errors that no user can mend, and all with `--traceback`.
    """
    try:
        function()
    except Preempted as stopped:
        say(stopped, to=sys.stderr)
        return CONTINUE
    except flags.Error as error:
        text = str(error).rstrip(".")
        say(f"error: {text}. --help shows all flags.", to=sys.stderr)
        return 1
    except Exception as error:
        is_parsed = values.is_parsed()
        shows_traceback = is_parsed and values.traceback
        is_one_of_several = is_parsed and _is_one_of_several(values)
        if is_one_of_several and (reason := lost_machine(error)) is not None:
            if shows_traceback:
                traceback.print_exc()
            say(
                "A machine was lost: start the same command on all machines again; "
                f"it goes on from the last checkpoint. TensorFlow says: {reason}",
                to=sys.stderr,
            )
            return CONTINUE
        if (said := short_of_memory(error)) is not None:
            is_plain = True
        else:
            said = str(error)
            is_plain = isinstance(error, (ValueError, OSError, ImportError))
        text = f"error: {said}" if is_plain and not shows_traceback else None
        if is_one_of_several:
            say(text or traceback.format_exc(), to=sys.stderr)
            return ERROR_OF_ONE_MACHINE
        if text is None:
            raise
        say(text, to=sys.stderr)
        return 1
    return 0


def short_of_memory(error: Exception) -> str | None:
    """What to say where memory was short, the host's or a device's; None if it was not.

    TensorFlow tells of a shortage in many lines, the first of which says how much.
    """
    if isinstance(error, MemoryError):
        return str(error) or "There is not enough memory."
    tf = sys.modules.get("tensorflow")  # or the error is none of its
    if tf is None or not isinstance(error, tf.errors.ResourceExhaustedError):
        return None
    lines = [line.strip() for line in error.message.splitlines()]
    found = [line for line in lines if re.match("MemoryError|OOM|Out of memory", line)]
    reason = textwrap.shorten((found or lines)[0], 300, placeholder=" ...")
    return (
        "There is not enough memory: a smaller --batch_size takes less. TensorFlow "
        f"says: {reason}"
    )


def _is_one_of_several(values: flags.FlagValues) -> bool:
    return "strategy" in values and values.strategy == "multi_worker"


def lost_machine(error: Exception) -> str | None:
    """What TensorFlow says of a machine that was lost; None if none was."""
    tf = sys.modules.get("tensorflow")  # or the error is none of its
    if tf is None or not isinstance(error, tf.errors.OpError):
        return None
    # The text before it is a traceback.
    found = re.search(r"(?s)Collective ops is aborted by: (.+)|NCCL: .+", error.message)
    lost = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.DeadlineExceededError,
    )
    if found is None and not isinstance(error, lost):
        return None
    reason = (found[1] or found[0]) if found else error.message
    return textwrap.shorten(reason, 200, placeholder=" ...")


def show_messages(stream: TextIO | None = None) -> None:
    """Show the messages of this library, plainly, and no others.

    Args:
        stream: where. Defaults to `None`: on stdout.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(ShownFormatter("%(message)s"))
    logger = logging.getLogger("sop_keras")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # TensorFlow's, by its name. Under a strategy it tells of every exchange between
    # devices.
    of_tensorflow = logging.getLogger("tensorflow")
    of_tensorflow.setLevel(logging.WARNING)
    # It counts the traces of all methods' networks as those of one function.
    of_tensorflow.addFilter(
        lambda record: "triggered tf.function retracing" not in record.getMessage()
    )
