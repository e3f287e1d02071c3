"""Checkpoints that are damaged, or that somebody has made to do damage."""

import hashlib
import io
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from small_checkpoints import FILES, NAMES, kernel_value, names, network, progress

from sop_keras.files.atomic import OutputError
from sop_keras.training.checkpoint import Checkpoints

STATE = {"seed": 5, "epoch": 2, "step": 0, "seconds": 0.0, "history": []}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sign(folder):
    """Write the sums of what is there, as somebody can who changes it."""
    order = ("metrics.npz", "model.weights.h5", "state.json")
    text = "".join(f"{sha256(folder / name)}  {name}\n" for name in order)
    (folder / "SHA256SUMS").write_text(text)


def of_an_earlier_version(folder):
    """Make of a checkpoint what earlier versions wrote: no sum of the state."""
    (folder / "SHA256SUMS").unlink()
    state = json.loads((folder / "state.json").read_text())
    parts = ("model.weights.h5", "metrics.npz")
    state["sha256"] = {name: sha256(folder / name) for name in parts}
    (folder / "state.json").write_text(json.dumps(state))


def test_the_sums_are_those_of_sha256sum(checkpoints):
    before = (checkpoints.folder / NAMES[2] / "SHA256SUMS").read_bytes()
    sign(checkpoints.folder / NAMES[2])
    assert (checkpoints.folder / NAMES[2] / "SHA256SUMS").read_bytes() == before


def test_one_of_an_earlier_version_is_read(checkpoints):
    of_an_earlier_version(checkpoints.folder / NAMES[2])
    model = network(0)
    assert checkpoints.restore(model) == progress(2)
    assert kernel_value(model) == 3


@pytest.mark.parametrize("part", ["model.weights.h5", "metrics.npz"])
def test_damage_to_one_of_an_earlier_version_is_found(checkpoints, part):
    of_an_earlier_version(checkpoints.folder / NAMES[2])
    path = checkpoints.folder / NAMES[2] / part
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert checkpoints.restore(network(0)) == progress(1, 7)


def test_without_its_sums_a_new_one_is_not_taken_for_an_old_one(checkpoints):
    (checkpoints.folder / NAMES[2] / "SHA256SUMS").unlink()
    assert checkpoints.restore(network(0)) == progress(1, 7)


@pytest.mark.parametrize("earlier", [True, False])
def test_one_under_the_name_of_another_place_is_left_out(checkpoints, earlier):
    last = checkpoints.folder / NAMES[2]
    if earlier:
        of_an_earlier_version(last)
    last.rename(checkpoints.folder / "epoch-00002-step-000001")
    model = network(0)
    assert checkpoints.restore(model) == progress(1, 7)
    assert kernel_value(model) == 2


@pytest.mark.parametrize(
    "content",
    [
        "null",
        "[]",
        "[" * 200_000,
        "\x1b",
        *(
            json.dumps({**STATE, name: value})
            for name, value in (
                ("epoch", None),
                ("epoch", "2"),
                ("epoch", 2.0),
                ("step", False),
                ("step", [0]),
                ("seed", {}),
                ("seconds", "long"),
                ("history", None),
                ("history", [[1]]),
                ("history", [{"epoch": "1"}]),
                ("more", 1),
                ("sha256", {}),
            )
        ),
        json.dumps({"epoch": 2}),
    ],
    ids=lambda content: content[:80],
)
def test_a_state_that_no_training_has_falls_back(checkpoints, content):
    last = checkpoints.folder / NAMES[2]
    (last / "state.json").write_text(content)
    sign(last)
    assert checkpoints.restore(network(0)) == progress(1, 7)


def test_weights_that_are_none_fall_back(checkpoints):
    last = checkpoints.folder / NAMES[2]
    whole = (last / "model.weights.h5").read_bytes()
    for content in (b"", b"no HDF5", whole[:3000]):
        (last / "model.weights.h5").write_bytes(content)
        sign(last)
        model = network(0)
        assert checkpoints.restore(model) == progress(1, 7)
        assert kernel_value(model) == 2


@pytest.mark.parametrize(
    ("shape", "kind"), [((1 << 45,), zipfile.ZIP_STORED), ((4,), zipfile.ZIP_DEFLATED)]
)
def test_metrics_of_more_numbers_than_bytes_fall_back(checkpoints, shape, kind):
    last = checkpoints.folder / NAMES[2]
    header = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    with zipfile.ZipFile(last / "metrics.npz", "w", kind) as archive:
        archive.writestr("arr_0.npy", header.getvalue() + bytes(16))
    sign(last)
    assert checkpoints.restore(network(0)) == progress(1, 7)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a device", "dead link"])
@pytest.mark.parametrize("part", FILES)
def test_what_is_no_file_falls_back(checkpoints, part, kind):
    path = checkpoints.folder / NAMES[2] / part
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "link to a device" else "/no/file")
    assert checkpoints.restore(network(0)) == progress(1, 7)
    checkpoints.save(network(4), progress(3))
    assert names(checkpoints) == [NAMES[1], "epoch-00003-step-000000"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_falls_back_and_makes_room(checkpoints, tmp_path, kind):
    path, mine = checkpoints.folder / NAMES[2], tmp_path / "mine"
    shutil.rmtree(path)
    mine.mkdir()
    (mine / "state.json").write_text("mine")
    if kind == "file":
        path.write_text("")
    else:
        path.symlink_to(mine)
    assert checkpoints.restore(network(0)) == progress(1, 7)
    checkpoints.save(network(4), progress(2))
    model = network(0)
    assert checkpoints.restore(model) == progress(2)
    assert kernel_value(model) == 4
    assert names(checkpoints) == NAMES[1:]
    assert (mine / "state.json").read_text() == "mine"


def test_checkpoints_are_not_written_through_a_link(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "checkpoints").symlink_to(tmp_path / "mine")
    with pytest.raises(OutputError, match=r"checkpoints is a link to '.*mine'"):
        Checkpoints(tmp_path / "checkpoints").save(network(1), progress(1))
    assert list((tmp_path / "mine").iterdir()) == []
