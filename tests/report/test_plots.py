import numpy as np
import pytest
from untrained_runs import Labels, table

from sop_keras.report import plots
from sop_keras.report.run_labels import RunLabels

HISTORY = [
    {"epoch": 1.0, "accuracy": 0.25, "test_accuracy": 0.5, "val_accuracy": 0.125},
    {"epoch": 2.0, "accuracy": 0.5, "test_accuracy": 0.75, "val_accuracy": 0.25},
]


def lines(figure):
    return {
        line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for line in figure.axes[0].lines
    }


def test_training_accuracy_beside_the_share_of_right_labels():
    drawn = lines(plots.draw_training(HISTORY, 0.4, plots.LIGHT))
    epochs, percent = drawn.pop("given labels")
    assert (epochs.tolist(), percent.tolist()) == ([1, 2], [25, 50])
    assert drawn.pop("share of right labels")[1] == pytest.approx([60, 60])
    assert not drawn
    assert list(lines(plots.draw_training(HISTORY, None, plots.DARK))) == [
        "given labels"
    ]


def test_how_wrong_labels_are_fitted_is_drawn_where_it_was_recorded():
    history = [{**HISTORY[0], "memorization/wrong_labels_fitted": 0.125}]
    drawn = lines(plots.draw_training(history, None, plots.LIGHT))
    assert drawn["wrong labels fitted"][1] == [12.5]


def test_accuracy_on_all_that_was_evaluated_on():
    figure = plots.draw_tests(HISTORY, plots.LIGHT)
    drawn = {name: values.tolist() for name, (_, values) in lines(figure).items()}
    assert drawn == {"test": [50, 75], "validation, given labels": [12.5, 25]}
    assert figure.axes[0].get_title(loc="left") == "Test accuracy"
    without = [{"epoch": 1.0, "val_accuracy": 0.5}]
    figure = plots.draw_tests(without, plots.LIGHT)
    assert figure.axes[0].get_title(loc="left") == "Validation accuracy"


@pytest.mark.parametrize(
    ("num_classes", "has_names", "has_numbers"),
    [(3, True, True), (30, True, False), (31, False, False), (1000, False, False)],
)
def test_a_matrix_says_what_there_is_room_for(num_classes, has_names, has_numbers):
    names = ["$\\frac{1$", "类别", "x\n" * 60, *map(str, range(num_classes))]
    names = names[:num_classes]
    matrix = np.eye(num_classes)
    matrix[0, :2] = 0.75, 0.25
    figure = plots.draw_matrix(matrix, names, "estimated", plots.DARK)
    axis = figure.axes[0]
    np.testing.assert_array_equal(axis.images[0].get_array(), matrix)
    assert len(axis.get_yticklabels()) == (num_classes if has_names else 0)
    numbers = {text.get_position(): text.get_text() for text in axis.texts}
    expected = {(0, 0): "75", (1, 0): "25", (1, 1): "100", (2, 2): "100"}
    assert numbers == (expected if has_numbers else {})
    assert plots.png(figure).startswith(b"\x89PNG")


def labels(is_wrong=None):
    """Three issues of quality 0.01, 0.2, 0.3, then two labels of 0.6 and 0.9."""
    positions = np.array([0, 3, 1, 4, 2])
    issues = table(Labels()).iloc[positions]
    given = issues["given_label"].to_numpy()
    clean = None if is_wrong is None else np.where(is_wrong, (given + 1) % 4, given)
    return RunLabels(issues, positions, clean, 4)


@pytest.mark.parametrize("column", ["label_quality", "noise_score"])
def test_scores_are_apart_for_right_and_wrong_labels(column):
    known = labels([True, True, False, False, False])
    figure = plots.draw_histogram(known, column, plots.LIGHT)
    counts = {
        stairs.get_label(): stairs.get_data().values
        for stairs in figure.axes[0].patches
    }
    assert {name: values.sum() for name, values in counts.items()} == {
        "right labels": 3,
        "wrong labels": 2,
    }
    figure = plots.draw_histogram(labels(), column, plots.LIGHT)
    (stairs,) = figure.axes[0].patches
    values, edges, _ = stairs.get_data()
    if column == "label_quality":
        # Of bins of 0.02: those of 0.01, 0.2, 0.3, 0.6 and 0.9.
        assert np.flatnonzero(values).tolist() == [0, 10, 15, 30, 45]
        assert (edges[0], edges[-1]) == (0, 1)
    assert values.sum() == 5


def test_precision_by_recall_by_hand():
    figure = plots.draw_precision_recall(
        labels([True, False, True, False, True]), plots.LIGHT
    )
    drawn = lines(figure)
    # Looked at in order: 1 of 1, 1 of 2, 2 of 3, 2 of 4, 3 of 5 are wrong; 3 are.
    recall, precision = drawn["lowest quality first"]
    points = set(
        zip(recall.round(2).tolist(), precision.round(2).tolist(), strict=True)
    )
    expected = {(33.33, 100.0), (33.33, 50.0), (66.67, 66.67), (66.67, 50.0)}
    assert points == expected | {(100.0, 60.0), (0.0, 100.0)}
    # Two of the three issues are wrong.
    assert [float(x) for (x,) in drawn["label issues"]] == pytest.approx([200 / 3] * 2)
    assert drawn["at random"][1] == pytest.approx([60, 60])
