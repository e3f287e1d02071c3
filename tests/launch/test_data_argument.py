"""`audit.py DATA` is what flags would say."""

import audit
import audit_runs
import command
import data_argument
import pytest


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("t.csv", "T.PARQUET", "f.npy", "f.npz", "f.parquet", "a.jpg"):
        (tmp_path / name).touch()


@pytest.mark.parametrize(
    ("data", "has_labels", "flags"),
    [
        ("photos", False, {"dataset": "image_folder", "data_dir": "photos"}),
        ("t.csv", False, {"dataset": "manifest", "manifest": "t.csv"}),
        ("T.PARQUET", False, {"dataset": "manifest", "manifest": "T.PARQUET"}),
        ("f.parquet", True, {"features": "f.parquet"}),
        ("f.npy", True, {"features": "f.npy"}),
        ("f.npz", False, {"features": "f.npz"}),
    ],
)
def test_what_it_stands_for(data, has_labels, flags):
    assert data_argument.flags_for(data, has_labels) == flags


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ("nowhere", FileNotFoundError, "There is no nowhere. DATA is a folder"),
        ("a.jpg", ValueError, r"a.jpg is nothing .* a table of paths and labels"),
    ],
)
def test_what_it_cannot_stand_for(data, error, text):
    with pytest.raises(error, match=text):
        data_argument.flags_for(data)


def parsed(*words):
    line = command.parse(audit.define_flags(), words, num_arguments=1)
    data_argument.set_flags(line)
    return line.flags


def test_the_flags_are_set():
    values = parsed("--num_examples", "7", "photos")
    assert (values.dataset, values.data_dir) == ("image_folder", "photos")
    assert values.num_examples == 7
    assert not values["dataset"].using_default_value
    # A table may have its images elsewhere.
    values = parsed("t.csv", "--data_dir=photos")
    assert (values.manifest, values.data_dir) == ("t.csv", "photos")
    values = parsed("f.parquet", "--labels=t.csv")
    assert (values.features, values.manifest) == ("f.parquet", None)


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (["my photos"], "runs/my_photos-audit"),
        (["my photos/"], "runs/my_photos-audit"),
        (["."], "runs/here_2-audit"),
        (["a.v1.csv"], "runs/a_v1-audit"),
        (["my photos", "--output_dir=out"], "out"),
        (["--dataset=image_folder", "--data_dir=my photos"], "runs/image_folder-audit"),
    ],
)
def test_where_the_results_go(words, folder, tmp_path, monkeypatch):
    (tmp_path / "here.2" / "my photos").mkdir(parents=True)
    (tmp_path / "here.2" / "a.v1.csv").touch()
    monkeypatch.chdir(tmp_path / "here.2")
    got = []
    monkeypatch.setattr(
        audit_runs, "audit_images", lambda values, folder, *rest: got.append(folder)
    )
    audit.main(words)
    assert list(map(str, got)) == [folder]


def test_it_wins_over_a_flagfile(tmp_path):
    (tmp_path / "own.flags").write_text("--dataset=cifar10\n--data_dir=DATA\n")
    values = parsed("--flagfile=own.flags", "photos")
    assert (values.dataset, values.data_dir) == ("image_folder", "photos")


@pytest.mark.parametrize(
    ("words", "twice"),
    [
        (["photos", "--dataset=cifar10"], "--dataset"),
        (["photos", "--data_dir", "x"], "--data_dir"),
        (["photos", "--features=f.npy"], "--features"),
        (["f.npy", "--dataset=cifar10"], "--dataset"),
        (["t.csv", "--manifest=t.csv"], "--manifest"),
    ],
)
def test_what_is_said_twice(words, twice):
    with pytest.raises(ValueError, match=f"is short for --.* or {twice}\\.$"):
        parsed(*words)
