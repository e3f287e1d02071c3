"""Every code block of README.md is executed, and those of the pages it grew out of."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = os.environ.get("SOP_KERAS_DATA")
README = (ROOT / "README.md").read_text("utf-8")
KERAS = (ROOT / "docs" / "keras.md").read_text("utf-8")
LAUNCHER = (ROOT / "docs" / "launcher.md").read_text("utf-8")


def all_blocks(page):
    return re.findall(r"^```(\w*)\n(.*?)^```$", page, flags=re.M | re.S)


def blocks(language, page=README):
    return [code for name, code in all_blocks(page) if name == language]


def run(command, cwd=ROOT, **options):
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False, cwd=cwd, **options
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
    assert {name for name, _ in all_blocks(README)} == {"sh", "python"}
    assert blocks("sh")[:2] == ["make train\n", "make test\n"]
    assert len(blocks("sh")) == 3
    assert {name for name, _ in all_blocks(KERAS)} == {"python"}
    assert {name for name, _ in all_blocks(LAUNCHER)} == {"sh", "text"}
    assert len(blocks("sh", LAUNCHER)) == 1


def test_it_is_short():
    assert len(README.splitlines()) <= 145


def test_it_opens_with_the_two_commands():
    opening = README.split("## ")[0]
    assert re.findall(r"^make \w+$", opening, flags=re.M) == ["make train", "make test"]


def test_what_it_links_to_exists():
    assert "](docs/figure1.png)" in README
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text("utf-8")
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (page.parent / link).is_file(), (page.name, link)


def test_it_leads_to_every_page():
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in README, page.name


def test_no_document_has_a_gap_to_fill():
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert not re.findall(r"@[A-Z]+@|TODO", path.read_text("utf-8")), path


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
    # One process, but nothing that one page defines is there for the other.
    pages = ["\n".join(blocks("python", page)) for page in (README, KERAS)]
    code = f"for code in {pages!r}:\n    exec(code, {{}})\n    print('= next page =')"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = run([sys.executable, "-c", code], cwd=tmp_path, env=env)
    written = {path.name for path in tmp_path.iterdir()}
    networks = {"average.keras", "both.keras", "clean.keras", "m.keras"}
    assert written == {*networks, "label_issues.csv", "logs", "run"}
    assert (tmp_path / "run" / "report.html").is_file()
    of_readme, of_keras, _ = out.split("= next page =")
    # What it claims: the worst labels are really wrong.
    share = re.search(r"(\d+)% of the 100 worst are really wrong", of_readme)
    assert int(share[1]) >= 90
    # 40% of the labels are noise, and not learnt, by SOP and by SOP+.
    accuracies = re.findall(r"val_accuracy: ([\d.]+)", of_readme)
    assert float(accuracies[-1]) >= 0.85
    accuracies = re.findall(r"val_accuracy: ([\d.]+)", of_keras)
    assert float(accuracies[-1]) >= 0.85
    assert "consistency_loss" in of_keras
    # Two networks in turn do not learn them either, and DivideMix finds them: of what
    # it takes for wrong, as many as 36% would be by chance.
    assert float(re.search(r"ELR\+: ([\d.]+)", of_keras)[1]) >= 0.8
    found = re.search(r"DivideMix: (\d+)% of its issues are really wrong", of_keras)
    assert int(found[1]) >= 80
    # 40% of the labels that it is scored by are redrawn: 0.64 of them are right.
    found = re.search(r"cross_val_score: ([\d.]+) (.*)", of_keras)
    assert 0.35 <= float(found[1]) <= 0.7
    assert found[2] == "{'model_kwargs': {'learning_rate': 0.1}}"
    # What the comment beside it says.
    rates = re.search(r"^print\(rates\)  # (.*)$", KERAS, flags=re.M)
    assert f"{rates[1]}\n" in of_keras


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="SOP_KERAS_DATA is unset: no CIFAR-10")
def test_the_commands_on_cifar10(tmp_path):
    (download,) = blocks("sh", LAUNCHER)
    *trainings, report = blocks("sh")[2].splitlines()
    small = ["--backbone=mlp", "--epochs=1", "--max_train_examples=256"]
    commands = [[*shlex.split(command), *small] for command in trainings]
    # In one process, which loads TensorFlow once.
    lines = ["import runpy, sys", shlex.split(download)[2]]
    for words in (*commands, shlex.split(report)):
        assert words[0] == "python"
        lines.append(f"sys.argv = {words[1:]}")
        lines.append(f"runpy.run_path({str(ROOT / words[1])!r}, run_name='__main__')")
    code = "\n".join(lines).replace("DATA", f"{DATA}/tfds")
    path = os.pathsep.join([str(ROOT), str(ROOT / "launch")])
    env = {**os.environ, "PYTHONPATH": path}
    out = run([sys.executable, "-c", code], cwd=tmp_path, env=env)
    assert out.count("AUROC of ranking the wrong labels first") == 2
    folder = tmp_path / "runs" / "cifar10_sym40-seed0"
    assert (folder / "sop" / "report.html").is_file()
    assert (folder / "ce" / "result.json").is_file()
