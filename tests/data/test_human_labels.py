import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from published_labels import (
    DATA,
    NUM_WRONG,
    NUM_WRONG_100,
    labels_of_10,
    labels_of_100,
    made_labels,
    needs_real_labels,
    write_file,
    write_pt,
)

from sop_keras.data.datasets.human_labels import CIFAR10N, CIFAR100N, load_human_labels


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "own.npz"
    np.savez(path, **labels_of_10())
    return path


def test_label_sets_are_the_entries_of_their_rates(npz):
    labels = load_human_labels(CIFAR10N, human_labels=npz)
    counts = {
        name: np.count_nonzero(array != np.arange(50_000) % 10)
        for name, array in labels.items()
    }
    assert counts == {
        "clean": 0,
        "aggregate": 4505,
        "random1": 8617,
        "random2": 9061,
        "random3": 8820,
        "worst": 20104,
    }
    assert {array.dtype for array in labels.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("old_names", [False, True])
def test_a_published_pt(tmp_path, old_names):
    path = tmp_path / "mine.pt"
    write_pt(path, labels_of_10(), old_names=old_names)
    labels = load_human_labels(CIFAR10N, human_labels=path)
    np.testing.assert_array_equal(labels["clean"], np.arange(50_000) % 10)
    worst = (np.arange(50_000) + (np.arange(50_000) < 20104)) % 10
    np.testing.assert_array_equal(labels["worst"], worst)


def test_cifar100n(tmp_path):
    write_pt(tmp_path / "CIFAR-100_human.pt", labels_of_100())
    labels = load_human_labels(CIFAR100N, human_labels=tmp_path)
    assert sorted(labels) == ["clean", "noisy"]
    noisy = (np.arange(50_000) + (np.arange(50_000) < 20100)) % 100
    np.testing.assert_array_equal(labels["noisy"], noisy)


PLACES = ["cifar10n.npz", "CIFAR-10_human.pt", "cifar_n/cifar10n.npz"]
PLACES += ["cifar_n/CIFAR-10_human.pt", "data/cifar10n.npz", "data/CIFAR-10_human.pt"]


@pytest.mark.parametrize("place", PLACES)
def test_places_in_a_folder(tmp_path, place):
    write_file(tmp_path / "around" / place, labels_of_10())
    in_it = load_human_labels(CIFAR10N, human_labels=tmp_path / "around")
    around = load_human_labels(CIFAR10N, tmp_path / "around")
    below = load_human_labels(CIFAR10N, tmp_path / "around" / "tfds")
    for labels in (in_it, around, below):
        assert np.count_nonzero(labels["worst"] != labels["clean"]) == 20104
    with pytest.raises(FileNotFoundError):
        load_human_labels(CIFAR10N, tmp_path / "around" / "tfds" / "deeper")


def test_the_folder_itself_goes_before_its_parent(tmp_path):
    write_file(tmp_path / "cifar10n.npz", {"not": np.zeros(3)})
    write_file(tmp_path / "tfds" / "data" / "CIFAR-10_human.pt", labels_of_10())
    labels = load_human_labels(CIFAR10N, tmp_path / "tfds")
    assert np.count_nonzero(labels["aggregate"] != labels["clean"]) == 4505


def test_the_folder_of_tfds_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path))
    write_file(tmp_path / "cifar10n.npz", labels_of_10())
    labels = load_human_labels(CIFAR10N)
    assert np.count_nonzero(labels["random2"] != labels["clean"]) == 9061


def test_nothing_is_found(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_human_labels(CIFAR10N, tmp_path / "tfds")
    lines = str(error.value).split("\n")
    assert lines[0] == "There are no human labels of CIFAR-10N. Looked for:"
    folders = (tmp_path / "tfds", tmp_path)
    assert lines[1:13] == [
        f"  {folder}/{place}" for folder in folders for place in PLACES
    ]
    assert lines[13] == f"  {tmp_path}/tfds/cifar10_n/1.0.4 (prepared by TFDS)"
    assert "CIFAR-10_human.pt in the folder `data` of the GitHub" in lines[14]
    assert "UCSC-REAL/cifar-10-100n (licence CC BY-NC 4.0" in lines[14]
    assert len(lines) == 15


def test_a_given_place_without_labels(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_human_labels(CIFAR100N, human_labels=tmp_path / "none.npz")
    assert f"Looked for:\n  {tmp_path}/none.npz\nThe published" in str(error.value)
    with pytest.raises(FileNotFoundError) as error:
        load_human_labels(CIFAR100N, human_labels=tmp_path)
    assert f"\n  {tmp_path}/cifar_n/CIFAR-100_human.pt\n" in str(error.value)
    assert len(str(error.value).split("\n")) == 8


def refused(path, text, published=CIFAR10N):
    with pytest.raises(ValueError, match=text) as error:
        load_human_labels(published, human_labels=path)
    assert str(error.value).startswith(f"{path} ")
    assert "UCSC-REAL/cifar-10-100n" in str(error.value)


def test_another_kind_of_file(tmp_path):
    path = tmp_path / "CIFAR-10_human.npy"
    np.save(path, np.zeros(3))
    refused(path, r"must be a \.npz or a \.pt file.*CIFAR-10_human\.npy")


@pytest.mark.parametrize("name", ["labels.pt", "labels.npz"])
@pytest.mark.parametrize(
    "content",
    [
        # What torch.save began its files with before they were zip archives.
        pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2),
        b"<!DOCTYPE html>\n<html>",
        b"",
    ],
    ids=["old torch", "web page", "empty"],
)
def test_a_file_that_is_no_archive(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, r"whole zip archive.*before torch 1\.6.*begins with b'")


def test_a_pt_that_runs_code(tmp_path):
    class Bad:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    write_pt(tmp_path / "bad.pt", {**labels_of_10(), "worse_label": Bad()})
    refused(tmp_path / "bad.pt", r"asks for 'posix\.mkdir'")
    assert not (tmp_path / "made").exists()


def test_an_npz_with_a_pickle(tmp_path):
    path = tmp_path / "objects.npz"
    np.savez(path, **labels_of_10(worse_label=np.array([{}, None])))
    refused(path, "Object arrays cannot be loaded")


@pytest.mark.parametrize("name", ["bomb.pt", "bomb.npz"])
def test_an_archive_that_unpacks_to_too_much(tmp_path, name):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**25 + 1))
    assert path.stat().st_size < 50_000
    refused(path, "unpack to at most 33554432 bytes.*Received: 33554433 bytes")


def test_a_pt_without_a_pickle(tmp_path):
    path = tmp_path / "none.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/version", "3\n")
    refused(path, r"one member \*/data\.pkl.*Received: archive/version\.")


@pytest.mark.parametrize("name", ["spoilt.pt", "spoilt.npz"])
def test_spoilt_bytes(tmp_path, name):
    path = tmp_path / name
    write_file(path, labels_of_10())
    data = bytearray(path.read_bytes())
    # Inside of the first entry: of its 400,000 bytes these are not among the last.
    data[100_000] ^= 0xFF
    path.write_bytes(data)
    refused(path, "whole zip archive.*Bad CRC-32")
    path.write_bytes(data[:300_000])
    refused(path, "whole zip archive.*not a zip file")


def test_an_archive_under_a_password(tmp_path):
    path = tmp_path / "locked.pt"
    write_file(path, labels_of_10())
    data = bytearray(path.read_bytes())
    # The first bit of a member's flags: at 6 of its head and at 8 of its directory.
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refused(path, "password required")


@pytest.mark.parametrize("name", ["other.pt", "other.npz"])
def test_labels_of_the_other_data_set(tmp_path, name):
    write_file(tmp_path / name, labels_of_100())
    refused(
        tmp_path / name,
        "must have the entries clean_label, aggre_label, random_label1, random_label2, "
        r"random_label3, worse_label\. Received: clean_label, noisy_label\.",
    )


def test_a_member_that_is_no_array(tmp_path):
    path = tmp_path / "text.npz"
    content = labels_of_10()
    del content["worse_label"]
    np.savez(path, **content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("worse_label", b"0 1 2")
    refused(path, r"`worst` must be integers of shape \(50000,\).*S5 of shape \(\)")


def with_first(entry, value):
    array = labels_of_10()[entry]
    array[0] = value
    return {entry: array}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"worse_label": labels_of_10()["worse_label"][:-1]},
            r"`worst` must be integers of shape \(50000,\).*int64 of shape \(49999,\)",
        ),
        (
            {"aggre_label": labels_of_10()["aggre_label"].astype(float)},
            "`aggregate` must be integers.*Received: float64",
        ),
        (with_first("random_label2", 10), "`random2` must be from 0 to 9.*: 0 to 10"),
        (with_first("clean_label", -1), "`clean` must be from 0 to 9.*: -1 to 9"),
        (
            {
                "worse_label": labels_of_10()["aggre_label"],
                "aggre_label": labels_of_10()["worse_label"],
            },
            r"`aggregate` must be wrong in 9\.010%. Received: 40\.208%",
        ),
        # Labels i of images i + 1: all of them wrong where classes come in turn,
        # but for the 20,104 first, which were one class too far.
        (
            {"worse_label": np.roll(labels_of_10()["worse_label"], 1)},
            r"`worst` must be wrong in 40\.208%. Received: 59\.792%",
        ),
    ],
)
def test_labels_that_are_not_the_published_ones(tmp_path, changes, text):
    path = tmp_path / "other.npz"
    np.savez(path, **labels_of_10(**changes))
    refused(path, f"not the published CIFAR-10N: its labels {text}")


@pytest.mark.parametrize("entry", NUM_WRONG)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_rate_may_be_off_by_two_labels(tmp_path, entry, sign):
    # A label is 0.002%; the published rates are exact to 0.005%.
    write = labels_of_10()
    for extra, fits in ((2, True), (3, False)):
        wrong = {**NUM_WRONG, entry: NUM_WRONG[entry] + sign * extra}
        write[entry] = made_labels(wrong, 10)[entry]
        path = tmp_path / f"{extra}.npz"
        np.savez(path, **write)
        if fits:
            load_human_labels(CIFAR10N, human_labels=path)
        else:
            percent = f"{(NUM_WRONG[entry] + sign * extra) / 500:.3f}"
            refused(path, rf"must be wrong in .*Received: {percent}%")


@needs_real_labels
@pytest.mark.parametrize(
    ("published", "name", "num_wrong"),
    [(CIFAR10N, "cifar10n", NUM_WRONG), (CIFAR100N, "cifar100n", NUM_WRONG_100)],
)
def test_the_real_labels(tmp_path, published, name, num_wrong):
    folder = Path(DATA) / "cifar_n"
    arrays = dict(np.load(folder / f"{name}.npz"))
    labels = load_human_labels(published, human_labels=folder)
    np.testing.assert_array_equal(labels["clean"], arrays["clean_label"])
    # Each class has as many images as any other.
    k = published.num_classes
    assert np.bincount(labels["clean"]).tolist() == [50_000 // k] * k
    for label_set, known in published.label_sets.items():
        np.testing.assert_array_equal(labels[label_set], arrays[known.entry])
        num_found = np.count_nonzero(labels[label_set] != labels["clean"])
        assert num_found == num_wrong[known.entry]
    write_pt(tmp_path / published.pt_name, arrays)
    from_pt = load_human_labels(published, human_labels=tmp_path)
    for label_set, array in labels.items():
        np.testing.assert_array_equal(from_pt[label_set], array)
