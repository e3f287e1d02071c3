import csv
import math

import ablations
import pytest
import reproduce
import train_cells
import train_flags
from ablations import AS_SAID, NOT_AS_SAID, UNTOLD
from comparison_runs import complete
from paper_claims import ABLATIONS, SMALL, Ablation, Arm

TINY = Ablation(
    "tiny",
    "The paper says so.",
    "sop",
    "symmetric:0.5",
    (
        Arm("plain"),
        Arm("other", ("--u_lr=1",), "equal"),
        Arm("third", ("--u_lr=2",), "above"),
        Arm("fourth", ("--u_lr=3",)),
    ),
)


def findings(folder, *accuracies, errors=None):
    """Of the arms' runs, which end at these accuracies by seed."""
    arms = ablations.plan([TINY], ["--epochs=1"], folder, 2)["tiny"]
    for cells, ends in zip(arms, accuracies, strict=False):
        for cell, end in zip(cells, ends, strict=True):
            complete(cell, [end], [1], final_test_accuracy=end)
    failed = {arms[3][0].name: "no such thing"} if errors else {}
    return ablations.findings_of(TINY, arms, failed)


def test_differences_by_hand(tmp_path):
    # Seed by seed, 62 - 60 and 66 - 62: a mean of 3, a standard error of 1, as
    # sqrt(2) / sqrt(2). 70 - 60 and 70 - 62: 9 and 1.
    first, other, third, fourth = findings(
        tmp_path, [0.60, 0.62], [0.62, 0.66], [0.70, 0.70], errors=True
    )
    assert (first.difference, first.verdict) == (None, "")
    assert other.difference == pytest.approx(3)
    assert other.error == pytest.approx(1)
    assert other.verdict == NOT_AS_SAID
    assert (third.difference, third.error) == (pytest.approx(9), pytest.approx(1))
    assert third.verdict == AS_SAID
    assert (fourth.difference, fourth.verdict) == (None, "")
    assert fourth.row.error == "seed 0: no such thing"


@pytest.mark.parametrize(
    ("expected", "difference", "error", "verdict"),
    [
        ("equal", 0.9, 0.1, AS_SAID),  # within a point
        ("equal", -3.0, 1.6, UNTOLD),  # within two standard errors
        ("equal", 0.5, 3.0, UNTOLD),  # a difference of 3 would not be seen either
        ("equal", -3.0, 1.4, NOT_AS_SAID),
        ("equal", 3.0, None, NOT_AS_SAID),
        ("above", 3.0, 1.0, AS_SAID),
        ("above", 0.5, 0.1, UNTOLD),
        ("above", -3.0, 1.0, NOT_AS_SAID),
        ("below", -3.0, 1.0, AS_SAID),
        ("below", -3.0, 2.0, UNTOLD),
        ("below", 3.0, 1.0, NOT_AS_SAID),
        (None, 3.0, 1.0, ""),
        ("above", None, None, ""),
    ],
)
def test_verdicts(expected, difference, error, verdict):
    arm = Arm("one", (), expected)
    assert ablations.Finding(arm, None, difference, error).verdict == verdict


def test_the_table(tmp_path):
    found = {TINY: findings(tmp_path, [0.60, 0.62], [0.62, 0.66], [0.70, 0.70])}
    lines = ablations.markdown(found, ["A note."]).splitlines()
    assert lines[2:5] == ["## tiny", "", "The paper says so. (symmetric:0.5)"]
    assert lines[8] == "| plain | 2 | 61.00 +- 1.41 | 61.00 +- 1.41 | - |  |  |  |"
    assert lines[9] == (
        "| other | 2 | 64.00 +- 2.83 | 64.00 +- 2.83 | - | +3.00 (1.00) | equal | "
        "not as the paper says |"
    )
    assert lines[-1] == "A note."
    rows = list(csv.DictReader(ablations.csv_text(found).splitlines()))
    assert [row["flags"] for row in rows] == ["", "--u_lr=1", "--u_lr=2", "--u_lr=3"]
    assert float(rows[2]["difference"]) == pytest.approx(9)
    ablations.draw(found, tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes()[:4] == b"\x89PNG"


def test_without_a_test_set_they_are_compared_on_the_validation_split(tmp_path):
    arms = ablations.plan([TINY], ["--epochs=1"], tmp_path, 2)["tiny"]
    for cells, end in zip(arms[:2], (0.2, 0.4), strict=True):
        for cell in cells:
            complete(cell, [end], [1])
            path = cell.run.folder / "history.csv"
            lines = path.read_text("utf-8").splitlines()
            path.write_text("\n".join(line.rpartition(",")[0] for line in lines))
    found = ablations.findings_of(TINY, arms, {})
    # The validation accuracy of `complete` is half of the other one: 20 - 10.
    assert [one.difference for one in found] == [None, pytest.approx(10), None, None]
    assert "that on the validation split" in ablations.markdown({TINY: found}, [])


@pytest.mark.parametrize(
    "word", ["--noise=none", "--noise_rate=0.2", "--method=ce", "--seed=3"]
)
def test_what_each_ablation_has_of_its_own_is_refused(tmp_path, word):
    name = word.partition("=")[0]
    with pytest.raises(ValueError, match=rf"{name} is not for --table=ablations: each"):
        ablations.plan([TINY], [word], tmp_path, 2)


def test_one_machine(tmp_path):
    with pytest.raises(
        ValueError, match=r"on one machine\. Received: --strategy=multi"
    ):
        ablations.plan([TINY], ["--strategy=multi_worker"], tmp_path, 2)


def test_all_claims_can_be_run(tmp_path):
    planned = ablations.plan(ABLATIONS, [], tmp_path, 2)
    cells = ablations.all_cells(planned)
    # The plain setting of SOP is in three of them, and one run.
    arms = sum(len(one.arms) for one in ABLATIONS)
    assert len(cells) < 2 * arms
    plain = planned["loss_of_v"][2][0]
    assert plain.name == planned["one_hot"][0][0].name == "symmetric50-sop-seed0"
    for cell in cells:
        experiment = cell.run.experiment
        values = reproduce.parsed(cell.words)
        assert train_flags.experiment(values, *values.method) == experiment
        assert (experiment.dataset, experiment.max_train_examples) == ("cifar10", 10000)
    rates = planned["asymmetric_rates"]
    found = [one[0].run.experiment for one in rates]
    assert [one.noise for one in found] == ["asymmetric", "asymmetric"]
    assert [one.method.u_learning_rate for one in found] == [10.0, 0.1]
    assert {one.method.v_learning_rate for one in found} == {100.0}


def test_the_command(tmp_path, monkeypatch, capsys):
    trained = []

    def train(words):
        trained.append(words)
        return "no such thing"

    monkeypatch.setattr(train_cells, "train_cell", train)
    arguments = ["--table=ablations", "--cells=one_hot", "--seeds=1", "--epochs=2"]
    assert reproduce.main([*arguments, "--dry_run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert not trained
    assert reproduce.main([*arguments, f"--output_dir={tmp_path}"]) == 1
    assert [words[-1] for words in trained] == [
        f"--output_dir={tmp_path}/symmetric50-sop-seed0",
        f"--output_dir={tmp_path}/symmetric50-sop-v_loss=mse_of_p-seed0",
    ]
    text = (tmp_path / "table.md").read_text("utf-8")
    assert "\nFailed: p: seed 0: no such thing\n" in text
    assert "\nNot as in plus_cpu.flags: --epochs=2\n" in text
    assert reproduce.main(["--table=ablations", "--cells=nothing"]) == 1
    assert "has --cells=loss_of_v," in capsys.readouterr().err


def test_settings_that_act_alike_have_the_same_lambda():
    # Eq. (22), -log(init_std) / (2 alpha): ln(10) of 2.302585 by 4 / 20, 8 / 40, 2 / 10
    # is 0.460517; 8 / 20, 4 / 10 and 4 / 40 give twice, twice and half of it.
    (ablation,) = [one for one in ABLATIONS if one.name == "init_std_and_alpha"]
    found = []
    for arm in ablation.arms:
        values = train_flags.parsed([f"--flagfile={SMALL}", *arm.words])
        assert values.u_lr == values.v_lr
        found.append(-math.log(values.init_std) / (2 * values.v_lr))
    half = 0.2302585
    assert found == pytest.approx([0.460517] * 3 + [4 * half, 4 * half, half])
    alike = [arm.expected == "equal" for arm in ablation.arms]
    assert alike == [False, True, True, False, False, False]
