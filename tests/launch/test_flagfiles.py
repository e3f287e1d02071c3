import re

import flagfiles
import pytest


def lines(name):
    """The flags in a flagfile of launch/flags/ that names no other."""
    text = (flagfiles.FOLDER / f"{name}.flags").read_text("utf-8")
    return [line for line in text.splitlines() if line.startswith("--")]


def test_the_default_comes_first_so_that_flags_win():
    argv, name = flagfiles.resolve(["--epochs=3"])
    assert argv == [*lines("digits"), "--epochs=3"]
    assert name == "digits"


@pytest.mark.parametrize("value", ["cifar10_sym40.flags", "cifar10_sym40"])
def test_a_name_is_found_from_any_directory(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = [*lines("cifar10_sym40"), "--seed=1"]
    assert "--noise_rate=0.4" in expected
    for arguments in (
        [f"--flagfile={value}", "--seed=1"],
        ["--flagfile", value, "--seed=1"],
        ["--seed=1", f"--flagfile={value}"],
    ):
        argv, name = flagfiles.resolve([*arguments])
        assert argv == expected
        assert name == "cifar10_sym40"


def test_a_path_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.flags").write_text("--epochs=2\n", encoding="utf-8")
    argv, name = flagfiles.resolve(["--flagfile=digits.flags"])
    assert argv == ["--epochs=2"]
    assert name == "digits"


def test_the_last_of_several_flagfiles_wins_and_gives_its_name(tmp_path):
    small = tmp_path / "small.flags"
    small.write_text("--backbone=cnn\n", encoding="utf-8")
    argv, name = flagfiles.resolve(
        ["--flagfile=digits", "--seed=1", f"--flagfile={small}"]
    )
    assert argv == [*lines("digits"), "--backbone=cnn", "--seed=1"]
    assert name == "small"


def test_lines_that_are_no_flags(tmp_path):
    path = tmp_path / "own.flags"
    path.write_bytes(
        b"# a title\r\n\r\n  --epochs=2  \r\n// old\n \n--lr=0.1#1\n--nodry"
    )
    assert flagfiles.read(path) == ["--epochs=2", "--lr=0.1#1", "--nodry"]


def test_a_nested_flagfile_stands_where_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.flags").write_text(
        "--epochs=2\n--flagfile=digits.flags\n--method=ce\n"
    )
    # Twice, and three deep: no loop.
    (tmp_path / "outer.flags").write_text(
        "--flagfile=own\n--flagfile=own.flags\n", encoding="utf-8"
    )
    (tmp_path / "own").write_text("--flagfile=own.flags\n", encoding="utf-8")
    own = ["--epochs=2", *lines("digits"), "--method=ce"]
    argv, name = flagfiles.resolve(["--flagfile=outer.flags", "--seed=3"])
    assert argv == [*own, *own, "--seed=3"]
    assert name == "outer"


def test_a_loop_is_an_error_that_shows_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for one, other in (("a", "b"), ("b", "c"), ("c", "b")):
        (tmp_path / f"{one}.flags").write_text(
            f"--flagfile={other}.flags\n", encoding="utf-8"
        )
    text = r"includes itself: a\.flags -> b\.flags -> c\.flags -> b\.flags\."
    with pytest.raises(ValueError, match=text):
        flagfiles.resolve(["--flagfile=a.flags"])


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("cifar10_sym40_ce", "Give cifar10_sym40.flags with --method=ce."),
        ("cifar10_sym40_sop_plus.flags", "Give cifar10_sym40.flags with --method=sop_"),
        ("cifar10_sim40", "Nearest: cifar10_sym40.flags, "),
        ("flags/webvison.flags", "Nearest: webvision.flags"),
        ("nope", f"nor in {flagfiles.FOLDER}, which has them all."),
        ("_ce", "which has them all."),
    ],
)
def test_an_unknown_name_says_what_it_may_stand_for(name, mend):
    with pytest.raises(ValueError, match=f"no flagfile '{name}'.*{re.escape(mend)}"):
        flagfiles.resolve([f"--flagfile={name}"])


def test_a_flagfile_needs_a_name_wherever_it_stands(tmp_path):
    with pytest.raises(ValueError, match="needs a name"):
        flagfiles.resolve(["--flagfile"])
    path = tmp_path / "own.flags"
    path.write_text("--flagfile=nope\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no flagfile 'nope'"):
        flagfiles.resolve([f"--flagfile={path}"])


@pytest.mark.parametrize(
    ("arguments", "has_default"),
    [
        ([], True),
        (["--dataset=digits"], True),
        (["--dataset", "digits"], True),
        (["--dataset=image_folder"], False),
        (["--dataset", "tfds:mnist"], False),
    ],
)
def test_the_default_is_for_the_digits(arguments, has_default):
    argv, name = flagfiles.resolve([*arguments])
    assert (name == "digits") == has_default
    assert any(one.startswith("--v_lr=") for one in argv) == has_default


def test_flags_of_other_commands_are_left_out_of_flagfiles_alone(tmp_path):
    path = tmp_path / "own.flags"
    path.write_text("--epochs=2\n--nodry\n--noise=none\n--dry=false\n", "utf-8")
    arguments = [f"--flagfile={path}", "--epochs=3"]
    found, _ = flagfiles.resolve(arguments, ignored=["epochs", "dry"])
    assert found == ["--noise=none", "--epochs=3"]
