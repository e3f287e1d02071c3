import csv

import numpy as np
import pytest
from audit_rankings import FAMILIES, Dynamics, Features, knn
from audit_report import COLUMNS, markdown, read_rows, reliability_text

from benchmarks import audit


def test_dynamics_by_hand():
    # Odds 3 : 1 for class 0, and then 1 : 3, of two examples labelled 0 and 1.
    told = Dynamics(np.zeros((2, 1)), np.array([0, 1]))
    told.look(np.log([[3.0, 1], [3, 1]]))
    told.look(np.log([[1.0, 3], [1, 3]]))
    found = told.qualities()
    np.testing.assert_allclose(found["loss"], np.log([1 / 4, 3 / 4]))
    np.testing.assert_allclose(found["mean_probability"], [1, 1])
    np.testing.assert_allclose(found["aum"], [0, 0], atol=1e-12)
    np.testing.assert_allclose(found["signed_entropy"], [0, 0], atol=1e-12)
    # A third look at odds of 3 : 1: its entropy is log 4 - 3/4 log 3, and the first
    # label is predicted.
    told.look(np.log([[3.0, 1], [3, 1]]))
    found, entropy = told.qualities(), np.log(4) - 0.75 * np.log(3)
    np.testing.assert_allclose(found["mean_probability"], [1.75, 1.25])
    np.testing.assert_allclose(found["aum"], [np.log(3), -np.log(3)])
    np.testing.assert_allclose(found["signed_entropy"], [entropy, -entropy])


def test_the_margin_is_to_the_largest_other():
    told = Dynamics(np.zeros((1, 1)), np.array([1]))
    told.look(np.array([[2.0, 7, 3]]))
    assert told.qualities()["aum"].tolist() == [4]


def test_neighbours_are_by_angle_and_others():
    # Two directions, 51 examples each, of any length: an example's 50 neighbours are
    # all others of its direction, of which 10 have another label than most.
    lengths = np.linspace(1, 9, 51)[:, None]
    values = np.concatenate([lengths * [1, 0], lengths * [0, 1]]).astype(np.float32)
    labels = np.repeat([0, 1], 51)
    labels[:10] = 1
    quality = knn(Features(values), labels, 0)["knn"].quality
    np.testing.assert_allclose(quality[:10], 9 / 50)
    np.testing.assert_allclose(quality[10:51], 40 / 50)
    np.testing.assert_allclose(quality[51:], 1)


def test_no_two_families_have_a_method_of_one_name():
    names = [name for names in FAMILIES.values() for name in names]
    assert len(set(names)) == len(names)


def test_reliability_in_bins():
    quality = np.array([0.01, 0.03, 0.55, 1.0, 0.9])
    is_right = np.array([False, True, True, True, False])
    assert reliability_text(quality, is_right) == (
        "2:0.020:0.500 1:0.550:1.000 2:0.950:0.500"
    )


def row(method, auroc, setting="worst", seed=0, **others):
    return {
        **dict.fromkeys(COLUMNS, ""),
        "setting": setting,
        "seed": seed,
        "method": method,
        "auroc": auroc,
        "average_precision": 0.5,
        "precision_at_k": 0.25,
        "seconds": 10,
        **others,
    }


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "out.csv"
    own = {
        "num_wrong": 20_104,
        "estimated": 19_000.4,
        "least": 18_000.0,
        "most": 20_500.0,
        "reliability": "40:0.020:0.100 60:0.990:0.950",
    }
    audit.append(path, row("audit", 0.95, **own))
    audit.append(path, row("audit", 0.97, seed=1, **own))
    audit.append(path, row("knn", 0.947))  # 0.003 less than the audit of its seed
    audit.append(path, row("loss", 0.9449))
    return path


def test_what_is_written_is_read(file):
    rows = read_rows(file)
    assert [(one["method"], one["seed"], one["auroc"]) for one in rows] == [
        ("audit", 0, 0.95),
        ("audit", 1, 0.97),
        ("knn", 0, 0.947),
        ("loss", 0, 0.9449),
    ]
    assert rows[0]["estimated"] == 19_000.4
    assert rows[2]["estimated"] is None
    with file.open("a") as half:
        half.write("worst,0,au")
    assert read_rows(file) == rows
    audit.append(file, row("aum", 0.9))
    assert [one["method"] for one in read_rows(file)][4:] == ["aum"]


def test_what_is_not_led_is_named(file):
    text = markdown(read_rows(file))
    # Of the seed that all have, 0.
    assert "| `audit` | 0.9500 / 0.5000 | 10 |" in text
    assert "- worst: `knn`, by +0.0030" in text
    assert "`loss`, by" not in text
    assert "| worst | 0 | 20,104 | 19,000 | 18,000 to 20,500 | 0.9500 |" in text
    assert "| worst | 1 | 40: 0.020, 0.100; 60: 0.990, 0.950 |" in text


def test_what_is_there_is_not_made_again(file):
    with file.open() as known:
        assert len(list(csv.reader(known))) == 5

    class Args:
        settings, seeds, methods = ["worst"], [0, 1], ["audit", "knn", "aum"]

    Args.file = file
    assert list(audit.todo(Args)) == [
        ("worst", 0, ["aum"]),
        ("worst", 1, ["knn", "aum"]),
    ]
