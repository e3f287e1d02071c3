from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from runs import OFTEN, InterruptionError, assert_same_model, history, interrupt_at
from settings import digits
from tiny import events

from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.training.monitor import images_at
from sop_keras.training.run import Run

WITHOUT = replace(OFTEN, noise_monitor=False)


def test_images_in_files_come_as_evaluation_sees_them(tmp_path):
    # 8x4 pixels, left half red and right half blue, to a crop of 4 in the middle.
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4, 0] = pixels[:, 4:, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    names = np.array([b"bad.png", b"missing.png", b"good.png"])
    images = ImageFiles(tmp_path, names, resize=4, image_size=4)
    found = images_at(images, np.array([2, 0, 1]))
    assert found.shape == (3, 4, 4, 3)
    np.testing.assert_array_equal(found[0], pixels[:, 2:6])
    assert (found[1:] == 128).all()


def test_arrays_are_indexed():
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    assert images_at(images, np.array([2, 0])).ravel().tolist() == [2, 0]


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("complete")
    Run(digits(epochs=2, decay_epochs=(1,)), folder).train(
        verbose=0, flags="--a=1 '--b=two words'"
    )
    return folder


def test_a_run_shows_everything(complete):
    written = events(complete / "tensorboard")
    tags = {tag for _, tag, step in written if step == 1}
    assert {
        "noise/mean_s1",
        "detection/auroc",
        "memorization/wrong_labels_fitted",
    } < tags
    assert {"log10_v_off_the_label", "noise_matrix", "suspicious_labels"} < tags
    assert {"epoch_gradient_norm", "epoch_u_gradient_norm", "epoch_ce_loss"} < tags
    assert written[".", "flags", 0].item() == b"    --a=1\n    '--b=two words'"
    # Once each, where it was.
    assert {part for part, tag, _ in written if tag == "epoch_loss"} == {
        "train",
        "validation",
    }


@pytest.mark.slow
def test_with_it_and_without_a_run_ends_in_the_same_bits(
    complete, tmp_path, monkeypatch
):
    experiment = digits(epochs=2, decay_epochs=(1,))
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=1)
        run = Run(experiment, tmp_path, execution=WITHOUT)
        with pytest.raises(InterruptionError):
            run.train(verbose=0)
    assert {part for part, _, _ in events(tmp_path / "tensorboard")} == {
        "train",
        "validation",
    }
    Run(experiment, tmp_path).train(verbose=0)
    assert_same_model(complete, tmp_path)
    first, second = (
        [row | {"seconds": ""} for row in rows]
        for rows in zip(history(complete), history(tmp_path), strict=True)
    )
    assert second[0] == second[1]
    known = {name for name, value in first[1].items() if value}
    assert "noise/mean_s1" not in known > {"loss", "u_gradient_norm"}
    assert {name: first[0][name] for name in known} == {
        name: first[1][name] for name in known
    }
    # And what is shown of the second epoch is the same.
    found, expected = (
        {
            tag: array.tolist()
            for (part, tag, step), array in events(folder / "tensorboard").items()
            if (part, step) == (".", 1) and tag != "flags"
        }
        for folder in (tmp_path, complete)
    )
    assert found == expected
    assert "noise/mean_s1" in found


def test_cross_entropy_has_none(tmp_path):
    experiment = digits(method="ce", epochs=1, schedule="constant", decay_epochs=())
    Run(experiment, tmp_path).train(verbose=0)
    written = events(tmp_path / "tensorboard")
    assert {part for part, _, _ in written} == {"train", "validation"}
