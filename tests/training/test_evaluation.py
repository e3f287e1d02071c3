import csv
import json

import keras
import numpy as np
import pytest
from settings import digits
from sklearn import metrics

from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.digits import load_digits
from sop_keras.data.images.bad_images import BadImages, TooManyBadImagesError
from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.training.evaluation import (
    Evaluation,
    are_probabilities,
    choose_splits,
    confidence_bins,
    evaluate_split,
    label_ranks,
    log_probabilities,
)
from sop_keras.training.run import Run
from sop_keras.training.saved_classifier import (
    load_classifier,
)


def evaluation_of(outputs, labels, *, from_logits=True, batch_size=7):
    """The examples in batches; the last one is smaller."""
    evaluation = Evaluation(outputs.shape[1], from_logits)
    for start in range(0, len(labels), batch_size):
        rows = slice(start, start + batch_size)
        evaluation.add(outputs[rows], labels[rows])
    return evaluation


@pytest.fixture
def some():
    """300 examples of 8 classes, the last of which has none and is predicted."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 300)
    outputs = 2 * rng.standard_normal((300, 8))
    outputs[np.arange(300), labels] += 2
    assert 7 in outputs.argmax(axis=1)
    return outputs, labels


def softmax(outputs):
    exponentials = np.exp(outputs)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_ranks_by_hand():
    outputs = np.array([[5.0, 1.0, 3.0], [5.0, 1.0, 3.0], [2.0, 2.0, 2.0]])
    assert label_ranks(outputs, np.array([0, 1, 2])).tolist() == [0, 2, 2]
    # Of equal ones the smaller class is before the larger, as in argmax.
    assert label_ranks(outputs[[2, 2]], np.array([0, 1])).tolist() == [0, 1]


def test_a_network_that_knows_nothing_is_not_right():
    # All outputs equal: class 0 is predicted, classes 0 to 4 are the top 5 of 8.
    labels = np.arange(8)
    evaluation = evaluation_of(np.zeros((8, 8)), labels)
    assert evaluation.accuracy == 1 / 8
    assert evaluation.top_k_accuracy == 5 / 8
    assert evaluation.cross_entropy == pytest.approx(np.log(8))


def test_the_same_as_scikit_learn(some):
    outputs, labels = some
    evaluation = evaluation_of(outputs, labels)
    classes, predictions = range(8), outputs.argmax(axis=1)
    np.testing.assert_array_equal(
        evaluation.confusion,
        metrics.confusion_matrix(labels, predictions, labels=classes),
    )
    assert evaluation.accuracy == metrics.accuracy_score(labels, predictions)
    assert evaluation.k == 5
    assert evaluation.top_k_accuracy == pytest.approx(
        metrics.top_k_accuracy_score(labels, outputs, k=5, labels=classes)
    )
    assert evaluation.accuracy < evaluation.top_k_accuracy < 1
    assert evaluation.cross_entropy == pytest.approx(
        metrics.log_loss(labels, softmax(outputs), labels=classes)
    )
    precisions, recalls, *_ = metrics.precision_recall_fscore_support(
        labels, predictions, labels=classes, zero_division=np.nan
    )
    np.testing.assert_allclose(evaluation.class_precisions, precisions)
    np.testing.assert_allclose(evaluation.class_accuracies, recalls)
    assert np.isnan(evaluation.class_accuracies).tolist() == [False] * 7 + [True]


def test_fewer_than_five_classes():
    evaluation = evaluation_of(np.eye(3), np.array([1, 2, 0]))
    assert evaluation.k == 3
    assert (evaluation.accuracy, evaluation.top_k_accuracy) == (0, 1)


def test_bins_end_with_their_upper_bound():
    edges = np.array([1, 3, 9, 14, 15]) / 15
    assert confidence_bins(edges).tolist() == [0, 2, 8, 13, 14]
    above = np.nextafter(edges, 2)
    assert confidence_bins(above).tolist() == [1, 3, 9, 14, 14]


def test_calibration_error_by_hand():
    # 0.9 is in (13/15, 14/15], one of two right; 0.55 in (8/15, 9/15], two of two:
    # (2 |0.5 - 0.9| + 2 |1 - 0.55|) / 4 = (0.8 + 0.9) / 4.
    outputs = np.array([[0.9, 0.1], [0.9, 0.1], [0.45, 0.55], [0.55, 0.45]])
    labels = np.array([0, 1, 1, 0])
    evaluation = evaluation_of(outputs, labels, from_logits=False, batch_size=3)
    assert evaluation.calibration_error == pytest.approx(0.425)
    bins = evaluation.calibration()
    assert [one["images"] for one in bins] == [0] * 8 + [2] + [0] * 4 + [2, 0]
    assert bins[13]["confidence"] == pytest.approx(0.9)
    assert (bins[13]["accuracy"], bins[8]["accuracy"]) == (0.5, 1.0)
    assert (bins[8]["above"], bins[8]["up_to"]) == (8 / 15, 9 / 15)
    assert (bins[0]["confidence"], bins[0]["accuracy"]) == (None, None)


def test_calibration_error_by_a_loop(some):
    outputs, labels = some
    bins = [[] for _ in range(15)]
    for output, label in zip(outputs, labels, strict=True):
        probabilities = [np.exp(one) / sum(np.exp(output)) for one in output]
        confidence = max(probabilities)
        place = next(m for m in range(15) if m / 15 < confidence <= (m + 1) / 15)
        is_right = probabilities.index(confidence) == label
        bins[place].append((confidence, is_right))
    expected = 0.0
    for members in filter(None, bins):
        confidence, accuracy = np.mean(members, axis=0)
        expected += len(members) / 300 * abs(accuracy - confidence)
    assert evaluation_of(outputs, labels).calibration_error == pytest.approx(expected)


def test_logits_and_their_probabilities_give_the_same_figures(some):
    outputs, labels = some
    one = evaluation_of(outputs, labels)
    other = evaluation_of(softmax(outputs), labels, from_logits=False)
    np.testing.assert_array_equal(one.confusion, other.confusion)
    for name in ("top_k_accuracy", "cross_entropy", "calibration_error"):
        assert getattr(one, name) == pytest.approx(getattr(other, name))
    assert one.figures()["outputs"] == "logits"
    assert other.figures()["outputs"] == "probabilities"


def test_cross_entropy_of_the_surest_mistakes():
    # Logits 1000 apart, and a probability of 0, which counts as 1e-7.
    assert evaluation_of(
        np.array([[1000.0, 0.0]]), np.array([1])
    ).cross_entropy == pytest.approx(1000)
    assert evaluation_of(
        np.array([[1.0, 0.0]]), np.array([1]), from_logits=False
    ).cross_entropy == pytest.approx(-np.log(1e-7))


def test_probabilities_in_half_precision_are_made_to_sum_to_1():
    logs = log_probabilities(np.array([[0.3, 0.695]]), from_logits=False)
    assert np.exp(logs).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([[0.2, 0.8], [1.0, 0.0]], True),
        ([[0.2, 0.797], [1.0, 0.004]], True),  # rounded
        ([[0.2, 0.8], [0.2, 0.9]], False),
        ([[1.5, -0.5], [0.2, 0.8]], False),  # a sum of 1 is not enough
    ],
)
def test_probabilities_are_told_from_logits(outputs, expected):
    assert are_probabilities(np.array(outputs)) is expected


def test_the_figures_are_strict_json(some):
    figures = evaluation_of(*some).figures()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["num_images"] == 300
    assert figures["class_accuracies"][7] is None
    assert figures["class_precisions"][7] == 0


def examples(n=4):
    return Examples(np.arange(n), np.zeros((n, 2, 2, 1), np.uint8), np.zeros(n, int))


def dataset_of(**splits):
    named = {"train": examples(6), "test": None, **splits}
    return Dataset("some", ("a", "b"), 6, mean=(0.0,), std=(1.0,), **named)


def test_all_tests_are_chosen_unless_there_is_none():
    tests = {"test": examples(1), "more_tests": {"other": examples(2)}}
    chosen = choose_splits(dataset_of(**tests, validation=examples(3)))
    assert {name: len(one) for name, one in chosen.items()} == {"test": 1, "other": 2}
    assert list(choose_splits(dataset_of(validation=examples(3)))) == ["validation"]
    with pytest.raises(ValueError, match=r"neither test nor validation.*has: train"):
        choose_splits(dataset_of())


def test_splits_by_name():
    dataset = dataset_of(test=examples(1), validation=examples(3))
    chosen = choose_splits(dataset, ["train", "validation", "test"])
    assert [len(one) for one in chosen.values()] == [6, 3, 1]
    with pytest.raises(ValueError, match=r"splits test, validation, train\. .*: ilsv"):
        choose_splits(dataset, ["test", "ilsvrc12"])


def network(*layers, shape=(8, 8, 1)):
    return keras.Sequential([keras.Input(shape), *layers])


def dense(units, **options):
    return [keras.layers.Flatten(), keras.layers.Dense(units, **options)]


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        (dense(9), r"give 10 numbers .* of digits: .*output of shape \(360, 9\)"),
        ([keras.layers.Conv2D(10, 1)], r"output of shape \(360, 8, 8, 10\)"),
        (dense(10, bias_initializer=keras.initializers.Constant(np.nan)), "NaN or inf"),
    ],
)
def test_outputs_that_cannot_be_measured(layers, text):
    with pytest.raises(ValueError, match=text):
        evaluate_split(network(*layers), load_digits(), "test")


def test_several_outputs():
    image = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(image)
    model = keras.Model(image, [keras.layers.Dense(10)(flat) for _ in range(2)])
    with pytest.raises(ValueError, match="several outputs"):
        evaluate_split(model, load_digits(), "test")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two epochs on the digits: its folder and result."""
    folder = tmp_path_factory.mktemp("run")
    experiment = digits(epochs=2, decay_epochs=(1,))
    return folder, Run(experiment, folder).train(verbose=0)


@pytest.mark.parametrize("file", ["backbone.keras", "model.keras"])
def test_a_saved_run_has_the_figures_that_it_ended_with(run, file):
    folder, result = run
    dataset = load_digits()
    evaluation = evaluate_split(load_classifier(folder / file), dataset, "test")
    assert evaluation.num_images == 360
    assert evaluation.from_logits
    assert 0.2 < evaluation.accuracy < 1
    assert evaluation.accuracy == pytest.approx(result["final_test_accuracy"])
    # As Keras' own evaluation has it.
    with (folder / "history.csv").open() as rows:
        last = list(csv.DictReader(rows))[-1]
    assert evaluation.cross_entropy == pytest.approx(float(last["test_loss"]), rel=1e-5)


def test_probabilities_of_a_network_are_found_out(run):
    dataset = load_digits()
    backbone = load_classifier(run[0] / "backbone.keras")
    model = keras.Sequential([backbone, keras.layers.Softmax()])
    one, other = (evaluate_split(each, dataset, "test") for each in (backbone, model))
    assert (one.from_logits, other.from_logits) == (True, False)
    np.testing.assert_array_equal(one.confusion, other.confusion)
    assert one.cross_entropy == pytest.approx(other.cross_entropy, rel=1e-4)


def test_no_more_than_a_batch_of_outputs_is_kept(run, monkeypatch):
    sizes = []
    add = Evaluation.add

    def recorded(evaluation, outputs, labels):
        sizes.append(outputs.shape)
        add(evaluation, outputs, labels)

    monkeypatch.setattr(Evaluation, "add", recorded)
    backbone = load_classifier(run[0] / "backbone.keras")
    assert evaluate_split(backbone, load_digits(), "train").num_images == 1437
    assert sizes == [(500, 10), (500, 10), (437, 10)]


@pytest.fixture
def files(tmp_path):
    """70 images in files, black ones (0) and white ones (1) in turn; 2 are none."""
    names = [f"{place}.png" for place in range(70)]
    for place, name in enumerate(names):
        image = np.full((4, 4, 3), 255 * (place % 2), np.uint8)
        keras.utils.save_img(tmp_path / name, image, scale=False)
    (tmp_path / names[3]).write_text("no image")
    (tmp_path / names[65]).unlink()
    images = ImageFiles(tmp_path, np.array(names, np.bytes_), 4, 4)
    part = Examples(np.arange(70), images, np.arange(70) % 2)
    dataset = Dataset(
        "files", ("black", "white"), 70, part, part, (0.0,) * 3, (1.0,) * 3
    )
    pool = keras.layers.GlobalAveragePooling2D()
    brightness = network(pool, keras.layers.Dense(2), shape=(4, 4, 3))
    # Logits 0 and 3 (brightness - 1/2).
    brightness.set_weights([np.array([[0, 1]] * 3), np.array([0, -1.5])])
    return brightness, dataset


def test_bad_images_are_left_out_and_listed(files, tmp_path):
    bad_images = BadImages(tmp_path / "bad_images.csv", max_fraction=0.03)
    evaluation = evaluate_split(*files, "test", bad_images)
    # Of 35 each, one white image is text and another one is gone.
    assert evaluation.confusion.tolist() == [[35, 0], [0, 33]]
    # Logits (0, -1.5) and (0, 1.5): confidence 1 / (1 + e^-1.5) throughout.
    confidence = 1 / (1 + np.exp(-1.5))
    assert evaluation.calibration_error == pytest.approx(1 - confidence)
    assert evaluation.cross_entropy == pytest.approx(-np.log(confidence))
    with (tmp_path / "bad_images.csv").open() as rows:
        listed = {(row["split"], row["id"]) for row in csv.DictReader(rows)}
    assert listed == {("test", "3"), ("test", "65")}


def test_too_many_bad_images(files, tmp_path):
    bad_images = BadImages(tmp_path / "bad_images.csv", max_fraction=0.01)
    with pytest.raises(TooManyBadImagesError, match="1 of the 70 images of the test"):
        evaluate_split(*files, "test", bad_images)


def test_no_image_can_be_used(files, tmp_path):
    for path in tmp_path.glob("*.png"):
        path.unlink()
    bad_images = BadImages(tmp_path / "bad_images.csv", max_fraction=1)
    with pytest.raises(ValueError, match="None of the 70 images of the train"):
        evaluate_split(*files, "train", bad_images)
