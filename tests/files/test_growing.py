import os

import pytest

from sop_keras.files import growing
from sop_keras.files.atomic import OutputError
from sop_keras.files.growing import GrowingFile


def grow(path, size, *parts):
    file = GrowingFile(path, size)
    for part in parts:
        file.append(part)
    file.flush()
    file.close()


def test_what_counts_is_kept_and_what_lies_beyond_is_dropped(tmp_path):
    path = tmp_path / "a"
    grow(path, 0, b"abc", b"", b"defg")
    assert path.read_bytes() == b"abcdefg"
    grow(path, 5, b"X")
    assert path.read_bytes() == b"abcdeX"


def test_a_write_may_take_a_part_alone(tmp_path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(
        growing.os, "pwrite", lambda file, data, place: pwrite(file, data[:3], place)
    )
    grow(tmp_path / "a", 0, b"0123456789", memoryview(b"abcd"))
    assert (tmp_path / "a").read_bytes() == b"0123456789abcd"


def test_what_was_not_written_whole_does_not_count(tmp_path, monkeypatch):
    file = GrowingFile(tmp_path / "a", 0)
    file.append(b"abc")
    pwrite, calls = os.pwrite, []

    def full(descriptor, data, place):
        calls.append(place)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data[:2], place)

    monkeypatch.setattr(growing.os, "pwrite", full)
    with pytest.raises(OutputError, match=r"a could not be written: No space"):
        file.append(b"defg")
    monkeypatch.undo()
    file.append(b"XYZ")
    file.close()
    assert (tmp_path / "a").read_bytes() == b"abcXYZ"


def test_who_has_the_old_file_open_keeps_it(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with path.open("rb") as old:
        grow(path, 0, b"new")
        assert old.read() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("size", [0, 2])
def test_links_and_pipes(tmp_path, size):
    theirs, link, pipe = tmp_path / "theirs", tmp_path / "link", tmp_path / "pipe"
    theirs.write_bytes(b"theirs")
    link.symlink_to(theirs)
    os.mkfifo(pipe)
    if size:
        with pytest.raises(OutputError, match="it is a link"):
            GrowingFile(link, size)
        with pytest.raises(OutputError, match="it is no regular file"):
            GrowingFile(pipe, size)
    else:  # a file takes their place
        grow(link, 0, b"ours")
        assert not link.is_symlink()
        grow(pipe, 0, b"ours")
        assert pipe.is_file()
    assert theirs.read_bytes() == b"theirs"


def test_a_file_with_fewer_bytes_than_count(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    with pytest.raises(OutputError, match="it has 3 bytes of 4"):
        GrowingFile(tmp_path / "a", 4)
    with pytest.raises(OutputError, match="No such file"):
        GrowingFile(tmp_path / "b", 4)
