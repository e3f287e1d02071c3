"""Pictures of somebody else's run: none of the reader's own files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from untrained_runs import FILES, write_run

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.data.datasets.dataset import Examples
from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.report.write import write_report
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import load_data
from sop_keras.training.picture_folder import is_inside, needed_folder
from sop_keras.training.saved_run import recorded_files, run_settings

SECRET = (255, 1, 2)


def pictures(page):
    """How many pictures the gallery of a page has, and how many it leaves out."""
    text = page.read_text("utf-8")
    return text.count('"image":"data:'), text.count('"problem":')


@pytest.fixture
def secret(tmp_path):
    """A picture of the reader's, outside of the data that came with a run."""
    path = tmp_path / "home" / "secret.png"
    path.parent.mkdir()
    Image.new("RGB", (8, 8), SECRET).save(path)
    return path


def name_instead(folder, last):
    """Have the run's list, and what the run says of it, name another last file."""
    table = folder.parent / "images" / "list.csv"
    table.write_text(table.read_text("utf-8").replace(FILES[-2], str(last)), "utf-8")
    # As somebody does who makes a run to this end.
    data = load_data(
        Experiment.from_settings(run_settings(folder)), recorded_files(folder)
    )
    there = json.loads((folder / "data.json").read_text())
    there |= data.description()
    (folder / "data.json").write_text(json.dumps(there))


@pytest.mark.parametrize("way", ["absolute", "dots", "link"])
def test_a_picture_from_elsewhere_is_left_out_and_the_page_says_so(
    tmp_path, secret, way, caplog
):
    folder = write_run(tmp_path / "run")
    name = {"absolute": secret, "dots": "../home/secret.png", "link": "link.png"}[way]
    (tmp_path / "images" / "link.png").symlink_to(secret)
    name_instead(folder, name)
    page = write_report(folder)
    assert pictures(page) == (4, 1)
    text = page.read_text("utf-8")
    said = (
        rf"1 of the 5 pictures are left out: their files are not in {tmp_path}/images"
    )
    assert re.search(rf'class="warning" role="note">{said}', text)
    assert "--picture_folder=FOLDER" in text
    assert re.search(said, caplog.text)
    # Whoever trusts the list may say so.
    assert pictures(write_report(folder, picture_folder=tmp_path)) == (5, 0)


def test_a_folder_that_the_run_recorded_is_not_trusted(tmp_path, secret):
    folder = write_run(tmp_path / "run")
    table = tmp_path / "images" / "list.csv"
    for name in FILES:
        (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(tmp_path / "images" / name).save(tmp_path / "home" / name)
    there = json.loads((folder / "data.json").read_text())
    there["files"]["data_dir"] = str(tmp_path / "home")
    (folder / "data.json").write_text(json.dumps(there))
    assert pictures(write_report(folder)) == (0, 5)
    files = DataFiles(manifest=str(table), data_dir=str(tmp_path / "home"))
    page = write_report(folder, files, picture_folder=tmp_path / "home")
    assert pictures(page) == (5, 0)


def test_a_data_set_behind_a_link_is_its_own_folder(tmp_path):
    folder = write_run(tmp_path / "run")
    (tmp_path / "images").rename(tmp_path / "disk")
    (tmp_path / "images").symlink_to(tmp_path / "disk")
    assert pictures(write_report(folder)) == (5, 0)


def test_inside(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "ab").mkdir()
    (tmp_path / "a" / "out").symlink_to(tmp_path / "ab")
    for path, expected in (
        ("a/x", True),
        ("a/b/../x", True),
        ("a", True),
        ("ab/x", False),
        ("a/../ab", False),
        ("a/out/x", False),
        ("a/out", False),
    ):
        assert is_inside(tmp_path / path, tmp_path / "a") is expected
        assert is_inside(str(tmp_path / path).encode(), tmp_path / "a") is expected
    assert is_inside("/x", Path("/"))


@pytest.mark.parametrize(
    ("names", "data_dir", "expected"),
    [
        (["a.png", "b/c.png"], None, None),
        (["a.png", "b/../c.png"], None, None),
        (["/lists/a.png", "/lists/d/a.png"], None, None),
        (["/data/a/1.png", "/data/b/1.png"], None, "/data"),
        (["../x/1.png", "../y/1.png"], None, "/"),
        (["1.png"], "/photos", "/photos"),
        (["1.png"], "/lists/photos", None),
    ],
)
def test_what_a_report_of_ones_own_run_needs_to_be_told(names, data_dir, expected):
    files = DataFiles(manifest="/lists/list.csv", data_dir=data_dir)
    encoded = np.array([name.encode() for name in names])
    images = ImageFiles(data_dir or "/lists", encoded, 8, 8)
    n = len(names)
    examples = Examples(np.arange(n), images, np.zeros(n, np.int64))
    needed = needed_folder(examples, files)
    assert needed == (None if expected is None else Path(expected))
    # Of other data sets, and of arrays, the report knows.
    assert needed_folder(examples, DataFiles()) is None
    pixels = np.zeros((n, 8, 8, 1), np.uint8)
    arrays = Examples(np.arange(n), pixels, np.zeros(n, np.int64))
    assert needed_folder(arrays, files) is None
