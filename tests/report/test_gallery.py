import base64
import io

import numpy as np
import pytest
from PIL import Image
from untrained_runs import CLASSES, FILES, Labels, many_labels, table, write_images

from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.report.gallery import gallery_rows, thumbnail
from sop_keras.report.no_images import NoImages
from sop_keras.report.run_labels import RunLabels


def opened(row):
    kind, text = row["image"].split(";base64,")
    return kind, Image.open(io.BytesIO(base64.b64decode(text)))


@pytest.mark.parametrize(
    ("width", "height", "shown"),
    [
        # Pixels become squares of 12, 3, 2 and 1 pixels.
        (8, 8, (96, 96)),
        (32, 32, (96, 96)),
        (20, 40, (40, 80)),
        (96, 10, (96, 10)),
    ],
)
def test_small_images_keep_their_pixels(width, height, shown):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    row = thumbnail(Image.fromarray(pixels))
    assert (row["width"], row["height"]) == shown
    kind, image = opened(row)
    assert kind == "data:image/png"
    np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(
    ("size", "saved", "shown"),
    [
        ((97, 97), (97, 97), (96, 96)),
        ((200, 100), (200, 100), (96, 48)),
        ((512, 256), (256, 128), (96, 48)),
        ((9, 960), (2, 256), (1, 96)),
        ((1, 960), (1, 256), (1, 96)),
    ],
)
def test_large_images_are_made_smaller(size, saved, shown):
    original = Image.new("RGBA", size, (200, 100, 50, 255))
    row = thumbnail(original)
    kind, image = opened(row)
    assert kind == "data:image/jpeg"
    assert image.size == saved
    assert (row["width"], row["height"]) == shown
    assert original.size == size
    assert np.abs(np.asarray(image).astype(int) - (200, 100, 50)).max() < 5


def labels(clean=None):
    """The first five, from the lowest quality on, as `labels_of` gives them."""
    positions = np.array([0, 3, 1, 4, 2])
    clean = None if clean is None else np.array(clean)[positions]
    return RunLabels(table(Labels()).iloc[positions], positions, clean, len(CLASSES))


def test_rows_have_the_worst_labels_first(tmp_path):
    write_images(tmp_path)
    names = np.array([name.encode() for name in FILES])
    train = Examples(
        np.arange(6), ImageFiles(tmp_path, names, 8, 8), np.array([0, 1, 2, 3, 0, 1])
    )
    rows = gallery_rows(labels(clean=[1, 1, 2, 2, 0, 2]), train, 3)
    assert [row["id"] for row in rows] == [0, 3, 1]
    picture = rows[1].pop("image")
    assert rows[1] == {
        "id": 3,
        "given": 3,
        "suggested": 2,
        "quality": 0.2,
        "noise": -2.0,
        "givenProb": 0.2,
        "suggestedProb": 0.8,
        "isIssue": True,
        "clean": 2,
        "file": FILES[3],
        "width": 96,  # 16x8 pixels, each of them 6x6
        "height": 48,
    }
    _, image = opened({"image": picture})
    # The whole image, not the crop that the network sees.
    assert image.size == (16, 8)
    assert image.getpixel((0, 0)) == (120, 100, 200)


def test_images_that_are_no_more_have_a_reason(tmp_path):
    write_images(tmp_path)
    (tmp_path / FILES[0]).unlink()
    (tmp_path / FILES[3]).write_bytes(b"no image")
    names = np.array([name.encode() for name in FILES])
    train = Examples(np.arange(6), ImageFiles(tmp_path, names), np.zeros(6, int))
    gone, broken, whole = gallery_rows(labels(), train, 3)
    assert gone["problem"] == "No such file or directory"
    assert broken["problem"].startswith("not an image")
    assert "image" not in gone
    assert "image" in whole
    assert gone["clean"] is None


def test_names_that_are_no_text_are_shown_escaped(tmp_path):
    names = np.array([b"\xff.png"] * 6)
    train = Examples(np.arange(6), ImageFiles(tmp_path, names), np.zeros(6, int))
    assert gallery_rows(labels(), train, 1)[0]["file"] == "\\xff.png"


def test_rows_in_the_middle_and_a_noise_score_that_there_is_not():
    some = labels(clean=[1, 1, 2, 2, 0, 2])
    some.issues.loc[some.issues["id"] == 1, "noise_score"] = np.nan
    train = Examples(np.arange(6), np.zeros((6, 8, 8, 3), np.uint8), np.zeros(6, int))
    rows = gallery_rows(some, train, 2, start=1)
    assert [row["id"] for row in rows] == [3, 1]
    assert [row["noise"] for row in rows] == [-2.0, None]
    assert [row["clean"] for row in rows] == [2, 1]


def test_images_in_memory_have_no_file_and_grey_ones_stay_grey():
    images = np.arange(6, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(images, (6, 8, 8, 1)).copy()
    train = Examples(np.arange(6), images, np.zeros(6, int))
    second = gallery_rows(labels(), train, 5)[1]
    assert second["file"] is None
    _, image = opened(second)
    assert (image.mode, image.getpixel((4, 4))) == ("L", 3)


def test_examples_without_images_are_named_by_their_row():
    labels = RunLabels(table(many_labels(3)), np.array([2, 0, 1]), None, len(CLASSES))
    examples = Examples(
        np.arange(3), NoImages(np.array([10, 11, 12])), np.zeros(3, np.int64)
    )
    rows = gallery_rows(labels, examples, 3)
    assert [row["text"] for row in rows] == ["row 12", "row 10", "row 11"]
    assert not any("image" in row or "problem" in row for row in rows)
    assert [row["file"] for row in rows] == [None] * 3
    with pytest.raises(FileNotFoundError, match=r"no image.*row 12"):
        examples.images[np.array([2])].read(0)
