"""Which method for which data, and at what cost: methods x noises x seeds.

    python launch/compare.py                                   # digits, all methods
    python launch/compare.py --flagfile=plus_cpu.flags --data_dir=DATA \
        --methods=all --noises=symmetric:0.5,asymmetric:0.4 --seeds=0,1,2
    python launch/compare.py --dataset=cifar10n --noises=worst,random1 --data_dir=DATA
    python launch/compare.py --dataset=image_folder --data_dir=PHOTOS --noises=none \
        --backbone=resnet50 --pretrained=imagenet --num_validation=500

Trains every method under the same flagfile and flags, those of launch/train.py; a run,
in a folder of its own, for each noise and seed. After each run it writes compare.md and
compare.csv (mean and deviation of the last and the best epoch, seconds an epoch, those
of cross entropy being 1, how well wrong labels are found, and the paper's figure where
the settings are the paper's), epochs.csv, compare.png and curves.png.

--setting=sl:alpha=6,beta=0.1 gives a method a setting of its own, and may be repeated:
a row each in place of the flagfile's, which is --setting=sl: itself. Learning rates and
epochs are settings, too, and flagfile=NAME.flags is one. The data are the same for all.

Interrupted, the same command goes on; complete runs are read. A run that fails is told
of in the table, and the others go on. --join=FOLDER reads what is complete in the
folder of another comparison. Exit codes are those of launch/train.py.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cells
import command
import flagfiles
import train_flags
from absl import flags
from cells import Base, Cell, Noise, Setting
from printed_command import launch_command
from terminal import say
from train_cells import train_cells

from sop_keras import methods
from sop_keras.files.untrusted import read_text

ALL = "all"

# What is not said as launch/train.py has it.
INSTEAD = {
    "method": "methods",
    "seed": "seeds",
    "noise": "noises",
    "noise_rate": "noises",
    "label_set": "noises",
}
_OWN = ("methods", "noises", "seeds", "setting", "join", "output_dir")
_SWITCHES = ("equal_passes",)


def define_flags() -> flags.FlagValues:
    """New flags of this command: those of launch/train.py, and its own."""
    values = train_flags.define()
    known = methods.names()
    for name, default, text in (
        ("methods", [ALL], f"{ALL}, or some of {', '.join(known)}."),
        (
            "noises",
            [],
            "symmetric:0.5, asymmetric:0.4, none; label sets, such as worst or "
            "cifar10n:worst. The flagfile's if unset.",
        ),
        ("seeds", ["0"], "Runs of each method and noise."),
    ):
        flags.DEFINE_list(name, default, text, **command.own(values))
    flags.DEFINE_multi_string(
        "setting",
        [],
        "METHOD:FLAG=VALUE,FLAG=VALUE: a setting of one method; repeated for more.",
        **command.own(values),
    )
    flags.DEFINE_multi_string(
        "join",
        [],
        "The folder of another comparison, whose complete runs are read; repeated for "
        "more.",
        **command.own(values),
    )
    flags.DEFINE_bool(
        "equal_passes",
        False,
        "Methods that train two networks get half of the epochs; otherwise as many, at "
        "a cost that the table has.",
        **command.own(values),
    )
    for name, are_right, expected in (
        (
            "methods",
            lambda given: given == [ALL] or _are_different(given, known),
            f"must be {ALL}, or different ones of: {', '.join(known)}",
        ),
        (
            "seeds",
            lambda given: (
                all(one.isdecimal() and int(one) < 2**32 for one in given)
                and bool(given)
                and len(set(map(int, given))) == len(given)
            ),
            "must be different integers, at least 0 and below 2**32, like 0,1,2",
        ),
        (
            "strategy",
            lambda given: given != "multi_worker",
            "a comparison runs on one machine; --join its folders",
        ),
    ):
        flags.register_validator(name, are_right, expected, values)
    return values


def _are_different(given: Sequence[str], known: Sequence[str]) -> bool:
    return bool(given) and set(given) <= set(known) and len(set(given)) == len(given)


def compare(line: command.CommandLine) -> bool:
    """Train what is missing and write the comparison; whether nothing failed."""
    planned, others = plan(line)
    used = [cell.setting.method for cell in planned]
    train_flags.say_what_is_not_used(line.words, used)
    for other in others:
        say(f"{other} is none of these runs: not joined.")
    folder = folder_of(line)
    texts = notes(line, planned)

    def write(errors: Mapping[str, str]) -> None:
        _write(folder, planned, errors, texts)

    errors = train_cells(planned, write)
    say("", read_text(folder / "compare.md"), sep="\n")
    say(*sorted(path for path in folder.iterdir() if path.is_file()), sep="\n")
    return not errors


def plan(line: command.CommandLine) -> tuple[list[Cell], list[str]]:
    """All cells, seed by seed, and the runs of joined folders that are none.

    Raises:
        ValueError: for flags that say one thing in two ways, settings that cannot be,
            or a folder of other settings or data.
    """
    for name in flagfiles.given(line.words, INSTEAD):
        raise ValueError(
            f"--{name} is not for a comparison. Give --{INSTEAD[name]}, one or several "
            "with commas between them."
        )
    values = line.flags
    base = Base(words_of(line), folder_of(line), values.equal_passes)
    chosen = methods.names() if values.methods == [ALL] else tuple(values.methods)
    chosen_settings = settings_of(chosen, values.setting)
    noises = [cells.read_noise(text) for text in values.noises]
    if not noises:
        noises = [cells.noise_of(base.experiment((), methods.DEFAULT))]
    _check_different([one.name for one in noises], "--noises")
    _check_different([one.name for one in chosen_settings], "--setting")
    planned = _cells(base, chosen_settings, noises, list(map(int, values.seeds)))
    cells.check_common_data(planned)
    return cells.joined(planned, list(map(Path, values.join)))


def _cells(
    base: Base,
    chosen_settings: Sequence[Setting],
    noises: Sequence[Noise],
    seeds: list[int],
) -> list[Cell]:
    return [
        base.cell(setting, noise, seed)
        for seed in seeds
        for noise in noises
        for setting in chosen_settings
    ]


def _check_different(names: Sequence[str], flag: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{flag} has {name} twice.")


def settings_of(chosen: Sequence[str], settings: Sequence[str]) -> list[Setting]:
    """The settings of each method, in the order of the methods.

    Args:
        chosen: the methods.
        settings: as `--setting` has them.

    Raises:
        ValueError: for a setting that cannot be, or is of a method that is not chosen.
    """
    own: dict[str, list[Setting]] = {method: [] for method in chosen}
    for text in settings:
        setting = cells.read_setting(text)
        if setting.method not in own:
            raise ValueError(
                f"--setting={text} is of a method that is not among --methods="
                f"{','.join(chosen)}."
            )
        own[setting.method].append(setting)
    return [one for method in chosen for one in own[method] or [Setting(method)]]


def words_of(line: command.CommandLine) -> tuple[str, ...]:
    """The flags of launch/train.py that all runs have in common."""
    words = [one for one in line.words if not _is_switch(one)]
    words = flagfiles.without(words, _OWN)
    has_flagfile = any(flagfiles.names_of(word) & {"flagfile"} for word in words)
    if line.flagfile is not None and not has_flagfile:
        words.insert(0, f"--flagfile={line.flagfile}.flags")
    return tuple(words)


def _is_switch(word: str) -> bool:
    return word.startswith("-") and bool(flagfiles.names_of(word) & {*_SWITCHES})


def folder_of(line: command.CommandLine) -> Path:
    """Where the comparison goes."""
    name = line.flagfile or line.flags.dataset
    return Path(line.flags.output_dir or f"runs/{name}-compare")


def notes(line: command.CommandLine, planned: Sequence[Cell]) -> list[str]:
    """What must be known to read the table."""
    one = planned[0].run.experiment
    size = f", {one.max_train_examples:,} training examples" * bool(
        one.max_train_examples
    )
    lines = [
        f"{one.dataset}{size}, {_trained(planned)}; mean +- standard "
        "deviation over runs. Nobody can pick the best epoch without clean labels."
    ]
    titles = [
        cell.setting.title
        for cell in planned
        if cells.num_networks(cell.setting.method) > 1
    ]
    if titles:
        have = "half of the epochs" if line.flags.equal_passes else "as many epochs"
        lines.append(f"Two networks, {have}: {', '.join(dict.fromkeys(titles))}.")
    return lines


def _trained(planned: Sequence[Cell]) -> str:
    """What is trained for how long, and of which rows where they differ in it."""
    titles: dict[str, dict[str, None]] = {}
    for cell in planned:
        one = cell.run.experiment
        of_these = titles.setdefault(f"{one.backbone}, {one.epochs} epochs", {})
        of_these[cell.setting.title] = None
    if len(titles) == 1:
        return next(iter(titles))
    return "; ".join(f"{one}: {', '.join(some)}" for one, some in titles.items())


def _write(
    folder: Path,
    planned: Sequence[Cell],
    errors: Mapping[str, str],
    texts: Sequence[str],
) -> None:
    import compare_pictures
    import compare_table

    from sop_keras.files.atomic import write_atomically

    folder.mkdir(parents=True, exist_ok=True)
    rows = compare_table.rows_of(planned, errors)
    title = f"{folder.name}: which method, at what cost"
    shown = f"    {launch_command('compare.py', sys.argv[1:])}"
    write_atomically(
        folder / "compare.md",
        compare_table.markdown(rows, title, [*texts, shown]),
    )
    write_atomically(folder / "compare.csv", compare_table.csv_text(rows))
    write_atomically(folder / "epochs.csv", compare_table.epochs_text(planned))
    compare_pictures.draw_bars(rows, title, texts, folder / "compare.png")
    if any(row.seeds for row in rows):
        split = compare_table.split_of(rows)
        compare_pictures.draw_curves(planned, title, split, folder / "curves.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare what the command line asks for; 0, or 1 where something of it failed."""
    succeeded = True

    def run(line: command.CommandLine) -> None:
        nonlocal succeeded
        succeeded = compare(line)

    command.run(run, define_flags(), __doc__, arguments, flagfiles.DEFAULT)
    return int(not succeeded)


if __name__ == "__main__":
    sys.exit(main())
