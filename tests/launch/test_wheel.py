"""The wheel has all of the launchers, and its command runs anywhere."""

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel('..')"

# What pip makes of an entry point.
SCRIPT = """\
import sys
from {module} import {function}
sys.exit({function}())
"""


def files_of(folder, pattern):
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob(pattern)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked, and its command in bin/; built of a copy, not in here."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("sop_keras", "launch"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # What others have on their path under the launchers' names.
    (folder / "others").mkdir()
    for name in ("command", "terminal", "report", "audit_runs"):
        (folder / "others" / f"{name}.py").write_text("1 / 0")
    done = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Package would be ignored" not in done.stdout + done.stderr
    (wheel,) = folder.glob("sop_keras-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    (points,) = (folder / "site").glob("*.dist-info/entry_points.txt")
    config = ConfigParser()
    config.read(points)
    module, function = config["console_scripts"]["sop-keras"].split(":")
    (folder / "bin").mkdir()
    script = folder / "bin" / "sop-keras"
    script.write_text(SCRIPT.format(module=module, function=function))
    return folder


def run(installed, *words, cwd):
    paths = [str(installed / "site"), str(installed / "others")]
    return subprocess.run(
        [sys.executable, str(installed / "bin" / "sop-keras"), *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
    )


def test_what_is_in_it(installed):
    site = installed / "site"
    tops = {path.name for path in site.iterdir() if path.suffix != ".dist-info"}
    assert tops == {"sop_keras", "sop_keras_launch"}
    found = {
        path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()
    }
    launchers = files_of("launch", "*.py") | files_of("launch/flags", "*.flags")
    assert {"launch/audit.py", "launch/flags/cifar10_sym40.flags"} <= launchers
    assets = files_of("sop_keras/report/assets", "*")
    assert {Path(name).suffix for name in assets} == {".css", ".html", ".js"}
    library = files_of("sop_keras", "**/*.py") | assets | {"sop_keras/py.typed"}
    expected = {f"sop_keras_{name}" for name in launchers} | library
    assert {name for name in found if ".dist-info/" not in name} == expected


def test_its_command_is_quick_and_clear(installed, tmp_path):
    done = run(installed, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  audit           Finds wrong labels in minutes" in done.stdout
    done = run(installed, "audti", "PHOTOS", cwd=tmp_path)
    text = "error: There is no command 'audti'. Nearest: audit. `sop-keras --help` "
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{text}lists all.\n"
    # Its flagfiles are those of the wheel, from any folder.
    words = ["--table=1", "--cells=cifar10_sym40", "--methods=sop", "--seeds=1"]
    done = run(installed, "reproduce", *words, "--dry_run", cwd=tmp_path)
    program = installed / "bin" / "sop-keras"
    start = f"{program} train --flagfile=cifar10_sym40.flags --seed=0 "
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(start)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_audit(installed, tmp_path):
    # Two blots of points, far from each other; the first is under the other label.
    rng = np.random.default_rng(0)
    labels = np.repeat(["ant", "bee"], 50)
    features = rng.normal(size=(100, 4)).astype("float32")
    features[:, 0] += np.where(labels == "bee", 6, -6)
    labels[0] = "bee"
    np.save(tmp_path / "own.npy", features)
    (tmp_path / "labels.csv").write_text("\n".join(["label", *labels]) + "\n")
    done = run(installed, "audit", "own.npy", "--labels=labels.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 100 labels look wrong" in done.stdout
    path = tmp_path / "runs" / "own-audit" / "label_issues.csv"
    with path.open(newline="") as file:
        first = next(csv.DictReader(file))
    assert [first[name] for name in ("id", "given_class", "suggested_class")] == [
        *("0", "bee", "ant")
    ]
