import argparse
import csv
import dataclasses
import logging
import warnings

import numpy as np
import pandas as pd
import pytest
import safety
import safety_arms
from safety_arms import FIXED, FixedModel, Heard, Rates, figures, make_model, suggested
from safety_cells import ALL, Cell
from safety_data import cell_data, load_pool
from safety_report import CROSS_ENTROPY, read_rows

from sop_keras import SOPModel
from sop_keras.methods import SOP

CLEAN = Cell(("sgd", 0.02), ("none", 0.0), 2, ALL, 200, 2, 1, "linear")
NOISY = dataclasses.replace(CLEAN, noise=("symmetric", 0.4))
ARMS = [CROSS_ENTROPY, "slow"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def args(cache, tmp_path):
    return argparse.Namespace(
        file=tmp_path / "grid.csv",
        data_dir=None,
        cifar100_dir=None,
        cache=cache,
        arms=ARMS,
        seeds=[0],
        max_seconds=float("inf"),
    )


def test_what_is_done_is_not_trained_again(args, monkeypatch):
    safety.run(args, [CLEAN])
    first = args.file.read_bytes()
    row, slow = read_rows(args.file)
    assert (row["wrong"], row["auroc"], row["warnings"]) == (0, None, "")
    # Two visits from 1e-4: no row can have grown, and the library says so.
    assert slow["flagged_right"] == 0
    assert "u and v have hardly grown" in slow["warnings"]
    # A process that was killed in the middle of a line.
    args.file.write_bytes(first + f"{NOISY.name},0,cross_entropy,0.5".encode())
    monkeypatch.setattr(safety_arms, "figures", lambda *_: dict(row))
    safety.run(args, [CLEAN, NOISY])
    assert args.file.read_bytes().startswith(first)
    keys = [(row["cell"], row["seed"], row["arm"]) for row in read_rows(args.file)]
    assert keys == [(cell.name, 0, arm) for cell in (CLEAN, NOISY) for arm in ARMS]

    whole = args.file.read_bytes()
    safety.run(args, [CLEAN, NOISY])
    # Another seed, for which no time is left.
    args.seeds, args.max_seconds = [1], -1.0
    safety.run(args, [CLEAN])
    assert args.file.read_bytes() == whole


def test_fixed_arms_are_as_models_of_their_own(cache):
    data = cell_data(NOISY, 0, load_pool("digits", cache, {}))
    rates = Rates(30.0, 20.0, 1e-2)
    shared = FixedModel(NOISY, data, seed=0)
    figures(NOISY, shared.start_again(Rates(10, 10, 1e-8)), data, 0)
    model = shared.start_again(rates)

    backbone = make_model(NOISY, "slow", data, seed=0).backbone
    alone = SOPModel(backbone, 200, 2, init_std=rates.init_std, seed=0)
    first = np.array(alone.tables.u)
    np.testing.assert_array_equal(np.array(model.tables.u), first)
    alone.compile(
        safety_arms.make_optimizer(NOISY), u_optimizer=rates.u, v_optimizer=rates.v
    )
    of_both = [figures(NOISY, one, data, 0) for one in (model, alone)]
    # A model says each doubt once, and the shared one has been trained before.
    other = {"seconds": 0, "warnings": ""}
    assert of_both[0] | other == of_both[1] | other
    np.testing.assert_array_equal(np.array(model.tables.v), np.array(alone.tables.v))
    assert not np.array_equal(np.array(model.tables.u), first)


def test_settings():
    # 200 examples in one batch; Table A.1's 10 and 1e-8 whatever the cell.
    assert FIXED["paper"](CLEAN) == (10, 10, 1e-8)
    u, v, init_std = suggested(CLEAN)
    # growth 2.8125 = 2 alpha_u (K - 1) / B of K = 2; 18 alpha_v / B.
    assert (u, v, init_std) == (281, 31.2, 1e-2)
    assert FIXED["gentle"](CLEAN) == pytest.approx((28.1, 3.12, 1e-2))


class Judged:
    """A model that marks nothing, because it doubts itself, or has diverged."""

    method = SOP()

    def __init__(self, quality):
        self.quality = quality

    def label_issues(self, x, y, batch_size):
        if self.quality is None:
            raise ValueError("The network gives outputs that are NaN")
        return pd.DataFrame({"label_quality": self.quality, "is_label_issue": False})


def test_a_doubted_setting_is_not_harmless(cache):
    data = cell_data(NOISY, 0, load_pool("digits", cache, {}))
    _, is_issue = safety_arms._judged(Judged([0.2, 0.5, np.nan]), data, Heard())
    assert is_issue.tolist() == [True, False, False]


def test_a_training_that_diverged(cache):
    data = cell_data(NOISY, 0, load_pool("digits", cache, {}))
    heard = Heard()
    quality, is_issue = safety_arms._judged(Judged(None), data, heard)
    assert (np.isnan(quality).all(), is_issue.any()) == (True, False)
    assert heard.texts == ["The network gives outputs that are NaN"]


def test_warnings_are_heard():
    with Heard() as heard:
        logging.getLogger("sop_keras.any").warning("logged %d", 1)
        logging.getLogger("sop_keras.any").info("not heard")
        warnings.warn("given", UserWarning, stacklevel=1)
    logging.getLogger("sop_keras.any").warning("later")
    assert heard.texts == ["logged 1", "given"]


def test_lines_of_a_file(tmp_path):
    path = tmp_path / "grid.csv"
    row = dict.fromkeys(safety.COLUMNS, 0.123456)
    row |= {"cell": "a", "seed": 1, "arm": "auto", "warnings": 'two\nlines, "one" cell'}
    safety.append(path, row | {"auroc": None})
    (line,) = csv.DictReader(path.read_text().splitlines())
    assert line["warnings"] == 'two lines, "one" cell'
    assert (line["accuracy"], line["auroc"]) == ("0.12346", "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["grid.csv"]


def test_parts_are_the_whole(monkeypatch, tmp_path):
    cells = [dataclasses.replace(CLEAN, epochs=epochs) for epochs in range(5)]
    monkeypatch.setattr(safety, "covering_cells", lambda: cells)
    args = argparse.Namespace(cells="e[0-3]", close=False, file=tmp_path / "none.csv")
    parts = [
        safety.chosen_cells(argparse.Namespace(**vars(args), part=part))
        for part in ("0/2", "1/2")
    ]
    assert parts == [[cells[0], cells[2]], [cells[1], cells[3]]]
