import csv
import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from sop_keras.data.images.bad_images import BadImages, TooManyBadImagesError


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_each_image_is_listed_and_counted_once(tmp_path):
    path = tmp_path / "run" / "bad_images.csv"
    bad = BadImages(path, max_fraction=0.5)
    assert not path.exists()
    for _ in range(3):
        bad.report("train", 7, "a, b.jpg", "empty file", 10)
    bad.report("test", 7, "c.jpg", "truncated", 10)
    assert bad.counts() == {"train": 1, "test": 1}
    assert rows(path) == [
        ["split", "id", "image", "reason"],
        ["train", "7", "a, b.jpg", "empty file"],
        ["test", "7", "c.jpg", "truncated"],
    ]


def test_names_and_reasons_are_no_formulas(tmp_path):
    path = tmp_path / "bad_images.csv"
    BadImages(path, 1.0).report("train", 3, "=cmd|' /C calc'!A0", "@x;=1", 10)
    assert rows(path)[1] == ["train", "3", "'=cmd|' /C calc'!A0", "'@x;'=1"]
    BadImages(path, 1.0).report("train", 3, "=cmd|' /C calc'!A0", "@x;=1", 10)
    assert len(rows(path)) == 2


def test_the_same_command_again_meets_the_same_limit(tmp_path):
    path = tmp_path / "bad_images.csv"
    for _ in range(2):
        bad = BadImages(path, 0.2)
        bad.report("train", 1, "a.jpg", "empty file", 10)
        bad.report("train", 2, "b.jpg", "empty file", 10)
        assert bad.counts() == {"train": 2}
        with pytest.raises(TooManyBadImagesError, match="3 of the 10 images"):
            bad.report("train", 3, "c.jpg", "empty file", 10)
    assert [row[1] for row in rows(path)] == ["id", "1", "2", "3"]


def test_what_was_mended_does_not_count(tmp_path):
    path = tmp_path / "bad_images.csv"
    BadImages(path, 0.1).report("train", 1, "a.jpg", "empty file", 10)
    bad = BadImages(path, 0.1)
    bad.report("train", 2, "b.jpg", "empty file", 10)
    assert bad.counts() == {"train": 1}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE, errno.ETIMEDOUT])
def test_what_passes_leaves_nothing_out(tmp_path, number):
    bad = BadImages(tmp_path / "bad_images.csv", max_fraction=1.0)
    error = OSError(number, os.strerror(number))
    with pytest.raises(OSError, match=r"a\.jpg could not be read now.*left out for it"):
        bad.leave_out("train", 1, "a.jpg", error, 10)
    assert isinstance(bad.error, OSError)
    assert bad.counts() == {}
    assert not (tmp_path / "bad_images.csv").exists()


def test_the_list_is_utf8_in_any_locale(tmp_path):
    path = tmp_path / "bad_images.csv"
    code = "import sys; from pathlib import Path;"
    code += "from sop_keras.data.images.bad_images import BadImages;"
    code += "BadImages(Path(sys.argv[1]), 1.0).report('train', 1, chr(0x732b), '', 10)"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-X", "utf8=0", "-c", code, str(path)]
    subprocess.run(command, check=True, env=environment, timeout=100)
    assert "\u732b" in path.read_text("utf-8")


def test_nothing_is_listed_after_the_end(tmp_path):
    bad = BadImages(tmp_path / "bad_images.csv", 0.0)
    for identity in (1, 2):
        with pytest.raises(TooManyBadImagesError, match=r"1 of the 10 .* 1\.jpg"):
            bad.report("train", identity, f"{identity}.jpg", "I/O error", 10)
    assert len(rows(tmp_path / "bad_images.csv")) == 2


@pytest.mark.parametrize("left", ["", "split,id,image,reason\ntrain\n"])
def test_a_list_that_was_cut_off_goes_on(tmp_path, left):
    path = tmp_path / "bad_images.csv"
    path.write_text(left)
    BadImages(path, 1.0).report("train", 1, "a.jpg", "empty file", 10)
    assert rows(path)[0] == ["split", "id", "image", "reason"]
    assert rows(path)[-1] == ["train", "1", "a.jpg", "empty file"]


def test_the_limit_is_a_share_of_the_part_and_may_be_reached(tmp_path):
    path = tmp_path / "bad_images.csv"
    bad = BadImages(path, max_fraction=0.01)
    for identity in range(3):  # 1% of 300
        bad.report("train", identity, f"{identity}.jpg", "empty file", 300)
    assert bad.error is None
    text = r"4 of the 300 images of the train .*3\.jpg: truncated\. At most 1% .*"
    with pytest.raises(TooManyBadImagesError, match=text + "bad_images.csv"):
        bad.report("train", 3, "3.jpg", "truncated", 300)
    assert isinstance(bad.error, TooManyBadImagesError)
    assert len(rows(path)) == 5  # the last one is listed too


def test_without_a_file_the_first_one_is_an_error():
    with pytest.raises(TooManyBadImagesError, match=r"a\.jpg: empty file"):
        BadImages().report("train", 0, "a.jpg", "empty file", 1000)


def test_threads_may_report_at_the_same_time(tmp_path):
    bad = BadImages(tmp_path / "bad_images.csv", 1.0)
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda i: bad.report("train", i % 100, f"{i % 100}", "empty", 100),
                range(400),
            )
        )
    assert bad.counts() == {"train": 100}
    listed = rows(tmp_path / "bad_images.csv")
    assert sorted(int(row[1]) for row in listed[1:]) == list(range(100))


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan")])
def test_a_limit_that_is_no_share(fraction):
    with pytest.raises(ValueError, match=r"max_bad_fraction.*in \[0, 1\]"):
        BadImages(max_fraction=fraction)


def test_an_error_keeps_what_it_was_raised_for_when_threads_meet_it_again():
    # What it lets go of, in a thread of an iterator, may be that iterator.
    bad_images = BadImages()
    with pytest.raises(TooManyBadImagesError):
        bad_images.report("test", 0, "a.png", "no image", 2)
    before = bad_images.error.__context__ = ValueError("of TensorFlow")
    try:
        raise OSError("no image either")
    except OSError:
        with pytest.raises(TooManyBadImagesError, match="1 of the 2 images") as again:
            bad_images.report("test", 1, "b.png", "no image", 2)
    assert again.value is not bad_images.error
    assert bad_images.error.__context__ is before
