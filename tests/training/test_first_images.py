"""What a network sees of the training images before it is made, and a run with one."""

import keras
import numpy as np
import pytest
from PIL import Image
from runs import OFTEN, InterruptionError, assert_same_end, interrupt_at
from settings import digits

from sop_keras.backbones.whitening import whitening_filters
from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.training import first_images as module
from sop_keras.training.experiment_data import ExperimentData, load_data
from sop_keras.training.first_images import first_images
from sop_keras.training.network import make_backbone
from sop_keras.training.run import Run

FAST = {
    "backbone": "fast_cnn",
    "augment": "shift_flip",
    "schedule": "triangle",
    "decay_epochs": (),
    "warmup_share": 0.3,
    "offset_rate_factor": 8.0,
    "nesterov": True,
}


def data_of(count, side=32):
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 1), np.uint8)
    examples = Examples(np.arange(count) * 3, images, np.zeros(count, np.int64))
    names = ("a", "b")
    dataset = Dataset("one", names, 3 * count, examples, None, (0.5,), (0.25,))
    return ExperimentData(dataset, examples, examples, {})


def test_all_where_there_are_few_standardised_and_in_order():
    data = data_of(7, side=9)
    expected = (data.train.images / 255 - 0.5) / 0.25
    np.testing.assert_allclose(first_images(data, 0), expected, atol=1e-6)


def test_as_many_as_have_so_many_pixels_and_the_same_in_any_order(monkeypatch):
    monkeypatch.setattr(module, "_PIXELS", 10 * 32 * 32 + 5)
    data = data_of(40)
    found = first_images(data, 0)
    assert found.shape == (10, 32, 32, 1)
    np.testing.assert_array_equal(first_images(data, 0), found)
    assert not np.array_equal(first_images(data, 1), found)
    turned = data.train.take(np.arange(40)[::-1])
    again = first_images(ExperimentData(data.dataset, turned, turned, {}), 0)
    np.testing.assert_array_equal(again[::-1], found)
    monkeypatch.setattr(module, "_PIXELS", 1)
    assert len(first_images(data, 0)) == 1


def test_of_images_in_files_those_that_can_be_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), np.uint8)
    lines = ["path,label"]
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number % 2}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    experiment = digits(
        dataset="manifest",
        noise="none",
        num_validation=0,
        max_train_examples=0,
        resize=12,
        image_size=8,
    )
    files = DataFiles(manifest=str(tmp_path / "table.csv"), max_bad_fraction=0.5)
    data = load_data(experiment, files)
    (tmp_path / "3.png").write_text("no image")
    mean, std = data.dataset.mean, data.dataset.std
    expected = (pixels[[0, 1, 2, 4], 2:10, 2:10] / 255 - mean) / std  # the middle
    np.testing.assert_allclose(first_images(data, 0), expected, atol=1e-6)


def test_both_networks_of_a_run_whiten_its_images():
    experiment = digits(**FAST)
    data = load_data(experiment)
    expected = whitening_filters(first_images(data, 0)).astype("float32")
    networks = [make_backbone(experiment, data, use) for use in (None, "peer")]
    for network in networks:
        kernel = network.get_layer("whitening").kernel
        np.testing.assert_array_equal(kernel, expected)
    first, second = (one.get_layer("logits").kernel for one in networks)
    assert not np.array_equal(first, second)


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    experiment = digits("sop", epochs=2, **FAST)
    Run(experiment, tmp_path / "whole").train(verbose=0)
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=1, batch=2)
        with pytest.raises(InterruptionError):
            Run(experiment, tmp_path / "cut", execution=OFTEN).train(verbose=0)
    Run(experiment, tmp_path / "cut").train(verbose=0)
    assert_same_end(tmp_path / "whole", tmp_path / "cut")
    network = keras.saving.load_model(tmp_path / "whole" / "backbone.keras")
    expected = whitening_filters(first_images(load_data(experiment), 0))
    kernel = network.get_layer("whitening").kernel
    np.testing.assert_array_equal(kernel, expected.astype("float32"))
