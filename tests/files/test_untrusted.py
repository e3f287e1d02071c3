"""Files that nobody vouches for, opened for reading."""

import csv
import os
import pickle
import signal
import socket
import time

import numpy as np
import pytest

from sop_keras.files import untrusted
from sop_keras.files.untrusted import (
    FileTooLargeError,
    NotRegularFileError,
    UntrustedFileError,
    open_untrusted,
    opened_text,
    read_bytes,
    read_text,
)

needs_pipes = pytest.mark.skipif(
    not hasattr(os, "mkfifo"), reason="this platform has no named pipes"
)
needs_devices = pytest.mark.skipif(
    not os.path.exists("/dev/zero"), reason="this platform has no /dev/zero"
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ten"
    path.write_bytes(b"0123456789")
    return path


def test_a_file_is_read(file):
    assert read_bytes(file) == b"0123456789"
    assert read_bytes(os.fsencode(file)) == b"0123456789"
    assert read_text(str(file)) == "0123456789"
    with open_untrusted(file) as opened:
        assert opened.read(3) == b"012"
        assert opened.read() == b"3456789"
        opened.seek(-2, os.SEEK_END)
        assert opened.read() == b"89"
        assert opened.read() == b""


def test_a_link_to_a_file_is_read(file, tmp_path):
    (tmp_path / "link").symlink_to(file)
    assert read_bytes(tmp_path / "link") == b"0123456789"


def test_an_empty_file_is_read(tmp_path):
    (tmp_path / "empty").touch()
    assert read_bytes(tmp_path / "empty", limit=0) == b""


def test_text_has_its_line_ends_for_csv_and_plain_ones_otherwise(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbfa,\xff\r\n1,2\r\n")
    with opened_text(path, encoding="utf-8-sig", errors="surrogateescape") as text:
        assert list(csv.reader(text)) == [["a", "\udcff"], ["1", "2"]]
    with opened_text(path, encoding="latin1") as text:
        assert text.read().endswith("\r\n")
    assert read_text(path, encoding="latin1").endswith("1,2\n")
    with pytest.raises(UnicodeDecodeError):
        read_text(path)


@needs_pipes
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    (tmp_path / "link.jpg").symlink_to("x.jpg")
    start = time.monotonic()
    for name in ("x.jpg", "link.jpg"):
        with pytest.raises(NotRegularFileError, match="a pipe, where a regular file"):
            read_bytes(tmp_path / name)
    assert time.monotonic() - start < 5


@needs_devices
def test_a_device_without_an_end_is_refused(tmp_path):
    (tmp_path / "x.jpg").symlink_to("/dev/zero")
    with pytest.raises(NotRegularFileError, match=r"x.jpg: a device, where a regular"):
        read_bytes(tmp_path / "x.jpg")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no sockets in files here")
def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(NotRegularFileError, match="a socket or a device"):
            read_bytes("socket")


def test_folders_and_missing_files_are_as_for_open(tmp_path):
    with pytest.raises(IsADirectoryError, match="directory"):
        read_bytes(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"No such file .*absent"):
        read_bytes(tmp_path / "absent")


@pytest.mark.parametrize("path", ["a\0b", b"a\0b"])
def test_a_nul_in_a_path_is_said(path):
    with pytest.raises(UntrustedFileError, match=r"a\\x00b: the path has a NUL"):
        read_bytes(path)


def test_no_more_than_the_limit(file):
    assert read_bytes(file, limit=10) == b"0123456789"
    with pytest.raises(
        FileTooLargeError,
        match=r"ten: 10 bytes, where at most 9 are read. Raise that limit with --most",
    ):
        open_untrusted(file, limit=9, raise_by="--most")
    with pytest.raises(FileTooLargeError, match=r"at most 9 are read$"):
        read_text(file, limit=9)


def test_a_sparse_file_of_40_gb_is_refused_unread(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        try:
            file.truncate(40 * 10**9)
        except OSError:
            pytest.skip("this file system has no sparse files so large")
    with pytest.raises(FileTooLargeError, match=r"40,000,000,000 bytes, .*1,073,741,"):
        read_bytes(path)


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_that_grows_is_read_to_its_limit(file, whole):
    opened = open_untrusted(file, limit=20)
    with file.open("ab") as more:
        more.write(b"x" * 100_000)

    def read():
        while opened.read(-1 if whole else 7):
            pass

    with opened, pytest.raises(FileTooLargeError, match="more than 20 bytes by now"):
        read()
    assert opened.raw.closed


def test_a_file_that_grew_within_its_limit_is_read_whole(file):
    opened = open_untrusted(file)
    with file.open("ab") as more:
        more.write(b"x" * 200_000)
    with opened:
        assert opened.read() == b"0123456789" + b"x" * 200_000


def test_what_libraries_read_out_of_an_open_file(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(5))
    with open_untrusted(tmp_path / "a.npy") as file:
        assert np.load(file, allow_pickle=False).tolist() == [0, 1, 2, 3, 4]


def test_no_descriptor_is_left_open(file, tmp_path):
    with open_untrusted(file) as opened:
        free = opened.fileno()
    for _ in range(3):
        with pytest.raises(FileTooLargeError):
            read_bytes(file, limit=1)
        with pytest.raises(IsADirectoryError):
            read_bytes(tmp_path)
    with open_untrusted(file) as opened:
        assert opened.fileno() == free
        assert not os.get_inheritable(free)


def test_errors_are_of_the_system_and_survive_a_pickle(file):
    with pytest.raises(OSError, match="at most 1") as caught:
        read_bytes(file, limit=1)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is FileTooLargeError
    assert (str(copy), copy.strerror) == (str(caught.value), caught.value.strerror)


def test_the_limit_where_none_is_given_is_1_gib():
    assert untrusted.MAX_BYTES == 1_073_741_824


def test_a_file_that_another_process_gives_up_is_waited_for(file):
    # As a file server does that has a client's promise not to be disturbed.
    fcntl = pytest.importorskip("fcntl", reason="no leases here")
    if not hasattr(fcntl, "F_SETLEASE"):
        pytest.skip("this platform has no leases")
    asked = []
    with file.open("r+b") as held:

        def give_up(*_):
            asked.append(True)
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)

        before = signal.signal(signal.SIGIO, give_up)
        try:
            try:
                fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            except OSError:
                pytest.skip("this file system has no leases")
            assert read_bytes(file) == b"0123456789"
        finally:
            signal.signal(signal.SIGIO, before)
    assert asked == [True]
