import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sop_keras.files.atomic import (
    OutputError,
    appending,
    check_room,
    replacing,
    write_atomically,
    write_new,
)
from sop_keras.files.folders import LinkedFolderError, check_not_linked, make_folder
from sop_keras.files.kernel_lock import try_lock

# Writes "half" into what is to become `path`, says so and waits.
STOPPED = """
import pathlib, sys, time
from sop_keras.files.atomic import replacing

with replacing(pathlib.Path(sys.argv[1])) as partial:
    partial.write_text("half")
    print(partial.name, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def mine(tmp_path):
    """A file of the user's, outside the folder that is written to."""
    path = tmp_path / "mine"
    path.write_text("mine")
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    return path


def linked(place: Path, target: Path) -> Path:
    try:
        place.symlink_to(target)
    except OSError as error:
        pytest.skip(f"No links can be made here: {error}")
    return place


def writing(path: Path):
    """A process that is writing a file, and the name of what it writes first."""
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(path)], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def test_the_first_name_is_another_each_time_and_ends_alike(folder):
    names = []
    for _ in range(2):
        with replacing(folder / "a.keras") as partial:
            assert partial.parent == folder
            names.append(partial.name)
    assert len(set(names)) == 2
    assert all(name.endswith("-a.keras") for name in names)


def test_a_link_is_replaced_not_followed(folder, mine):
    linked(folder / "a.json", mine)
    linked(folder / "partial-a.json", mine)
    write_atomically(folder / "a.json", "new")
    assert mine.read_text() == "mine"
    assert not (folder / "a.json").is_symlink()
    assert (folder / "a.json").read_text() == "new"
    assert (folder / "partial-a.json").is_symlink()  # no name of ours


def test_permissions_are_those_of_a_file_that_is_opened(folder):
    for mask in (0o022, 0o077, 0o002):
        before = os.umask(mask)
        try:
            write_atomically(folder / "atomic", "text")
            write_new(folder / f"new-{mask}", b"text")
            with appending(folder / f"appended-{mask}") as file:
                file.write("text")
        finally:
            os.umask(before)
        for name in ("atomic", f"new-{mask}", f"appended-{mask}"):
            mode = stat.S_IMODE((folder / name).stat().st_mode)
            assert mode == 0o666 & ~mask


def test_text_is_utf8(folder):
    write_atomically(folder / "a", "größer")
    assert (folder / "a").read_bytes() == "größer".encode()


def test_what_another_process_puts_in_its_place_is_not_taken(folder, mine):
    def write():
        with replacing(folder / "a") as partial:
            partial.unlink()
            linked(partial, mine)

    with pytest.raises(OutputError, match="another file was put in its place"):
        write()
    assert not (folder / "a").exists()


def test_what_a_kill_left_goes_and_what_is_being_written_stays(folder):
    path = folder / "a.csv"
    killed, left = writing(path)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    live, written = writing(path)
    try:
        # The second process has cleaned up already.
        assert {one.name for one in folder.iterdir()} == {written}
        (folder / "partial-0123456789abcdef-b.csv").write_text("of another file")
        (folder / "partial-mine-a.csv").write_text("not called as ours are")
        (folder / "partial-0123456789abcdef-a.csv").mkdir()
        write_atomically(path, "whole")
        if try_lock(os.open(folder / written, os.O_RDWR)) is None:
            pytest.skip("This file system has no locks.")
        assert {one.name for one in folder.iterdir()} == {
            "a.csv",
            written,
            "partial-0123456789abcdef-b.csv",
            "partial-mine-a.csv",
            "partial-0123456789abcdef-a.csv",
        }
    finally:
        live.kill()
        live.wait()
        live.stdout.close()
    assert left != written


def test_a_new_file_takes_no_place_that_is_taken(folder, mine):
    write_new(folder / "a", b"content")
    assert (folder / "a").read_bytes() == b"content"
    linked(folder / "link", mine)
    linked(folder / "to-nothing", folder / "nothing")
    for name in ("a", "link", "to-nothing"):
        with pytest.raises(OutputError, match=f"{name} could not .*File exists"):
            write_new(folder / name, b"other")
    assert mine.read_text() == "mine"
    assert not (folder / "nothing").exists()


def test_lines_are_added_to_regular_files_alone(folder, mine):
    for text in ("one\n", "two\n"):
        with appending(folder / "a.csv") as file:
            file.write(text)
    assert (folder / "a.csv").read_text() == "one\ntwo\n"
    linked(folder / "link", mine)
    os.mkfifo(folder / "pipe")
    started = time.monotonic()
    for name, reason in (
        ("link", "it is a link, and nothing is written through links"),
        ("pipe", "pipe could not be written"),
        (".", "Is a directory"),
    ):
        with pytest.raises(OutputError, match=reason), appending(folder / name):
            pass
    assert mine.read_text() == "mine"
    assert time.monotonic() - started < 5


def test_room_is_looked_for_without_touching_what_is_there(folder, mine):
    linked(folder / "a", mine)
    check_room(folder / "a", 1000)
    assert mine.read_text() == "mine"
    assert [one.name for one in folder.iterdir()] == ["a"]


def test_what_a_kill_left_of_a_trial_goes_with_the_file(folder):
    script = (
        "import os, pathlib, signal, sys\n"
        "from sop_keras.files import atomic\n"
        "atomic.os.posix_fallocate = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "atomic.check_room(pathlib.Path(sys.argv[1]), 1000)\n"
    )
    path = folder / "a.keras"
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(folder.iterdir())) == 1
    write_atomically(path, "text")
    assert [one.name for one in folder.iterdir()] == ["a.keras"]


def test_folders_below_the_one_that_was_named_are_no_links(tmp_path, folder):
    named = linked(tmp_path / "named", folder)
    make_folder(named / "a" / "b", inside=named)  # the user's own link
    assert (folder / "a" / "b").is_dir()
    make_folder(named, inside=named)
    linked(folder / "report", tmp_path)
    linked(folder / "a" / "train", tmp_path / "nothing")
    for name in ("report", "report/more", "a/train"):
        text = rf"{name[:6].rstrip('/')}.* is a link to .*nothing is written through"
        with pytest.raises(LinkedFolderError, match=text):
            make_folder(folder / name, inside=folder)
        with pytest.raises(LinkedFolderError, match=text):
            check_not_linked(folder / name, inside=folder)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "named"]


def test_a_file_is_no_folder(folder):
    (folder / "a").write_text("")
    with pytest.raises(OutputError, match=r"a could not be written: File exists"):
        make_folder(folder / "a", inside=folder)
