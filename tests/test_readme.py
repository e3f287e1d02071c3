"""Every code block of README.md is executed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = os.environ.get("SOP_KERAS_DATA")
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.M | re.S)


def blocks(language):
    return [code for name, code in BLOCKS if name == language]


def run(command, cwd=ROOT, **options):
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make(target, tmp_path, *arguments):
    """Make's own recipe, in the environment that the tests run in."""
    ready = tmp_path / "ready"
    ready.touch()
    overrides = [f"READY={ready}", f"BIN={Path(sys.executable).parent}"]
    # Not the flags of the make that may have started this suite.
    env = {key: value for key, value in os.environ.items() if "MAKE" not in key}
    env.pop("MFLAGS", None)
    command = ["make", "--no-print-directory", target, *overrides, *arguments]
    return run(command, env=env)


def test_the_blocks_are_those_that_are_tested_below():
    assert {name for name, _ in BLOCKS} == {"sh", "python", "text"}
    assert blocks("sh")[:2] == ["make train\n", "make test\n"]
    assert len(blocks("sh")) == 4


def test_it_opens_with_the_two_commands():
    opening = README.split("## ")[0]
    assert re.findall(r"^make \w+$", opening, flags=re.M) == ["make train", "make test"]


def test_what_it_links_to_exists():
    links = re.findall(r"\]\((?!https?://)([^)]+)\)", README)
    assert "docs/figure1.png" in links
    for link in links:
        assert (ROOT / link).is_file(), link


def test_no_document_has_a_gap_to_fill():
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert not re.findall(r"@[A-Z]+@|TODO", path.read_text()), path


@pytest.mark.slow
def test_make_train(tmp_path):
    output = f"FLAGS=--epochs=1 --output_dir={tmp_path / 'run'}"
    assert "AUROC of ranking the wrong labels" in make("train", tmp_path, output)


def test_make_test_runs_the_whole_suite(tmp_path):
    # Run dry: this is the suite that it would run.
    recipe = make("test", tmp_path, "--dry-run").strip()
    assert "-m pytest --numprocesses=2 --dist=loadfile" in recipe
    assert '-m "not slow"' not in recipe


@pytest.mark.slow
def test_the_python_blocks_in_one_go(tmp_path):
    code = "\n".join(blocks("python"))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = run([sys.executable, "-c", code], cwd=tmp_path, env=env)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"clean.keras", "label_issues.csv", "logs"}
    # What it claims: the worst labels are really wrong.
    share = re.search(r"(\d+)% of the 100 worst are really wrong", out)
    assert int(share[1]) >= 90
    # The last fit is that of SOP+: 40% of the labels are noise, and not learnt.
    accuracies = re.findall(r"val_accuracy: ([\d.]+)", out)
    assert float(accuracies[-1]) >= 0.85
    assert "consistency_loss" in out


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="SOP_KERAS_DATA is unset: no CIFAR-10")
def test_the_commands_on_cifar10(tmp_path):
    experiment, download = blocks("sh")[2:]
    run([sys.executable, *shlex.split(download.replace("DATA", f"{DATA}/tfds"))[1:]])
    command = shlex.split(experiment.replace("DATA", f"{DATA}/tfds"))
    small = ["--backbone=cnn", "--epochs=1", "--max_train_examples=256"]
    small.append(f"--output_dir={tmp_path / 'run'}")
    assert "AUROC" in run([sys.executable, *command[1:], *small])
