"""The launcher on trees in the published layouts, with faults among the files."""

import csv
import json
import os

import data_trees
import evaluate
import keras
import numpy as np
import pytest
import train

IMAGES, LABELS = data_trees.tiny_cifar10()
SMALL = ["--noexpect_full_size", "--resize=36", "--image_size=32"]


def result_of(done, folder):
    assert done.returncode == 0, done.stdout + done.stderr
    # TensorFlow's and Keras' own complaints are faults of the pipeline, too.
    for complaint in ("ran out of data", "NodeDef mentions", "Traceback"):
        assert complaint not in done.stderr
    return json.loads((folder / "result.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def webvision(tmp_path_factory):
    """WebVision and ILSVRC2012 in one folder, lists as editors leave them."""
    folder = tmp_path_factory.mktemp("data")
    synsets = data_trees.wnids(1000, seed=3)  # in shuffled order
    parts = data_trees.write_webvision(
        folder / "webvision",
        IMAGES,
        LABELS,
        {"google": 200, "flickr": 20, "val": 50},
        synsets=synsets,
        names_are_text=False,
        searches_in_lists=False,
        style=data_trees.HANDLED,
    )
    data_trees.write_imagenet_tfds(folder, IMAGES, LABELS, 40, synsets=synsets)
    return folder, parts["google"].files


def damage(files):
    """Cut one off, empty one, replace one by a text, and take one away."""
    contents = [data_trees.content(file) for file in files[:4]]
    for file, content in zip(
        files, (contents[0][:-300], b"", b"<html>404</html>"), strict=False
    ):
        with open(file, "wb") as stream:
            stream.write(content)
    os.remove(files[3])
    return contents


@pytest.mark.slow
def test_webvision_with_faults_from_its_flagfile(webvision, tmp_path, in_process):
    folder, files = webvision
    contents = damage(files)
    flags = ["--flagfile=webvision.flags", f"--data_dir={folder}", *SMALL]
    flags += ["--backbone=mlp", "--epochs=2", "--decay_epochs=1"]
    out = tmp_path / "run"
    try:
        # 4 of 200 are 2%: above the default, 1%.
        failed = in_process(train, *flags, f"--output_dir={out}")
        assert failed.returncode == 1
        assert "error: 3 of the 200 images of the train examples" in failed.stderr
        assert "At most 1% may be left out" in failed.stderr
        assert "Traceback" not in failed.stderr
        flags.append("--max_bad_fraction=0.02")
        done = in_process(train, *flags, f"--output_dir={out}")
    finally:
        for file, content in zip(files, contents, strict=False):
            with open(file, "wb") as stream:
                stream.write(content)
    result = result_of(done, out)
    assert "1 of the 200 images of the train examples are missing" in done.stdout
    assert "4 images left out" in done.stdout
    assert result["num_bad_images"] == {"train": 4}
    assert (result["num_train"], result["num_test"], result["num_ilsvrc12"]) == (
        *(200, 50, 40),
    )
    assert 0 <= result["final_ilsvrc12_accuracy"] <= 1
    assert result["noise_rate"] is None  # nobody knows the clean labels
    with (out / "bad_images.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert rows.keys() == {"0", "1", "2", "3"}
    assert rows["0"].startswith("truncated")
    assert rows["1"] == "empty file"
    assert rows["2"].startswith("not an image")
    assert rows["3"] == "No such file or directory"

    # The saved network scores the same, on both sets of validation images.
    done = in_process(evaluate, f"--run={out}", f"--data_dir={folder}", *SMALL[:1])
    assert done.returncode == 0, done.stderr
    for part, name in (("test", "test"), ("ilsvrc12", "ilsvrc12")):
        figures = json.loads((out / "evaluation" / f"{part}.json").read_text("utf-8"))
        expected = result[f"final_{name}_accuracy"]
        assert figures["accuracy"] == pytest.approx(expected)


@pytest.mark.slow
def test_clothing1m_from_its_flagfile(tmp_path, in_process):
    sizes = {"noisy_train": 150, "clean_train": 20, "clean_val": 30, "clean_test": 40}
    data_trees.write_clothing1m(
        tmp_path / "data" / "Clothing1M",
        IMAGES,
        LABELS,
        sizes,
        annotations=True,
        images_in_tree=False,
        style=data_trees.HANDLED,
    )
    # A smaller network than the flagfile's: half the time of a training of ResNet50.
    weights = tmp_path / "mobilenet_notop.weights.h5"
    network = keras.applications.MobileNet((32, 32, 3), include_top=False, weights=None)
    network.save_weights(weights)
    out = tmp_path / "run"
    done = in_process(
        train,
        "--flagfile=clothing1m.flags",
        f"--data_dir={tmp_path / 'data'}",
        "--backbone=mobilenet",
        f"--pretrained={weights}",
        *SMALL,
        "--epochs=1",
        "--decay_epochs=1",
        f"--output_dir={out}",
    )
    result = result_of(done, out)
    numbers = [result[f"num_{part}"] for part in ("train", "validation", "test")]
    assert numbers == [150, 30, 40]
    assert result["final_validation_accuracy"] is not None
    assert result["settings"]["pretrained"] == str(weights)


def test_the_full_size_is_expected_unless_told_not_to(webvision, tmp_path, in_process):
    done = in_process(
        train,
        "--flagfile=webvision.flags",
        f"--data_dir={webvision[0]}",
        f"--output_dir={tmp_path / 'run'}",
    )
    assert done.returncode == 1
    assert "65,944 training, 2,500 validation" in done.stderr
    assert "Received: 200 training, 50 validation" in done.stderr
    assert "--noexpect_full_size" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_own_images_without_a_test_set(tmp_path, in_process):
    from PIL import Image

    for number, (image, label) in enumerate(zip(IMAGES[:90], LABELS, strict=False)):
        folder = tmp_path / "photos" / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    num_classes = len(np.unique(LABELS[:90]))
    out = tmp_path / "run"
    done = in_process(
        train,
        "--dataset=image_folder",
        f"--data_dir={tmp_path / 'photos'}",
        "--noise=symmetric",
        "--noise_rate=0.3",
        "--num_validation=20",
        "--backbone=cnn",
        "--augment=flip",
        "--method=sop_plus",
        *SMALL[1:],
        "--epochs=1",
        f"--output_dir={out}",
    )
    result = result_of(done, out)
    assert result["num_train"] == 70
    assert "final_test_accuracy" not in result
    assert result["final_validation_accuracy"] is not None
    assert 0.1 < result["noise_rate"] < 0.5
    assert "validation" in done.stdout
    network = keras.saving.load_model(out / "backbone.keras")
    assert network.output_shape == (None, num_classes)
