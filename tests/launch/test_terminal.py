"""Names of somebody else's do nothing to a terminal but be read."""

import ast
import csv
import logging
from pathlib import Path

import command
import pytest
from PIL import Image
from terminal import say

from sop_keras.data.datasets.by_name import load_dataset
from sop_keras.data.images.bad_images import BadImages
from sop_keras.files.shown_text import is_hidden

ROOT = Path(__file__).resolve().parents[2]
EVIL = "\x1b[2J\x07\r\u202egnp.\u2028\x9b"
SHOWN = r"\x1b[2J\x07\r\u202egnp.\u2028\x9b"


def test_what_is_said_is_in_its_lines(capsys):
    say("one\n", EVIL, Path(EVIL))
    assert capsys.readouterr().out == f"one\n {SHOWN} {SHOWN}\n"


def test_half_of_a_pair_is_said(capsys):
    say("\udcff")
    assert capsys.readouterr().out == "\\udcff\n"


@pytest.fixture
def _messages():
    loggers = [logging.getLogger("sop_keras"), logging.getLogger("tensorflow")]
    before = [(one.handlers[:], one.filters[:], one.level) for one in loggers]
    propagate = loggers[0].propagate
    yield
    for one, state in zip(loggers, before, strict=True):
        one.handlers, one.filters, one.level = state
    loggers[0].propagate = propagate


@pytest.mark.usefixtures("_messages")
def test_the_librarys_messages(capsys):
    command.show_messages()
    logging.getLogger("sop_keras.data").warning("Left out: %s", EVIL)
    assert capsys.readouterr().out == f"Left out: {SHOWN}\n"


@pytest.mark.parametrize("kind", [ValueError, OSError, ImportError])
def test_errors(kind, capsys):
    def fail(line):
        raise kind(f"There is no {EVIL}.")

    with pytest.raises(SystemExit):
        command.run(fail, command.new_flags(), "Text.", [])
    assert capsys.readouterr().err == f"error: There is no {SHOWN}.\n"


def test_names_of_images_and_reasons(tmp_path):
    name = f"a\nb{EVIL.replace('/', '')}.png"
    folder = tmp_path / "train" / "class"
    folder.mkdir(parents=True)
    (tmp_path / "train" / "other").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "other" / "a.png")
    (folder / name).write_bytes(b"no image")
    images = load_dataset("image_folder", data_dir=str(tmp_path)).train.images
    shown = [images.name(place) for place in range(len(images))]
    assert str(folder / rf"a\nb{SHOWN}.png") in shown
    bad = BadImages(tmp_path / "bad_images.csv", 1.0)
    bad.report("train", 1, str(folder / name), f"bad: {EVIL}", 3)
    with (tmp_path / "bad_images.csv").open(newline="") as file:
        _, row = csv.reader(file)
    assert row == ["train", "1", str(folder / rf"a\nb{SHOWN}.png"), f"bad: {SHOWN}"]


def test_the_page_of_a_report():
    from sop_keras.report.headline import Statistic
    from sop_keras.report.page import First, Page, Plot, render

    html = render(
        Page(
            title=EVIL,
            summary=EVIL,
            warnings=[EVIL],
            statistics=[Statistic(EVIL, EVIL, EVIL)],
            settings={EVIL: EVIL},
            plots=[Plot("name", EVIL, b"", b"")],
            changes=[(0, 0, 1)],
            class_names=[EVIL],
            first=First(
                [
                    {
                        "id": 1,
                        "file": EVIL,
                        "problem": EVIL,
                        "isIssue": True,
                        "reason": EVIL,
                    }
                ],
                {},
                [],
                250,
                "0f",
            ),
            folder="report",
        )
    )
    assert [one for one in html if is_hidden(one) and one not in "\n\t"] == []
    assert r"\u202egnp" in html
    # In the script's JSON, too, what the page will show is escaped once more.
    assert html.count(r"\\u202egnp") == 4
    assert r'"\u001b' not in html


def test_commands_say_all_through_one_function():
    found = []
    for folder in ("launch", "sop_keras"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                is_print = (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id == "print"
                )
                is_write = isinstance(node, ast.Attribute) and (
                    ast.unparse(node) in ("sys.stdout.write", "sys.stderr.write")
                )
                if (is_print or is_write) and path.name != "terminal.py":
                    found.append(f"{path}:{node.lineno}")
    assert found == []
