"""Several views of an image at test time, against a computation by hand."""

import json
import re

import keras
import numpy as np
import pytest
from settings import digits

from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.datasets.digits import load_digits
from sop_keras.training.evaluation import evaluate_split
from sop_keras.training.image_views import (
    check_image_views,
    image_views,
    mean_of_views,
)
from sop_keras.training.run import Run
from sop_keras.training.saved_classifier import load_classifier


def test_the_views_of_six_pixels():
    image = np.array([[1, 2, 3], [4, 5, 6]])
    expected = [
        [[1, 2, 3], [4, 5, 6]],
        [[3, 2, 1], [6, 5, 4]],
        # Down and right: 4 5 6 is beside the upper edge, 2 and 5 beside the left one.
        [[5, 4, 5], [2, 1, 2]],
        [[5, 4, 5], [2, 1, 2]],
        # Up and left.
        [[5, 6, 5], [2, 3, 2]],
        [[5, 6, 5], [2, 3, 2]],
    ]
    images = np.stack([image, 10 * image])[..., None]
    for name, count in (("none", 1), ("flip", 2), ("flip_translate", 6)):
        views = list(image_views(images, name))
        assert [view[0, ..., 0].tolist() for view in views] == expected[:count]
        assert [view[1, ..., 0].tolist() for view in views] == [
            (10 * np.array(one)).tolist() for one in expected[:count]
        ]


def test_how_much_each_counts():
    outputs = [np.full((1, 2), float(10**place)) for place in range(6)]
    assert mean_of_views(outputs[:1], "none").tolist() == [[1.0, 1.0]]
    assert mean_of_views(outputs[:2], "flip").tolist() == [[5.5, 5.5]]
    expected = (1 + 10) / 4 + (100 + 1000 + 10_000 + 100_000) / 8
    assert mean_of_views(outputs, "flip_translate").tolist() == [[expected] * 2]


@pytest.mark.parametrize(
    ("shape", "views", "text"),
    [
        ((16,), "flip", "is for images, of shape (height, width, channels). Received:"),
        ((4, 4), "flip_translate", "examples of shape (4, 4). Use --test_views=none."),
        ((1, 4, 3), "flip_translate", "needs two along each side. Received: images of"),
    ],
)
def test_what_has_no_such_views(shape, views, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        check_image_views(shape, views)
    with pytest.raises(ValueError, match=re.escape(text)):
        list(image_views(np.zeros((2, *shape)), views))
    check_image_views(shape, "none")


@pytest.fixture(scope="module")
def seen():
    """A network of random weights, 4x4 images, and its logits by an obvious loop."""
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(4, 4, 2, 3)), rng.normal(size=3)
    images = rng.integers(0, 256, (40, 4, 4, 2)).astype(np.uint8)
    part = Examples(np.arange(40), images, rng.integers(0, 3, 40))
    dataset = Dataset("some", ("a", "b", "c"), 40, part, part, (0.4, 0.6), (0.2, 0.3))
    model = keras.Sequential(
        [keras.Input((4, 4, 2)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    model.set_weights([kernel.reshape(32, 3), bias])
    scaled = (images / 255 - [0.4, 0.6]) / [0.2, 0.3]

    def logits(image, down, mirrored):
        # Of the pixel beside the edge where a shift leaves the image.
        def place(at):
            at = at - down
            return {-1: 1, 4: 2}.get(at, at)

        total = bias.copy()
        for row in range(4):
            for column in range(4):
                from_column = 3 - column if mirrored else column
                pixel = image[place(row), place(from_column)]
                total += pixel @ kernel[row, column]
        return total

    def by_hand(views):
        half = {"none": [0], "flip": [0], "flip_translate": [0, 0, 1, -1]}[views]
        sides = [False] if views == "none" else [False, True]
        each = [(down, mirrored) for down in half for mirrored in sides]
        return np.array(
            [np.mean([logits(one, *view) for view in each], axis=0) for one in scaled]
        )

    return model, dataset, by_hand


@pytest.mark.parametrize("views", ["none", "flip", "flip_translate"])
@pytest.mark.parametrize("gives", ["logits", "probabilities"])
def test_an_evaluation_by_hand(seen, views, gives):
    model, dataset, by_hand = seen
    if gives == "probabilities":  # whose logarithms are logits but for a constant
        model = keras.Sequential([model, keras.layers.Softmax()])
    evaluation = evaluate_split(model, dataset, "test", test_views=views)
    logits, labels = by_hand(views), dataset.test.labels
    assert evaluation.accuracy == (logits.argmax(axis=1) == labels).mean()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -logs[np.arange(40), labels].mean()
    tolerance = 1e-4 if gives == "logits" else 0.3  # which are 1e-7 at least
    assert evaluation.cross_entropy == pytest.approx(expected, rel=tolerance)


def test_the_views_matter_there(seen):
    predictions = [seen[2](one).argmax(axis=1) for one in ("none", "flip")]
    assert (predictions[0] != predictions[1]).sum() > 3


@pytest.mark.slow
def test_a_run_ends_with_them_beside_its_plain_figures(tmp_path):
    plain = Run(digits("ce", epochs=1, decay_epochs=(), schedule="constant"), tmp_path)
    assert not [name for name in plain.train(verbose=0) if name.endswith("_flip")]
    folder = tmp_path / "views"
    experiment = digits(
        "ce", epochs=1, decay_epochs=(), schedule="constant", test_views="flip"
    )
    result = Run(experiment, folder).train(verbose=0)
    dataset, backbone = load_digits(), load_classifier(folder / "backbone.keras")
    for views, name in (("none", ""), ("flip", "_flip")):
        found = evaluate_split(backbone, dataset, "test", test_views=views)
        assert found.accuracy == pytest.approx(result[f"final_test_accuracy{name}"])
    assert result["final_test_accuracy"] == plain.result["final_test_accuracy"]
    assert 0 < result["final_validation_accuracy_flip"] < 1
    assert result["settings"]["test_views"] == "flip"
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["test_views"] == "flip"
