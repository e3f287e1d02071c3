"""Cells of a comparison: a method in one setting, a noise and a seed; a run each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import flags_of
import train_flags
from planned_run import PlannedRun

from sop_keras import methods
from sop_keras.data.datasets.by_name import DATASETS
from sop_keras.settings import flag_of
from sop_keras.training.experiment import NOISES, Experiment
from sop_keras.training.run_folder import read_json

# What of data.json says nothing of which examples and labels there are.
_WHERE = "files"


@dataclass(frozen=True)
class Noise:
    """Wrong labels to compare under.

    Args:
        name: in folders' names.
        title: as readers know it.
        words: the flags of launch/train.py that ask for it.
    """

    name: str
    title: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """A method in one of its settings.

    Args:
        method: its name.
        texts: what differs from the flagfile, such as `"alpha=6"`; flags without
            their dashes. Defaults to nothing.
        words: the flags of launch/train.py that ask for it beside the method. Defaults
            to `None`: those of `texts`.
    """

    method: str
    texts: tuple[str, ...] = ()
    words: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """In folders' names."""
        own = (text.removeprefix("flagfile=") for text in self.texts)
        parts = [self.method, *(Path(text).name for text in own)]
        return re.sub(r"[^\w.=+-]", "_", "-".join(parts)).replace(".flags", "")

    @property
    def title(self) -> str:
        """As readers know it."""
        title = methods.record(self.method).title
        return f"{title} ({', '.join(self.texts)})" if self.texts else title

    @property
    def flags(self) -> list[str]:
        """The flags of launch/train.py that ask for it."""
        own = self.words
        if own is None:
            own = tuple(f"--{text}" for text in self.texts)
        return [*own, f"--method={self.method}"]


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Args:
        setting: the method and its setting.
        noise: the wrong labels.
        seed: of the run.
        run: its settings, and the folder that may hold it.
        words: the flags of launch/train.py that stand for it.
        is_joined: whether it is of another comparison, maybe on another machine.
            Defaults to `False`.
    """

    setting: Setting
    noise: Noise
    seed: int
    run: PlannedRun
    words: tuple[str, ...]
    is_joined: bool = False

    @property
    def name(self) -> str:
        """What its folder is called."""
        return name_of(self.setting, self.noise, self.seed)

    @property
    def title(self) -> str:
        """As readers know it."""
        return f"{self.setting.title}, {self.noise.title}, seed {self.seed}"


def name_of(setting: Setting, noise: Noise, seed: int) -> str:
    """The name of a cell's folder."""
    return f"{noise.name}-{setting.name}-seed{seed}"


def read_noise(text: str) -> Noise:
    """A noise as a command line has it.

    Args:
        text: `symmetric:0.5`, `asymmetric:0.4` or `none`; a label set of the data set,
            such as `worst`; or one of another, `cifar10n:worst`.

    Raises:
        ValueError: for anything else.
    """
    kind, _, detail = text.partition(":")
    if kind in NOISES and kind != "none":
        try:
            rate = float(detail)
        except ValueError:
            rate = -1.0
        if 0 <= rate <= 1:
            title = f"{kind} {100 * rate:g}%"
            words = (f"--noise={kind}", f"--noise_rate={rate:g}")
            return Noise(f"{kind}{100 * rate:g}", title, words)
    elif kind == "none" and not detail:
        return Noise("none", "no noise drawn", ("--noise=none",))
    elif kind in DATASETS and re.fullmatch(r"\w+", detail):
        words = (f"--dataset={kind}", "--noise=none", f"--label_set={detail}")
        return Noise(f"{kind}-{detail}", f"{kind} {detail}", words)
    elif re.fullmatch(r"\w+", text):
        return Noise(text, f"labels {text}", ("--noise=none", f"--label_set={text}"))
    raise ValueError(
        "A noise is symmetric:RATE or asymmetric:RATE, RATE from 0 to 1, none, a label "
        "set of the data set, such as worst, or DATASET:LABEL_SET, such as "
        f"cifar10n:worst. Received: {text!r}."
    )


def noise_of(experiment: Experiment) -> Noise:
    """The noise that an experiment has of itself."""
    if experiment.noise == "none":
        if experiment.label_set is None:
            return Noise("none", "no noise drawn")
        return Noise(experiment.label_set, f"labels {experiment.label_set}")
    percent = f"{100 * experiment.noise_rate:g}"
    return Noise(f"{experiment.noise}{percent}", f"{experiment.noise} {percent}%")


def read_setting(text: str) -> Setting:
    """A method's setting as a command line has it.

    Args:
        text: `METHOD:FLAG=VALUE,FLAG=VALUE`; nothing after the colon for what the
            flagfile says.

    Raises:
        ValueError: for a text of another form, an unknown method, or a flag that says
            what all methods must have in common.
    """
    method, colon, rest = text.partition(":")
    given: list[str] = []
    for part in rest.split(",") if rest else []:
        if "=" in part:
            given.append(part)
        elif given:  # the value is a list, such as decay_epochs=40,80
            given[-1] += f",{part}"
        else:
            colon = ""
    if not colon:
        raise ValueError(
            "A setting is METHOD:FLAG=VALUE,FLAG=VALUE, or METHOD: for what the "
            f"flagfile says. Received: {text!r}."
        )
    known = methods.record(method).settings
    own = [one for one in flags_of.fields_of(Experiment) if one.name != "seed"]
    own = [one for one in own if not one.metadata["of_data"]]
    allowed = {flag_of(one) for one in (*own, *flags_of.fields_of(known))}
    for one in given:
        name = one.partition("=")[0]
        if name not in {*allowed, "flagfile"}:
            raise ValueError(
                f"{name} is no setting of {method} or its training: --setting={text}. "
                "The data, noises and seeds are the same for all methods."
            )
    return Setting(method, tuple(given))


@dataclass(frozen=True)
class Base:
    """What all cells have in common.

    Args:
        words: flags of launch/train.py.
        folder: where the runs' folders go.
        equal_passes: whether methods that train several networks get as many epochs
            less. Defaults to `False`.
    """

    words: tuple[str, ...]
    folder: Path
    equal_passes: bool = False

    def experiment(self, words: Sequence[str], method: str) -> Experiment:
        """The settings that flags beside these ask for."""
        values = train_flags.parsed([*self.words, *words])
        return train_flags.experiment(values, method)

    def cell(self, setting: Setting, noise: Noise, seed: int) -> Cell:
        """A cell, whose folder is looked at.

        Raises:
            ValueError: for settings that cannot be, or that say other data than those
                of the noise; for a folder of other settings.
        """
        words = [*setting.flags, *noise.words, f"--seed={seed}"]
        expected = self.experiment([*noise.words, f"--seed={seed}"], setting.method)
        found = self.experiment(words, setting.method)
        _check_same_data(setting, expected, found)
        if self.equal_passes:
            words += fewer_epochs(found, num_networks(setting.method))
        folder = self.folder / name_of(setting, noise, seed)
        words = [*self.words, *words, f"--output_dir={folder}"]
        values = train_flags.parsed(words)
        run = PlannedRun(
            train_flags.experiment(values, setting.method),
            folder,
            train_flags.files(values),
            train_flags.execution(values),
        )
        return Cell(setting, noise, seed, run, tuple(words))


def _check_same_data(setting: Setting, expected: Experiment, found: Experiment) -> None:
    """Check that a method's own flagfile changes nothing of what is compared on."""
    wrong = [
        flags_of.written(field, getattr(found, field.name))
        for field in flags_of.fields_of(Experiment)
        if field.metadata["of_data"]
        and getattr(found, field.name) != getattr(expected, field.name)
    ]
    if wrong:
        raise ValueError(
            f"{setting.title} would be trained on other data ({' '.join(wrong)}). Say "
            "it for all methods, beside the flagfile."
        )


def num_networks(method: str) -> int:
    """How many networks a method trains; Keras is imported."""
    return methods.record(method).load().num_networks


def fewer_epochs(experiment: Experiment, networks: int) -> list[str]:
    """Flags for a schedule that is so many times as short, and nothing for one."""
    if networks == 1:
        return []
    words = [f"--epochs={max(1, experiment.epochs // networks)}"]
    if experiment.decay_epochs:
        at = sorted({max(1, one // networks) for one in experiment.decay_epochs})
        words.append(f"--decay_epochs={','.join(map(str, at))}")
    if experiment.warmup_epochs:
        warmup = experiment.warmup_epochs // networks
        words.append(f"--warmup_epochs={warmup}")
        if not warmup:
            words.append("--warmup_lr=0")
    kind, _, length = experiment.weight_average.partition(":")
    if kind == "last":
        words.append(f"--weight_average=last:{max(1, int(length) // networks)}")
    return words


def joined(
    cells: Sequence[Cell], folders: Sequence[Path]
) -> tuple[list[Cell], list[str]]:
    """Cells, those that are not complete replaced by complete ones of other folders.

    Args:
        cells: as they are planned.
        folders: of other comparisons.

    Returns:
        The cells, and the names of the runs in those folders that are none of them.

    Raises:
        FileNotFoundError: for a folder that is not there.
        RunFolderError: for a run of a cell's name whose settings are others.
        ValueError: for one on other data.
    """
    found = list(cells)
    names = {cell.name for cell in cells}
    others = []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {folder} to join.")
        there = {path.parent.name for path in folder.glob("*/config.json")}
        others += [str(folder / name) for name in sorted(there - names)]
        for place, cell in enumerate(found):
            if cell.name not in there:
                continue
            run = PlannedRun(
                cell.run.experiment,
                folder / cell.name,
                cell.run.files,
                cell.run.execution,
            )
            if cell.run.result is None and run.result is not None:
                found[place] = replace(cell, run=run, is_joined=True)
    check_common_data(found)
    return found, others


def check_common_data(cells: Sequence[Cell]) -> None:
    """Check that cells of one noise and seed were trained on the same examples.

    Raises:
        ValueError: if two were not; the text names them.
    """
    first: dict[tuple[str, int], tuple[Path, dict[str, object]]] = {}
    for cell in cells:
        there = read_json(cell.run.folder / "data.json")
        if there is None:
            continue
        there.pop(_WHERE, None)
        folder, known = first.setdefault(
            (cell.noise.name, cell.seed), (cell.run.folder, there)
        )
        if wrong := [name for name in known if known[name] != there.get(name)]:
            raise ValueError(
                f"{cell.run.folder} holds a run on other data than {folder} "
                f"({', '.join(wrong)} differ): they cannot be compared."
            )
