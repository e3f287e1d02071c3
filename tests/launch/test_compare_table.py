import dataclasses

import compare_pictures
import compare_table
import paper
import pytest
from comparison_runs import complete, planned
from train_cells import duration, time_left


@pytest.fixture
def runs(tmp_path):
    """Cross entropy and SL, two seeds, of which SL's second one failed."""
    words = ["--methods=ce,sl", "--seeds=0,1", "--epochs=3", "--noises=symmetric:0.5"]
    found = planned(*words, f"--output_dir={tmp_path}")
    one, other, two, failed = found
    complete(one, [0.5, 0.7, 0.6], [5, 1, 1], noise_auroc=0.7)
    complete(two, [0.5, 0.8, 0.8], [5, 2, 2], noise_auroc=0.8)
    detection = {"auroc": 0.9, "average_precision": 0.6}
    complete(other, [0.1, 0.2, 0.9], [7, 3, 4.2], noise_auroc=1, detection=detection)
    return found, {failed.name: "no such thing"}


def test_the_rows_by_hand(runs):
    plain, other = compare_table.rows_of(*runs)
    assert (plain.title, plain.noise, plain.seeds) == ("CE", "symmetric 50%", 2)
    assert (plain.networks, plain.epochs) == (1, 3)
    assert plain.last == pytest.approx((60, 80))
    assert plain.best == pytest.approx((70, 80))
    assert plain.validation == pytest.approx((30, 40))
    # The first epochs, of 5 s, are left out: (1 + 1 + 2 + 2) / 4; a run is 7 or 9 s.
    assert (plain.seconds, plain.run_seconds) == (1.5, 8.0)
    assert (plain.ratio, plain.run_ratio) == (1.0, 1.0)
    assert plain.auroc == (0.7, 0.8)
    assert plain.average_precision == ()
    assert plain.error is None
    assert plain.paper is None
    # (3 + 4.2) / 2 = 3.6 s an epoch and 14.2 s a run.
    assert other.seconds == pytest.approx(3.6)
    assert other.ratio == pytest.approx(2.4)
    assert other.run_ratio == pytest.approx(14.2 / 8)
    assert (other.auroc, other.average_precision) == ((0.9,), (0.6,))
    assert other.error == "seed 1: no such thing"


def test_the_table_by_hand(runs):
    # Of 60 and 80: mean 70, deviation sqrt(2 * 10^2 / 1) = 14.14.
    text = compare_table.markdown(compare_table.rows_of(*runs), "Title", ["A note."])
    lines = text.splitlines()
    assert lines[0] == "# Title"
    assert lines[2] == "## Symmetric 50%"
    assert lines[6] == (
        "| CE | 2 | 70.00 +- 14.14 | 75.00 +- 7.07 | 35.00 +- 7.07 | 1.50 | 1.00 | "
        "1.00 | 0.750 +- 0.071 | - | - |"
    )
    assert lines[7].startswith("| SL | 1, failed | **90.00** | 90.00 | 45.00 | 3.60 |")
    assert lines[8:] == [
        "",
        "A note.",
        "",
        "Failed under symmetric 50%: SL: seed 1: no such thing",
    ]


def test_without_cross_entropy_there_is_no_ratio(runs):
    found, errors = runs
    (row,) = compare_table.rows_of(found[1::2], errors)
    assert (row.ratio, row.run_ratio) == (None, None)
    (head, line) = compare_table.csv_text([row]).splitlines()
    values = dict(zip(head.split(","), line.split(","), strict=True))
    assert values["ratio"] == values["paper_mean"] == values["last_std"] == ""
    assert float(values["last_mean"]) == pytest.approx(90)


def test_data_without_test_examples_are_compared_on_the_validation_split(
    runs, tmp_path
):
    found, _ = runs
    for cell in found[::2]:
        path = cell.run.folder / "history.csv"
        lines = path.read_text("utf-8").splitlines()
        path.write_text("\n".join(line.rpartition(",")[0] for line in lines), "utf-8")
    row = compare_table.rows_of(found[::2], {})[0]
    assert row.last == row.validation == pytest.approx((30, 40))
    assert row.split == "validation"
    text = compare_table.markdown([row], "Title", [])
    assert "accuracy is that on the validation split" in text
    labels = drawn(
        lambda: compare_pictures.draw_curves(
            found[::2], "Title", compare_table.split_of([row]), tmp_path / "curves.png"
        ),
        lambda figure: [axis.get_ylabel() for axis in figure.axes],
    )
    assert labels[1] == "validation accuracy, %"
    label, note = drawn(
        lambda: compare_pictures.draw_bars([row], "Title", [], tmp_path / "bars.png"),
        lambda figure: (figure.axes[0].get_xlabel(), figure.get_supxlabel()),
    )
    assert label.startswith("validation accuracy, %")
    assert note.startswith("Without a test set")


def test_an_epoch_in_which_a_process_began_does_not_count(tmp_path):
    """Graphs are built in the first epoch, and again in the one that a run is resumed
    in, here the fourth: an epoch takes 10 s, not (10 + 10 + 40 + 10) / 4 = 17.5."""
    (cell,) = planned("--methods=ce", "--epochs=5", f"--output_dir={tmp_path}")
    complete(cell, [0.5] * 5, [50, 10, 10, 40, 10])
    (row,) = compare_table.rows_of([cell], {})
    assert row.seconds == 10


def test_what_must_be_known_of_the_papers_figure_is_beside_it(runs, tmp_path):
    """CE's figures on CIFAR-10N are of the best epoch, those of SOP+ of the last."""
    found, errors = runs
    plain, other = compare_table.rows_of(found, errors)
    (worst,) = (one for one in paper.TABLES[4].cells if one.run == "cifar10n_worst_ce")
    figure = worst.published
    assert figure.text == "77.69"
    rows = [dataclasses.replace(plain, paper=figure), other]
    assert compare_table.paper_notes(rows[1:]) == []
    (note,) = compare_table.paper_notes(rows)
    assert "the best of 100 epochs on the test set" in note
    assert f"\n\n{note}\n" in compare_table.markdown(rows, "Title", [])
    caption = drawn(
        lambda: compare_pictures.draw_bars(rows, "Title", [], tmp_path / "bars.png"),
        lambda figure: figure.get_supxlabel(),
    )
    assert "".join(caption.split()) == note.replace(" ", "")


def drawn(draw, look):
    """What is seen of a figure that is drawn and closed."""
    import matplotlib.pyplot as plt

    seen, close = [], plt.close
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plt, "close", lambda one: (seen.append(look(one)), close(one)))
        draw()
    return seen[0]


def test_the_validation_split_chooses_among_settings(tmp_path):
    words = ["--methods=sl", "--setting=sl:", "--setting=sl:alpha=6", "--epochs=1"]
    found = planned(*words, f"--output_dir={tmp_path}")
    complete(found[0], [0.5], [1])
    complete(found[1], [0.6], [1])
    text = compare_table.markdown(compare_table.rows_of(found, {}), "Title", [])
    assert text.endswith("validation split chooses: SL (alpha=6).\n")


def test_every_epoch_is_in_the_csv(runs):
    lines = compare_table.epochs_text(runs[0]).splitlines()
    assert len(lines) == 1 + 3 * 3
    assert lines[2] == "symmetric50,ce,,0,2,1.0,,0.5,0.35,0.7"


def test_the_time_left_by_hand(runs):
    # SL has taken (7 + 3 + 4.2) / 3 s an epoch and has three to go.
    found, _ = runs
    assert time_left(found, found[3:]) == "; about 14 s left"
    assert time_left(found[3:], found[3:]) == ""
    assert [duration(one) for one in (89, 600, 7200)] == ["89 s", "10 min", "2.0 h"]


def test_the_time_left_has_the_run_before(tmp_path):
    """Four epochs of the sieve's run, which is one of its own, and two after it."""
    words = ["--methods=ce,cores_star", "--epochs=2", "--sieve_epochs=4"]
    plain, found = planned(*words, f"--output_dir={tmp_path}")
    complete(plain, [0.5, 0.5], [1, 1])
    assert time_left([plain, found], [found]) == "; about 6 s left"
    # Of the run before, one epoch is done, in 3 s: (6 - 1) * 3.
    folder = found.run.folder / "first_run"
    folder.mkdir(parents=True)
    (folder / "history.csv").write_text("epoch,seconds\n1,3\n", encoding="utf-8")
    assert time_left([plain, found], [found]) == "; about 15 s left"


def test_the_pictures_show_the_figures(runs, tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    close = plt.close
    monkeypatch.setattr(plt, "close", lambda figure: None)
    found, errors = runs
    rows = compare_table.rows_of(found, errors)
    compare_pictures.draw_bars(rows, "Title", ["A note."], tmp_path / "bars.png")
    figure = plt.gcf()
    try:
        accuracies, cost = figure.axes
        assert [axis.get_title() for axis in figure.axes] == ["symmetric 50%", "cost"]
        # The highest on top: SL ends at 90%, cross entropy at 70%.
        names = [label.get_text() for label in accuracies.get_yticklabels()]
        assert names == ["SL", "CE"]
        ends = [bar.get_x() + bar.get_width() for bar in accuracies.patches]
        assert sorted(ends) == pytest.approx([70, 90])
        assert [bar.get_width() for bar in cost.patches] == pytest.approx([1.775, 1])
        assert {"90.0", "70.0", "failed"} == {
            one.get_text() for one in accuracies.texts
        }
        assert figure.get_supxlabel() == "A note."
    finally:
        close(figure)
    compare_pictures.draw_curves(found, "Title", "test", tmp_path / "curves.png")
    figure = plt.gcf()
    try:
        above, below = figure.axes
        lines = {line.get_label(): line.get_ydata() for line in below.lines}
        assert lines["CE"] == pytest.approx([50, 75, 70])
        assert lines["SL"] == pytest.approx([10, 20, 90])
        assert above.lines[0].get_ydata() == pytest.approx([50, 50, 50])
    finally:
        close(figure)
