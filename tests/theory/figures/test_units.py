import json
import os

import numpy as np
import pytest

from sop_keras.theory.figures.units import Unit, run_units, write_arrays

SETTINGS = {"sizes": (1, 2), "trials": 3}


@pytest.fixture
def counted():
    """Units that note in a list that they were computed."""
    calls = []

    def square(number):
        calls.append(number)
        return {"square": np.array([number**2]), "text": np.array(["ECOS", ""])}

    return calls, [Unit(f"part{i}", square, (i,)) for i in range(4)]


def squares(results):
    return {name: arrays["square"].tolist() for name, arrays in results.items()}


ALL = {"part0": [0], "part1": [1], "part2": [4], "part3": [9]}


def test_every_unit_is_computed_once_and_read_again(counted, tmp_path):
    calls, units = counted
    assert squares(run_units(units, tmp_path, SETTINGS)) == ALL
    assert calls == [0, 1, 2, 3]
    again = run_units(units, tmp_path, SETTINGS)
    assert squares(again) == ALL
    assert again["part2"]["text"].tolist() == ["ECOS", ""]
    assert calls == [0, 1, 2, 3]
    # No half-written file is left.
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"part{i}.npz" for i in range(4)),
        "settings.json",
    ]


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def empty(path):
    path.write_bytes(b"")


def change_a_byte(path):
    # In the middle of the first array's bytes, behind its header of 30 and its name.
    content = bytearray(path.read_bytes())
    content[70] ^= 0xFF
    path.write_bytes(bytes(content))


def write_text(path):
    path.write_text("no arrays")


def delete(path):
    path.unlink()


@pytest.mark.parametrize("damage", [cut, empty, change_a_byte, write_text, delete])
def test_only_a_missing_or_damaged_part_is_computed_again(
    counted, tmp_path, damage, caplog
):
    calls, units = counted
    run_units(units, tmp_path, SETTINGS)
    before = {i: (tmp_path / f"part{i}.npz").stat().st_mtime_ns for i in (0, 1, 3)}
    del calls[:]
    damage(tmp_path / "part2.npz")
    with caplog.at_level("INFO", "sop_keras"):
        assert squares(run_units(units, tmp_path, SETTINGS)) == ALL
    assert calls == [2]
    assert before == {
        i: (tmp_path / f"part{i}.npz").stat().st_mtime_ns for i in (0, 1, 3)
    }
    assert ("part2.npz is damaged" in caplog.text) == (damage is not delete)
    assert "3 of 4 parts are there" in caplog.text


def test_what_was_done_before_an_interruption_stays(counted, tmp_path):
    calls, units = counted

    def interrupt():
        raise KeyboardInterrupt

    broken = [*units[:2], Unit("part2", interrupt, ()), units[3]]
    with pytest.raises(KeyboardInterrupt):
        run_units(broken, tmp_path, SETTINGS)
    assert calls == [0, 1]
    assert squares(run_units(units, tmp_path, SETTINGS)) == ALL
    assert calls == [0, 1, 2, 3]


def test_other_settings_are_refused(counted, tmp_path):
    calls, units = counted
    run_units(units, tmp_path, SETTINGS)
    del calls[:]
    expected = (
        r"other settings. Choose another folder, or delete this one.\n"
        r"  gamma: None there, 0.5 now\n  trials: 3 there, 4 now$"
    )
    with pytest.raises(ValueError, match=expected):
        run_units(units, tmp_path, {**SETTINGS, "trials": 4, "gamma": 0.5})
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ValueError, match=r"settings.json is damaged"):
        run_units(units, tmp_path, SETTINGS)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ValueError, match=r"has parts, but no settings.json"):
        run_units(units, tmp_path, SETTINGS)
    assert calls == []


def test_the_settings_are_there_before_the_parts(tmp_path):
    def fail():
        raise ValueError("rank is 5")

    with pytest.raises(ValueError, match="rank is 5"):
        run_units([Unit("part", fail, ())], tmp_path, SETTINGS)
    read = json.loads((tmp_path / "settings.json").read_text())
    assert read == {"sizes": [1, 2], "trials": 3}


def test_a_process_that_is_killed_is_told(tmp_path):
    with pytest.raises(ChildProcessError, match="was killed, perhaps for want of mem"):
        run_units([Unit("part", os._exit, (1,))], tmp_path, SETTINGS, workers=2)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"at least 1. Received: workers=0"):
        run_units([], tmp_path, SETTINGS, workers=0)


def test_arrays_that_cannot_be_written_leave_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "part.npz"
    write_arrays(path, {"x": np.arange(3)})

    def full(file, **arrays):
        file.write(b"PK")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        write_arrays(path, {"x": np.arange(5)})
    with np.load(path) as arrays:
        assert arrays["x"].tolist() == [0, 1, 2]
