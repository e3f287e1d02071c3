import codecs
import os

import numpy as np
import pytest

from sop_keras.data.datasets.file_lists import (
    check_full_size,
    find_layout,
    labels_of,
    read_labelled_names,
    read_names,
)

# Neither 0xe9, an e acute in Latin-1, nor 0xff is UTF-8 here.
NAMES = [b"3/25/x,1.jpg", b"caf\xe9\xff.jpg", b"with space.jpg"]


@pytest.fixture
def list_file(tmp_path):
    def write(content):
        file = tmp_path / "list.txt"
        file.write_bytes(content)
        return file

    return write


def ways_to_write(lines):
    """The same lines as editors and other systems leave them."""
    plain = b"\n".join(lines)
    return {
        "plain": plain + b"\n",
        "no end of the last line": plain,
        "CRLF": b"\r\n".join(lines) + b"\r\n",
        "trailing spaces": b"".join(line + b" \t \n" for line in lines),
        "leading spaces": b"".join(b"  " + line + b"\n" for line in lines),
        "blank last lines": plain + b"\n\n \r\n\n",
        "byte order mark": codecs.BOM_UTF8 + plain + b"\n",
    }


WAYS = list(ways_to_write([]))


@pytest.mark.parametrize("way", WAYS)
def test_paths(way, list_file):
    names = read_names(list_file(ways_to_write(NAMES)[way]))
    assert names.dtype.kind == "S"
    assert names.tolist() == NAMES


@pytest.mark.parametrize("way", WAYS)
def test_paths_with_labels(way, list_file):
    lines = [NAMES[0] + b" 7", NAMES[1] + b"\t0", NAMES[2] + b"  13"]
    names, labels = read_labelled_names(list_file(ways_to_write(lines)[way]), 14)
    assert names.tolist() == NAMES
    assert labels.tolist() == [7, 0, 13]
    assert labels.dtype == np.int64


def test_a_prefix_is_taken_off_where_it_is(list_file):
    names = [b"images/1/a.jpg", b"2/b.jpg", b"3/images/c.jpg"]
    without = [b"1/a.jpg", b"2/b.jpg", b"3/images/c.jpg"]
    file = list_file(b"\n".join(names))
    assert read_names(file, b"images/").tolist() == without
    file = list_file(b" 1\n".join(names) + b" 1")
    assert read_labelled_names(file, 2, b"images/")[0].tolist() == without


def test_lists_longer_than_a_block(list_file):
    # 70,000 lines, the longest names last: none is cut to the length of earlier ones.
    names = [b"%d.jpg" % i for i in range(69_999)] + [b"x" * 200]
    lines = [b"%s %d" % (name, i % 14) for i, name in enumerate(names)]
    found, labels = read_labelled_names(list_file(b"\n".join(lines)), 14)
    assert found.tolist() == names
    assert labels.tolist() == [i % 14 for i in range(70_000)]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a.jpg 0\nb.jpg\n", r"Line 2 of .*list\.txt must be a path, a .*'b\.jpg'"),
        (b"a.jpg 0\r\nb.jpg x\r\n", "Line 2 .* integer label. Received: 'b.jpg x'"),
        (b"a.jpg 1.0\n", "Line 1 .* integer label"),
        (b"caf\xe9.jpg\n", r"Received: 'caf\\\\xe9\.jpg'"),
        (b"a.jpg 0\nb.jpg 14\n", "label in line 2 .* from 0 to 13.*'b.jpg 14'"),
        (b"a.jpg -1\n", "label in line 1 .* from 0 to 13.*'a.jpg -1'"),
        (b"a.jpg 99999999999999999999\n", "label in line 1 .* from 0 to 13"),
        (b"a.jpg 0\n\nb.jpg 0\n", "Line 2 .* is blank"),
        (b"a.jpg 0\nb\0.jpg 0\n", "Line 2 .* zero byte"),
        (
            "a.jpg 0\n".encode("utf-16"),
            "Line 1 .* zero byte.*UTF-16, save it as UTF-8",
        ),
        (b"\r\n", "list.txt is empty"),
        (
            b"b.jpg 0\na.jpg 1\nc.jpg 2\na.jpg 1\n",
            r"'a\.jpg' in line 2 and again in line 4 \(1 lines repeat",
        ),
    ],
)
def test_lists_with_an_error(content, text, list_file):
    with pytest.raises(ValueError, match=text):
        read_labelled_names(list_file(content), 14)


def test_a_path_listed_twice(list_file):
    file = list_file(b"b.jpg\na.jpg\nc.jpg\na.jpg  \r\na.jpg")
    text = r"list\.txt .*'a\.jpg' in line 2 and again in line 4 \(2 lines repeat"
    with pytest.raises(ValueError, match=text):
        read_names(file)


def test_labels_of_paths(tmp_path):
    rng = np.random.default_rng(0)
    names = np.array([b"%d.jpg" % i for i in rng.permutation(500)])
    labels = rng.integers(0, 14, 500)
    keys = names[rng.permutation(500)[:300]]
    # The oracle: a dict.
    by_name = dict(zip(names.tolist(), labels.tolist(), strict=True))
    found = labels_of(keys, tmp_path / "keys", names, labels, tmp_path / "kv")
    assert found.tolist() == [by_name[key] for key in keys.tolist()]


@pytest.mark.parametrize("missing", [b"0", b"bb", b"zz\xe9"])
def test_paths_without_a_label(missing, tmp_path):
    # Before, between and after those that have one.
    names, labels = np.array([b"c", b"b", b"a"]), np.array([2, 1, 0])
    keys = np.array([b"c", b"a", missing, b"b", missing + b"!"])
    with pytest.raises(
        ValueError, match=r"2 of the 5 paths in .*keys have no"
    ) as error:
        labels_of(keys, tmp_path / "keys", names, labels, tmp_path / "kv")
    shown = missing.decode(errors="backslashreplace")
    assert f"{tmp_path}/kv; the first is in line 3: {shown!r}" in str(error.value)


LAYOUT = {"list.txt": ("list.txt", "lists/list.txt"), "images/": ("images/", "0/")}


@pytest.mark.parametrize("inside", [".", "own", "Own"])
@pytest.mark.parametrize("list_place", LAYOUT["list.txt"])
@pytest.mark.parametrize("images_place", LAYOUT["images/"])
def test_a_layout_is_found(inside, list_place, images_place, tmp_path):
    file, images = tmp_path / inside / list_place, tmp_path / inside / images_place
    images.mkdir(parents=True)
    file.parent.mkdir(exist_ok=True)
    file.touch()
    assert find_layout("own", tmp_path, ("own", "Own"), LAYOUT, "Get it.") == {
        "list.txt": file,
        "images/": images,
    }


def test_all_that_a_layout_lacks_is_said_at_once(tmp_path):
    # A file where a folder should be, and a folder where a file should be.
    (tmp_path / "images").touch()
    (tmp_path / "list.txt").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        find_layout("own", tmp_path, ("own",), LAYOUT, "Get it.")
    assert str(error.value) == (
        f"own: missing in {tmp_path} and in {tmp_path}/own:\n"
        "  list.txt (list.txt or lists/list.txt)\n"
        "  images/ (images/ or 0/)\n"
        f"{tmp_path} has: images, list.txt.\n"
        "Get it."
    )


def test_a_layout_that_is_there_in_part_is_the_one_meant(tmp_path):
    (tmp_path / "own" / "images").mkdir(parents=True)
    (tmp_path / "own" / os.fsdecode(b"list\xe9.txt")).touch()
    with pytest.raises(FileNotFoundError) as error:
        find_layout("own", tmp_path, ("own",), LAYOUT, "Get it.")
    assert str(error.value) == (
        f"own: missing in {tmp_path}/own:\n"
        "  list.txt (list.txt or lists/list.txt)\n"
        f"{tmp_path}/own has: images, list\\xe9.txt.\n"
        "Get it."
    )


def test_a_folder_that_is_not_there_or_leads_to_itself(tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot be listed: No such file"):
        find_layout("own", tmp_path / "none", (), LAYOUT, "Get it.")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(FileNotFoundError, match="cannot be listed: Too many levels"):
        find_layout("own", tmp_path / "loop", (), LAYOUT, "Get it.")


def test_the_published_sizes():
    sizes = {"training": 1_000_000, "test": 10_526}
    check_full_size("Own", dict(sizes), sizes)
    with pytest.raises(ValueError, match="--noexpect_full_size") as error:
        check_full_size("Own", {**sizes, "test": 10_525}, sizes)
    assert str(error.value).startswith(
        "Own has 1,000,000 training, 10,526 test images. Received: 1,000,000 training, "
        "10,525 test."
    )


def test_a_line_longer_than_any_path_is_refused(tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes(b"a.jpg\n" + 5000 * b"x" + b"\n")
    with pytest.raises(ValueError, match=r"Line 2 of .*list\.txt has 5000 bytes"):
        read_names(file)
