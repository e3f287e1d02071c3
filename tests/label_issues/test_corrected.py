import io
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.datasets.manifest import load_manifest
from sop_keras.data.images.decoding import decode_crops
from sop_keras.data.images.encoded_images import EncodedImages, ImageFiles
from sop_keras.label_issues.corrected import (
    CONFLICT,
    correct_labels,
    match_examples,
    write_manifests,
)
from sop_keras.label_issues.decisions import Conflict, Decisions

CLASSES = ("cat", "dog", "eel")
FORMATS = ("csv", "parquet")


def pixels(size, *shape):
    return np.random.default_rng(0).integers(0, 256, (size, *shape), np.uint8)


def examples(labels=(0, 1, 2, 0), clean=(0, 0, 2, 0), images=None):
    images = pixels(4, 5, 5, 3) if images is None else images
    clean = None if clean is None else np.array(clean)
    return Examples(np.array([7, 3, 12, 5]), images, np.array(labels), clean)


# Ids 3 and 5 are issues, in another order than that of the data.
ISSUES = pd.DataFrame(
    {
        "id": [3, 5, 12, 7],
        "given_label": [1, 0, 2, 0],
        "suggested_label": [0, 2, 1, 1],
        "is_label_issue": [True, True, False, False],
    }
)


def test_relabel_by_hand():
    correction = correct_labels(examples(), ISSUES, "relabel", 3)
    assert correction.before.labels.tolist() == [0, 1, 2, 0]
    assert correction.is_issue.tolist() == [False, True, False, True]
    assert correction.after.labels.tolist() == [0, 0, 2, 2]
    assert correction.after.ids.tolist() == [7, 3, 12, 5]
    assert correction.after.clean_labels.tolist() == [0, 0, 2, 0]


def test_drop_by_hand():
    correction = correct_labels(examples(), ISSUES, "drop", 3)
    assert correction.after.ids.tolist() == [7, 12]
    assert correction.after.labels.tolist() == [0, 2]
    np.testing.assert_array_equal(correction.after.images, pixels(4, 5, 5, 3)[[0, 2]])


def test_examples_that_the_table_does_not_have_are_left_out():
    correction = correct_labels(examples(), ISSUES[1:], "relabel", 3)
    assert correction.before.ids.tolist() == [7, 12, 5]
    assert correction.after.labels.tolist() == [0, 2, 2]


@pytest.mark.parametrize(
    ("changes", "action", "message"),
    [
        ({}, "remove", r"of relabel, drop, keep\. Received: action='remove'"),
        ({"id": [3, 5, 12, 8]}, "drop", "other examples.* of its 4 rows, 3 have"),
        ({"id": [3, 5, 12, 8]}, "drop", "No example of id 8 has the given label 0"),
        ({"id": [3, 5, 5, 7], "given_label": [1, 0, 0, 0]}, "drop", "id 5 more than"),
        ({"given_label": [1, 0, 1, 0]}, "drop", "of its 4 rows, 3 have an id and a la"),
        ({"suggested_label": [0, 2, 99, 1]}, "relabel", "label 99 .* of id 12; labels"),
        ({"suggested_label": [0, -1, 1, 1]}, "drop", r"label -1 .* are in \[0, 3\)"),
        ({"is_label_issue": True}, "drop", "All 4 examples are .* nothing would be"),
    ],
)
def test_what_cannot_be_corrected(changes, action, message):
    with pytest.raises(ValueError, match=message):
        correct_labels(examples(), ISSUES.assign(**changes), action, 3)


def decided(rows, conflicts=()):
    """Decisions from id, kind and label of each."""
    ids, kinds, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return Decisions(
        np.array(ids, np.int64),
        np.array(kinds, np.str_),
        np.array(labels, np.int64),
        np.zeros(len(ids), "datetime64[ms]"),
        tuple(Conflict(one, ()) for one in conflicts),
    )


# Ids 7, 3, 12 and 5 have the labels 0, 1, 2 and 0; 3 and 5 are issues, suggested are
# 1, 0, 1 and 2.
@pytest.mark.parametrize(
    ("rows", "action", "after"),
    [
        # Confirmed ones stay, whatever the table says, and others are as they were.
        ([(3, "given", 1)], "relabel", {7: 0, 3: 1, 12: 2, 5: 2}),
        ([(3, "given", 1)], "drop", {7: 0, 3: 1, 12: 2}),
        ([(3, "given", 1)], "keep", {7: 0, 3: 1, 12: 2, 5: 0}),
        ([(3, "given", 1), (5, "given", 0)], "drop", {7: 0, 3: 1, 12: 2, 5: 0}),
        ([(3, "suggested", 0)], "keep", {7: 0, 3: 0, 12: 2, 5: 0}),
        ([(3, "other", 2), (12, "other", 0)], "drop", {7: 0, 3: 2, 12: 0}),
        ([(3, "remove", -1), (7, "remove", -1)], "keep", {12: 2, 5: 0}),
        ([(3, "remove", -1), (7, "suggested", 1)], "relabel", {7: 1, 12: 2, 5: 2}),
        ([], "keep", {7: 0, 3: 1, 12: 2, 5: 0}),
    ],
)
def test_decisions_by_hand(rows, action, after):
    found = correct_labels(examples(), ISSUES, action, 3, decided(rows))
    ids, labels = found.after.ids.tolist(), found.after.labels.tolist()
    assert dict(zip(ids, labels, strict=True)) == after
    kinds = {one: kind for one, kind, _ in rows}
    assert found.kinds.tolist() == [kinds.get(one, "") for one in (7, 3, 12, 5)]
    assert found.is_issue.tolist() == [
        one in (3, 5) and one not in kinds for one in (7, 3, 12, 5)
    ]
    assert found.labels.tolist() == [after.get(one, -1) for one in (7, 3, 12, 5)]


@pytest.mark.parametrize("action", ["relabel", "drop", "keep"])
def test_what_people_disagree_on_stays_as_it_is(action):
    some = decided([(5, "given", 0)], conflicts=[3])
    found = correct_labels(examples(), ISSUES, action, 3, some)
    assert found.after.labels.tolist() == [0, 1, 2, 0]
    assert found.kinds.tolist() == ["", CONFLICT, "", "given"]


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        (decided([(2, "given", 0), (3, "given", 1)]), "1 of their 2 ids .* is 2"),
        (decided([], conflicts=[3, 99]), "not among the run's .*; the first is 99"),
        (decided([(3, "given", 2)]), "label 2 .* of id 3, whose given label is 1"),
        (decided([(i, "remove", -1) for i in (3, 5, 7, 12)]), "All 4 .* be removed"),
    ],
)
def test_decisions_that_cannot_be_applied(decisions, message):
    with pytest.raises(ValueError, match=message):
        correct_labels(examples(), ISSUES, "keep", 3, decisions)


def test_nothing_is_kept_without_decisions():
    with pytest.raises(ValueError, match="without decisions nothing would change"):
        correct_labels(examples(), ISSUES, "keep", 3)


def test_a_table_without_rows_is_refused_as_such():
    with pytest.raises(ValueError, match="table of label issues is empty"):
        correct_labels(examples(), ISSUES[:0], "drop", 3)


def test_rows_are_matched_in_their_own_order():
    # The data have the ids 7, 3, 12 and 5, the table has 3, 5, 12 and 7.
    assert match_examples(examples(), ISSUES, 3).tolist() == [1, 3, 2, 0]
    assert match_examples(examples(), ISSUES[1:3], 3).tolist() == [3, 2]


def crop(images, position, side):
    """The pixels that a network gets of an image."""
    return decode_crops(images.read(position), side, side, [None])[0]


@pytest.mark.parametrize("table_format", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_in_memory_come_back_pixel_by_pixel(table_format, channels, tmp_path):
    train = examples(images=pixels(4, 5, 5, channels))
    test = Examples(np.array([7, 1]), pixels(2, 5, 5, channels), np.array([2, 1]))
    folder = tmp_path / "some" / "folder"
    written = write_manifests(folder, train, test, CLASSES, table_format)
    assert written.train == folder / f"train.{table_format}"
    assert written.has_names
    dataset = load_manifest(
        written.train, test_manifest=written.test, resize=5, image_size=5
    )
    assert dataset.class_names == CLASSES
    for part, found in ((train, dataset.train), (test, dataset.test)):
        np.testing.assert_array_equal(found.ids, part.ids)
        np.testing.assert_array_equal(found.labels, part.labels)
        for position in range(len(part)):
            expected = np.broadcast_to(part.images[position], (5, 5, 3))
            actual = crop(found.images, position, 5)
            np.testing.assert_array_equal(actual, expected)
    assert dataset.train.clean_labels.tolist() == [0, 0, 2, 0]
    assert dataset.train.images.names[1] == b"images/train/3.png"
    assert dataset.test.images.names[0] == b"images/test/7.png"


NAMES = [
    *(b"=cmd|' /C calc'!A0.png", b"<script>alert(1)</script>.png", b'-1+1, "b".jpg'),
    b" caf\xe9 \xff.jpg",
]


@pytest.mark.parametrize("table_format", FORMATS)
def test_files_stay_and_their_names_come_through(table_format, tmp_path, monkeypatch):
    folder = tmp_path / "=photos"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        path = os.path.join(os.fsencode(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)  # some have a slash
        with open(path, "wb") as file:
            file.write(b"%d" % number)
    monkeypatch.chdir(tmp_path)
    train = examples(images=ImageFiles("=photos", np.array(NAMES)), clean=None)
    classes = ("<script>alert(1)</script>", 'a, "b"', "类别")
    written = write_manifests("out", train, None, classes, table_format)
    assert written.test is None
    monkeypatch.chdir(tmp_path / "out")  # paths are absolute
    dataset = load_manifest(tmp_path / written.train)
    assert [dataset.train.images.read(place) for place in range(4)] == [
        *(b"0", b"1", b"2", b"3"),
    ]
    assert dataset.class_names == classes
    assert dataset.train.labels.tolist() == [0, 1, 2, 0]
    assert dataset.train.clean_labels is None
    assert [one.name for one in (tmp_path / "out").iterdir()] == [written.train.name]


class Records(EncodedImages):
    """Images in a list."""

    def __init__(self, contents):
        super().__init__(resize=9, image_size=7)
        self.contents = contents

    def __len__(self):
        return len(self.contents)

    def __getitem__(self, positions):
        return Records([self.contents[place] for place in np.arange(4)[positions]])

    def read(self, position):
        return self.contents[position]

    def name(self, position):
        return f"record {position}"


def test_records_become_files_of_the_same_bytes(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(pixels(1, 9, 9, 3)[0]).save(stream, "JPEG")
    contents = [stream.getvalue(), b"\x89PNG", b"RIFF", b""]
    train = correct_labels(examples(images=Records(contents)), ISSUES, "drop", 3).after
    written = write_manifests(tmp_path, train, None, CLASSES)
    images = load_manifest(written.train).train.images
    assert images.names.tolist() == [b"images/train/7.jpg", b"images/train/12"]
    assert [images.read(place) for place in range(2)] == [contents[0], b"RIFF"]


@pytest.mark.parametrize(
    ("classes", "labels", "formats"),
    [
        (CLASSES, (0, 1, 2, 0), FORMATS),
        # Another order than the sorted one, in which the manifest numbers them.
        (("eel", "dog", "cat"), (0, 1, 2, 0), FORMATS),
        # A class that is given to none; the manifest would not know it.
        (CLASSES, (0, 1, 1, 0), ()),
        (("0", "1", "2"), (0, 1, 2, 0), ()),
        (("cat", "+3.", "eel"), (0, 1, 2, 0), ()),
        # A manifest takes these for labels that are missing.
        (("cat", "None", "eel"), (0, 1, 2, 0), ()),
        (("cat", "n/a", "eel"), (0, 1, 2, 0), ()),
        (("cat", "cat", "eel"), (0, 1, 2, 0), ()),
        (("cat", "", "eel"), (0, 1, 2, 0), ()),
        (("cat", " dog", "eel"), (0, 1, 2, 0), ()),
        (("cat", "dog\u3000", "eel"), (0, 1, 2, 0), ()),
        (("cat", "d\0g", "eel"), (0, 1, 2, 0), ()),
        (("cat", "\ud800", "eel"), (0, 1, 2, 0), ()),
        # What CSV cannot hold, or should not.
        (("cat", "d\ng", "eel"), (0, 1, 2, 0), ("parquet",)),
        (("cat", "=cmd|' /C calc'!A0", "eel"), (0, 1, 2, 0), ("parquet",)),
        (("cat", "-dog", "eel"), (0, 1, 2, 0), ("parquet",)),
        (("cat", "d;=og", "eel"), (0, 1, 2, 0), ("parquet",)),
    ],
)
@pytest.mark.parametrize("table_format", FORMATS)
def test_labels_are_names_where_these_come_back(
    classes, labels, formats, table_format, tmp_path
):
    train = examples(labels, clean=None)
    test = Examples(np.array([0]), pixels(1, 5, 5, 3), np.array([2]))
    written = write_manifests(tmp_path, train, test, classes, table_format)
    assert written.has_names is (table_format in formats)
    number = None if written.has_names else 3
    dataset = load_manifest(
        written.train, test_manifest=written.test, num_classes=number
    )
    expected = classes if written.has_names else ("0", "1", "2")
    assert sorted(dataset.class_names) == sorted(expected)
    for found, given in ((dataset.train, labels), (dataset.test, (2,))):
        names = [dataset.class_names[label] for label in found.labels]
        assert names == [expected[label] for label in given]
    text = written.train.read_bytes()
    assert table_format != "csv" or b"=cmd" not in text


def test_a_clean_label_is_enough_for_a_class_to_be_known(tmp_path):
    train = examples((0, 1, 1, 0), (0, 1, 2, 0))
    assert write_manifests(tmp_path, train, None, CLASSES).has_names


@pytest.mark.parametrize("table_format", FORMATS)
@pytest.mark.parametrize("name", [b"a\nb.png", b"a.png ", b"b\r.png"])
def test_paths_that_cannot_be_read_back(name, table_format, tmp_path):
    images = ImageFiles(tmp_path, np.array([b"a.png", name, b"c.png", b"d.png"]))
    out = tmp_path / "out"
    if table_format == "parquet" and b" " not in name:
        written = write_manifests(
            out, examples(images=images), None, CLASSES, table_format
        )
        path = load_manifest(written.train).train.images.names[1]
        assert path == os.fsencode(tmp_path / os.fsdecode(name))
        return
    with pytest.raises(ValueError, match=r"paths of 1 train images .* Rename the"):
        write_manifests(out, examples(images=images), None, CLASSES, table_format)
    assert not out.exists()


def test_folders_that_are_not_empty(tmp_path):
    (tmp_path / "some").write_text("text", encoding="utf-8")
    with pytest.raises(ValueError, match=r"is not empty: .* of their own"):
        write_manifests(tmp_path, examples(), None, CLASSES)
    with pytest.raises(ValueError, match="some is a file"):
        write_manifests(tmp_path / "some", examples(), None, CLASSES)
    with pytest.raises(ValueError, match="one of csv, parquet"):
        write_manifests(tmp_path / "new", examples(), None, CLASSES, "json")
    assert [one.name for one in tmp_path.iterdir()] == ["some"]


def test_an_interrupted_export_leaves_no_training_manifest(tmp_path, monkeypatch):
    original, calls = os.open, []

    def fail_at_last(path, *args, **options):
        if str(path).endswith(".png"):
            calls.append(path)
        if len(calls) == 6:
            raise OSError(28, "No space left on device")
        return original(path, *args, **options)

    test = Examples(np.array([0, 1]), pixels(2, 5, 5, 3), np.array([2, 1]))
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail_at_last)
        with pytest.raises(OSError, match=r"5\.png could not be written"):
            write_manifests(tmp_path, examples(), test, CLASSES)
    assert not (tmp_path / "train.csv").exists()
