"""The published tables as data: figures of all methods, flagfiles of those here.

Source: Liu, Zhu, Qu, You, "Robust Training under Label Noise by Over-parameterization",
ICML 2022, Tables 1 to 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import flagfiles

from sop_keras import methods

METHODS = {record.title: name for name, record in methods.records().items()}
"""The names of the methods that are here, by what the paper calls them."""


@dataclass(frozen=True)
class Figure:
    """A published figure.

    Args:
        text: as it is printed, such as `"93.18 +- 0.57"`.
        mean: accuracy in percent, or hours.
        std: standard deviation of 5 runs. Defaults to `None`: not published.
        note: what must be known to set another figure beside it. Defaults to `""`.
    """

    text: str
    mean: float
    std: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: a data set and its noise.

    Args:
        name: what the launcher calls it.
        title: what a reader calls it.
        flagfile: its experiment, without the ending.
        test: the test set, as a run's result names it. Defaults to `"test"`.
    """

    name: str
    title: str
    flagfile: str
    test: str = "test"


@dataclass(frozen=True)
class Row:
    """A method's row.

    Args:
        name: as in the paper.
        figures: one a column; None where the paper has none.
        method: the name of the method in this project. Defaults to `None`: it is not
            here.
    """

    name: str
    figures: tuple[Figure | None, ...]
    method: str | None = None


@dataclass(frozen=True)
class Cell:
    """A figure that this project can reproduce.

    Args:
        row: its method.
        column: its data set.
        published: what the paper has.
        flagfile: the experiment, without the ending.
        method: `--method` beside the flagfile; None where the flagfile says it.
    """

    row: Row
    column: Column
    published: Figure
    flagfile: str
    method: str | None = None

    @property
    def run(self) -> str:
        """A name for its experiment; figures of one run have it in common."""
        return "_".join(filter(None, (self.flagfile, self.method)))

    @property
    def arguments(self) -> list[str]:
        """The command line of its experiment."""
        method = [] if self.method is None else [f"--method={self.method}"]
        return [f"--flagfile={self.flagfile}.flags", *method]


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Args:
        number: its number.
        title: what it shows.
        columns: from left to right.
        rows: from top to bottom.
        unit: of the figures: `"%"` for test accuracy, or `"hours"`. Defaults to `"%"`.
    """

    number: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    unit: str = "%"

    @property
    def notes(self) -> list[str]:
        """What must be known of the figures, each note once."""
        figures = (figure for row in self.rows for figure in row.figures if figure)
        return list(dict.fromkeys(figure.note for figure in figures if figure.note))

    @property
    def cells(self) -> list[Cell]:
        """The figures that this project can reproduce, row by row."""
        return [
            self._cell(row, column, figure)
            for row in self.rows
            for column, figure in zip(self.columns, row.figures, strict=True)
            if row.method is not None and figure is not None
        ]

    def _cell(self, row: Row, column: Column, figure: Figure) -> Cell:
        if self.unit == "hours":  # one experiment, timed under every method
            return Cell(row, column, figure, column.flagfile, row.method)
        own = f"{column.flagfile}_{row.method}"
        if (flagfiles.FOLDER / f"{own}.flags").is_file():
            return Cell(row, column, figure, own)
        path = flagfiles.FOLDER / f"{column.flagfile}.flags"
        is_own = f"--method={row.method}" in flagfiles.read(path)
        return Cell(
            row, column, figure, column.flagfile, None if is_own else row.method
        )


def _row(name: str, figures: str, note: str = "") -> Row:
    """A row as it is printed: `mean` or `mean+-std` for each column, `-` for none."""
    method = METHODS.get(name)
    return Row(name, tuple(_figure(text, note) for text in figures.split()), method)


def _figure(text: str, note: str) -> Figure | None:
    if text == "-":
        return None
    mean, separator, std = text.partition("+-")
    printed = text.replace("+-", " +- ")
    return Figure(printed, float(mean), float(std) if separator else None, note)


def _columns(data: str, title: str, noises: dict[str, str]) -> tuple[Column, ...]:
    """Columns of one data set; each has a flagfile of its own name."""
    return tuple(
        Column(f"{data}_{noise}", f"{title} {words}", f"{data}_{noise}")
        for noise, words in noises.items()
    )


_SYMMETRIC = {f"sym{rate}": f"sym. {rate}%" for rate in (20, 40, 60, 80)}
_MIXED = {
    **{f"sym{rate}": f"sym. {rate}%" for rate in (20, 50, 80)},
    "asym40": "asym. 40%",
}

_BEST_EPOCH = (
    "The paper's figures of CE and CORES* on CIFAR-10N and CIFAR-100N are those of "
    "CIFAR-10N's authors: after the best of 100 epochs on the test set "
    "(UCSC-REAL/cifar-10-100n issues 5 and 8). CE's last epoch on worst is about 67 %."
)
_OWN_LABELS = (
    "ELR+'s published figures are of two networks that each had a split of its own, "
    "and where noise is drawn a draw of its own (shengliu66/ELR): of the one noisy set "
    "that both learn of here, they may be out of reach."
)

_TABLE_1 = Table(
    1,
    "Test accuracy on CIFAR-10 and CIFAR-100 with symmetric label noise, ResNet34",
    (
        *_columns("cifar10", "CIFAR-10", _SYMMETRIC),
        *_columns("cifar100", "CIFAR-100", _SYMMETRIC),
    ),
    (
        _row(
            "CE",
            "86.32+-0.18 82.65+-0.16 76.15+-0.32 59.28+-0.97 "
            "51.43+-0.58 45.23+-0.53 36.31+-0.39 20.23+-0.82",
        ),
        _row(
            "Forward",
            "87.99+-0.36 83.25+-0.38 74.96+-0.65 54.64+-0.44 "
            "39.19+-2.61 31.05+-1.44 19.12+-1.95 8.99+-0.58",
        ),
        _row(
            "GCE",
            "89.83+-0.20 87.13+-0.22 82.54+-0.23 64.07+-1.38 "
            "66.81+-0.42 61.77+-0.24 53.16+-0.78 29.16+-0.74",
        ),
        _row(
            "SL",
            "89.83+-0.32 87.13+-0.26 82.81+-0.61 68.12+-0.81 "
            "70.38+-0.13 62.27+-0.22 54.82+-0.57 25.91+-0.44",
        ),
        _row(
            "ELR",
            "91.16+-0.08 89.15+-0.17 86.12+-0.49 73.86+-0.61 "
            "74.21+-0.22 68.28+-0.31 59.28+-0.67 29.78+-0.56",
        ),
        _row(
            "SOP",
            "93.18+-0.57 90.09+-0.27 86.76+-0.22 68.32+-0.77 "
            "74.67+-0.30 70.12+-0.57 60.26+-0.41 30.20+-0.63",
        ),
    ),
)

_TABLE_2 = Table(
    2,
    "Test accuracy on CIFAR-10 and CIFAR-100 with symmetric and asymmetric label noise",
    (
        *_columns("cifar10_plus", "CIFAR-10", _MIXED),
        *_columns("cifar100_plus", "CIFAR-100", _MIXED),
    ),
    (
        _row("CE", "87.2 80.7 65.8 82.2  58.1 47.1 23.8 43.3"),
        _row("MixUp", "93.5 87.9 72.3 -  69.9 57.3 33.6 -"),
        _row("DivideMix", "96.1 94.6 93.2 93.4  77.1 74.6 60.2 72.1"),
        _row("ELR+", "95.8 94.8 93.3 93.0  77.7 73.8 60.8 77.5", _OWN_LABELS),
        _row("SOP+", "96.3 95.5 94.0 93.8  78.8 75.9 63.3 78.0"),
    ),
)

_TABLE_3 = Table(
    3,
    "Test accuracy on Clothing1M and mini WebVision",
    (
        Column("clothing1m", "Clothing1M", "clothing1m"),
        Column("webvision", "WebVision", "webvision"),
        Column("ilsvrc12", "ILSVRC12", "webvision", test="ilsvrc12"),
    ),
    (
        _row("CE", "69.1 - -"),
        _row("Forward", "69.8 61.1 57.3"),
        _row("Co-teaching", "69.2 63.6 61.5"),
        _row("ELR", "72.9 76.2 68.7"),
        _row("CORES2", "73.2 - -"),
        _row("SOP", "73.5 76.6 69.1"),
    ),
)

_TABLE_4 = Table(
    4,
    "Test accuracy on CIFAR-10N and CIFAR-100N",
    (
        *_columns(
            "cifar10n",
            "CIFAR-10N",
            {
                "clean": "clean",
                **{f"random{person}": f"random {person}" for person in (1, 2, 3)},
                "aggregate": "aggregate",
                "worst": "worst",
            },
        ),
        *_columns("cifar100n", "CIFAR-100N", {"clean": "clean", "noisy": "noisy"}),
    ),
    (
        _row("CE", "92.92 85.02 86.46 85.16 87.77 77.69  76.70 55.50", _BEST_EPOCH),
        _row(
            "ELR+",
            "95.39 94.43 94.20 94.34 94.83 91.09  78.57 66.72",
            _OWN_LABELS,
        ),
        _row(
            "CORES*",
            "94.16 94.45 94.88 94.74 95.25 91.66  73.87 55.72",
            _BEST_EPOCH,
        ),
        _row(
            "SOP+",
            "96.38+-0.31 95.28+-0.13 95.31+-0.10 95.39+-0.11 95.61+-0.13 93.24+-0.21 "
            "78.91+-0.43 67.81+-0.23",
        ),
    ),
)

_TABLE_5 = Table(
    5,
    "Hours of training on CIFAR-10 with 50% symmetric label noise",
    (Column("cifar10_plus_sym50", "CIFAR-10 sym. 50%", "cifar10_plus_sym50"),),
    (
        _row("CE", "0.9"),
        _row("Co-teaching+", "4.4"),
        _row("DivideMix", "5.4"),
        _row("ELR+", "2.3"),
        _row("SOP", "1.0"),
        _row("SOP+", "2.1"),
    ),
    unit="hours",
)

TABLES = {
    table.number: table for table in (_TABLE_1, _TABLE_2, _TABLE_3, _TABLE_4, _TABLE_5)
}
"""The paper's tables by number."""

FIGURE1 = "fig1_40_sop.flags"
"""The experiment behind Figure 1, at one of its noise rates."""

FIGURE1_METHODS = tuple(METHODS[title] for title in ("SOP", "CE"))
"""The methods that it shows."""

BASELINE = METHODS["CE"]
"""The method whose time the others' are compared with (Table 5)."""
