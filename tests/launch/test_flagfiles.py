import flagfiles
import pytest


def test_the_default_comes_first_so_that_flags_win():
    argv, name = flagfiles.resolve(["train.py", "--epochs=3"])
    path = flagfiles.FOLDER / "digits.flags"
    assert argv == ["train.py", f"--flagfile={path}", "--epochs=3"]
    assert name == "digits"


@pytest.mark.parametrize("value", ["cifar10_sym40.flags", "cifar10_sym40"])
def test_a_name_is_found_from_any_directory(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = flagfiles.FOLDER / "cifar10_sym40.flags"
    expected = ["train.py", f"--flagfile={path}", "--seed=1"]
    for arguments in (
        [f"--flagfile={value}", "--seed=1"],
        ["--flagfile", value, "--seed=1"],
        ["--seed=1", f"--flagfile={value}"],
    ):
        argv, name = flagfiles.resolve(["train.py", *arguments])
        assert argv == expected
        assert name == "cifar10_sym40"


def test_a_path_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.flags").write_text("--epochs=2\n")
    argv, name = flagfiles.resolve(["train.py", "--flagfile=digits.flags"])
    assert argv == ["train.py", "--flagfile=digits.flags"]
    assert name == "digits"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no flagfile 'nope'.*cifar10_sym40\.flags"):
        flagfiles.resolve(["train.py", "--flagfile=nope"])
    with pytest.raises(ValueError, match="needs a name"):
        flagfiles.resolve(["train.py", "--flagfile"])
