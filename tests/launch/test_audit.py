import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import audit
import keras
import numpy as np
import pytest
from PIL import Image

from sop_keras.training.run_lock import RunLock
from sop_keras.training.saved_run import load_run

LONG_AGO = 1_500_000_000
COLOURS = {"blue": (20, 20, 200), "green": (20, 200, 20), "red": (200, 20, 20)}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "means.keras"
    layers = [
        keras.Input((16, 16, 3)),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3),
    ]
    keras.Sequential(layers).save(path)
    return path


def write(path, colour, seed):
    noise = np.random.default_rng(seed).integers(-20, 21, (16, 16, 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def photos(tmp_path):
    """Sixty images of each colour, in a folder each; five reds are called blue."""
    folder = tmp_path / "photos"
    seed = 0
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(60):
            seed += 1
            write(folder / name / f"{number:02}.png", colour, seed)
    for number in range(5):
        seed += 1
        write(folder / "blue" / f"wrong{number}.png", COLOURS["red"], seed)
    return folder


def told_of(page):
    """What the script of a page is told."""
    found = re.search(r'type="application/json">(.*?)</script>', page.read_text())
    return json.loads(found[1])


def rows_of(folder):
    with open(folder / "label_issues.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_folder(photos, network, tmp_path, capsys):
    """Audited, audited again, changed, decided on: a test, as each start takes long."""
    out, store = tmp_path / "out", tmp_path / "store"
    flags = [
        "--dataset=image_folder",
        f"--data_dir={photos}",
        f"--backbone={network}",
        "--pretrained=none",
        "--num_examples=8",
        f"--output_dir={out}",
        f"--store={store}",
    ]
    audit.main(flags)
    said = capsys.readouterr().out
    assert said.count("image_folder: 185") == 1
    assert "features: 185 embedded" in said
    assert "5 of 185 labels look wrong (2.7 %)" in said
    assert "5  blue -> red" in said
    assert "fewer than 1,000 examples a class" in said
    first = rows_of(out)
    assert [row["is_label_issue"] for row in first].count("True") == 5
    worst = first[:5]
    assert all("wrong" in row["file"] for row in worst)
    assert {row["suggested_class"] for row in worst} == {"red"}
    assert (store / "features.json").exists()
    assert not (out / "features").exists()
    # What looks like a red image that is called blue is red, and never itself: all
    # those of a colour are nearly the same to this network, and one of them is there.
    told = told_of(out / "report.html")
    assert len(told["rows"]) == 8
    for row in told["rows"]:
        assert row["id"] not in [one["id"] for one in row["similar"]]
    reds = told["classNames"].index("red")
    assert [row["similar"][0]["given"] for row in told["rows"][:5]].count(reds) > 2
    result = json.loads((out / "result.json").read_text())
    assert result["num_wrong_least"] <= result["num_wrong_estimated"]

    # One image is renamed, one deleted, one added and one changed.
    os.rename(photos / "red" / "00.png", photos / "red" / "zz.png")
    os.remove(photos / "red" / "01.png")
    write(photos / "red" / "new.png", COLOURS["red"], 1_000)
    write(photos / "green" / "00.png", COLOURS["green"], 1_001)
    os.utime(photos / "green" / "00.png", (LONG_AGO + 60, LONG_AGO + 60))
    # A list of before, when one could not be read.
    (out / "bad_images.csv").write_text("split,id,image,reason\ntrain,3,x.png,cut\n")
    audit.main(flags)
    assert not (out / "bad_images.csv").exists()
    said = capsys.readouterr().out
    assert "2 embedded, 183 reused, 1 of them changed, 2 no longer there" in said

    # People decide: of two that look wrong, one is right, and one is removed.
    one, other = (row["id"] for row in rows_of(out)[:2])
    given = rows_of(out)[0]["given_label"]
    decisions = tmp_path / "decisions.csv"
    decisions.write_text(
        "id,decision,label,time\n"
        f"{one},given,{given},2026-01-01T00:00:00Z\n"
        f"{other},remove,,2026-01-01T00:00:01Z\n"
    )
    audit.main([*flags, f"--decisions={decisions}"])
    said = capsys.readouterr().out
    assert "decided: 2; wrong were 50 % of them" in said
    assert "worth a look: 3 more" in said
    after = {row["id"]: row for row in rows_of(out)}
    assert [after[i]["decision"] for i in (one, other)] == ["given", "remove"]
    assert after[one]["label_quality"] == "1.0"
    issues = [row["id"] for row in after.values() if row["is_label_issue"] == "True"]
    assert len(issues) == 3
    assert not {one, other} & set(issues)


@pytest.mark.slow
def test_features_of_ones_own(tmp_path, capsys):
    rng = np.random.default_rng(0)
    labels = np.repeat(["ant", "bee"], 50)
    features = rng.normal(size=(100, 4)).astype("float32")
    features[:, 0] += np.where(labels == "bee", 6, -6)
    labels[0] = "bee"
    features[1] = features[0]
    np.save(tmp_path / "own.npy", features)
    (tmp_path / "labels.txt").write_text("\n".join(labels) + "\n")
    out = tmp_path / "out"
    flags = [
        f"--features={tmp_path / 'own.npy'}",
        f"--labels={tmp_path / 'labels.txt'}",
        f"--output_dir={out}",
        "--num_examples=30",
    ]
    audit.main(flags)
    said = capsys.readouterr().out
    assert "1 of 100 labels look wrong" in said
    assert "1 of them under different labels" in said
    assert "correct:" not in said
    (first, second) = rows_of(out)[:2]
    assert (first["id"], first["given_class"], first["suggested_class"]) == (
        *("0", "bee", "ant"),
    )
    assert second["is_label_issue"] == "False"
    result = json.loads((out / "result.json").read_text())
    assert (result["num_label_issues"], result["num_train"]) == (1, 100)
    assert result["contradictory_duplicates"] == [[0, 1]]
    told = told_of(out / "report.html")
    assert told["rows"][0]["text"] == "row 0"
    assert len(told["rows"]) == 30
    assert not any("image" in row for row in told["rows"])
    # Its copy is the most like it.
    assert told["rows"][0]["similar"][0]["text"] == "row 1"
    assert [one["name"] for one in told["sections"]] == ["duplicates"]

    # The round is closed: what is decided there is learnt from here.
    decisions = tmp_path / "decisions.csv"
    row = "id,decision,label,time\n0,suggested,0,2026-01-01T00:00:00Z\n"
    decisions.write_text(row)
    audit.main([*flags, f"--decisions={decisions}"])
    assert "decided: 1; wrong were 100 % of them" in capsys.readouterr().out
    assert told_of(out / "report.html")["sections"] == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--labels=l.txt"], "--labels are those of --features"),
        (["--features=f.npy", "--store=s"], "--store is where features of images"),
        (["--backbone=no_such"], "Unknown backbone"),
        (["--decisions=none.csv"], "none.csv"),
        (["--backbone=a.keras", "--mean=0"], "--mean and --std go together"),
    ],
)
def test_errors_before_anything_is_loaded(flags, message, capsys):
    with pytest.raises(SystemExit) as ended:
        audit.main(flags)
    assert ended.value.code == 1
    assert message in capsys.readouterr().err


def contents_of(folder):
    """What an audit wrote, by file, without how long it took and its locks."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "run.lock"
    }
    result = json.loads(found.pop("result.json"))
    del result["seconds"]
    page = re.sub(rb"<dt>Time</dt><dd>.*?</dd>", b"", found.pop("report.html"))
    return {**found, "result": result, "page": page}


@pytest.mark.slow
def test_a_kill_while_the_head_is_trained(photos, network, tmp_path, capsys):
    out = tmp_path / "out"
    flags = [
        "--dataset=image_folder",
        f"--data_dir={photos}",
        f"--backbone={network}",
        "--pretrained=none",
        "--num_examples=3",
        f"--output_dir={out}",
    ]
    script = Path(__file__).with_name("audit_slowly.py")
    with subprocess.Popen(
        [sys.executable, script, *flags], stdout=subprocess.PIPE, text=True
    ) as process:
        assert "four of 10 epochs of the head\n" in process.stdout
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "label_issues.csv").exists()
    audit.main(flags)
    assert "features: 185 reused" in capsys.readouterr().out
    gone_on = contents_of(out)
    shutil.rmtree(out)
    audit.main(flags)
    assert "features: 185 embedded" in capsys.readouterr().out
    undisturbed = contents_of(out)
    assert {"label_issues.csv", "history.csv", "features/features.f32"} < set(gone_on)
    assert gone_on == undisturbed


@pytest.mark.slow
def test_a_kill_leaves_no_figures_of_the_data_before(
    photos, network, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "out"
    flags = [
        "--dataset=image_folder",
        f"--data_dir={photos}",
        f"--backbone={network}",
        "--pretrained=none",
        "--num_examples=3",
        f"--output_dir={out}",
    ]
    audit.main(flags)
    os.remove(photos / "red" / "01.png")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sop_keras.auditing.audit_run.write_issues", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        audit.main(flags)
    # The old table is there, and nothing takes it for that of the new data.
    assert json.loads((out / "data.json").read_text())["train"] == 184
    assert len(rows_of(out)) == 185
    with pytest.raises(ValueError, match="the run is not complete"):
        load_run(out)


@pytest.mark.slow
def test_the_folder_of_a_training(photos, network, tmp_path, capsys):
    out = tmp_path / "out"
    (out / "checkpoints").mkdir(parents=True)
    with pytest.raises(SystemExit):
        audit.main(
            [
                "--dataset=image_folder",
                f"--data_dir={photos}",
                f"--backbone={network}",
                "--pretrained=none",
                f"--output_dir={out}",
            ]
        )
    assert "holds a training (checkpoints)" in capsys.readouterr().err
    shutil.rmtree(out)


@pytest.mark.slow
def test_one_audit_at_a_time(photos, network, tmp_path, capsys):
    out = tmp_path / "out"
    with RunLock(out), pytest.raises(SystemExit):
        audit.main(
            [
                "--dataset=image_folder",
                f"--data_dir={photos}",
                f"--backbone={network}",
                "--pretrained=none",
                f"--output_dir={out}",
            ]
        )
    assert str(out) in capsys.readouterr().err
    assert not (out / "label_issues.csv").exists()
