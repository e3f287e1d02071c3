"""Processes that are killed while they embed: the next goes on to the same bits."""

import hashlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_features import MEAN, STD, MeanNetwork, files, saved_classifier, write_image

from sop_keras.features import store as store_module
from sop_keras.features.embed import embed
from sop_keras.features.network import feature_network
from sop_keras.features.store import FeatureStore

KEPT = ("features.f32", "features.digests", "features.json")


def sums(folder):
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in KEPT
    }


def write_images(folder, count, bad=()):
    """Images of random pixels; those at some places are no images."""
    folder.mkdir()
    draw = np.random.default_rng(3)
    for number in range(count):
        path = folder / f"{number:03d}.png"
        if number in bad:
            path.write_text("no image")
        else:
            pixels = draw.integers(0, 256, (9, 11, 3), np.uint8)
            Image.fromarray(pixels).save(path)
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_of_any_moment_is_gone_on_with_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "COMMIT_SECONDS", 0.0)
    # A bad one among the first: the batches after it must not move in the second start.
    names = write_images(tmp_path / "images", 23, bad=(1, 9))
    saved_classifier(tmp_path / "a.keras")
    network = feature_network(tmp_path / "a.keras", mean=MEAN, std=STD)
    whole, moments = tmp_path / "whole", []

    def run(folder, progress=None):
        return embed(
            files(tmp_path / "images", names),
            network,
            FeatureStore(folder),
            batch_size=4,
            max_bad_fraction=0.1,
            progress=progress,
        )

    def copy(done, total, seconds):
        moments.append(tmp_path / f"moment{done}")
        shutil.copytree(whole, moments[-1], ignore=shutil.ignore_patterns("run.lock"))
        # What was written and is not yet told of.
        with (moments[-1] / "features.f32").open("ab") as file:
            file.write(b"half a batch" * len(moments))

    run(whole, copy)
    # 21 images in fours.
    assert len(moments) == 6
    for number, moment in enumerate(moments, start=1):
        assert sums(moment) != sums(whole)
        embedded = run(moment)
        assert embedded.counts.reused == min(4 * number, 21)
        assert sums(moment) == sums(whole)


def test_an_interrupted_call_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "COMMIT_SECONDS", 0.0)
    for number in range(6):
        write_image(tmp_path / "images" / f"{number}.png", (number + 1, 0, 0))
    examples = files(tmp_path / "images", [f"{number}.png" for number in range(6)])
    store = FeatureStore(tmp_path / "store")

    def fail(done, total, seconds):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(examples, MeanNetwork(), store, batch_size=2, progress=fail)
    network = MeanNetwork()
    embedded = embed(examples, network, store, batch_size=2)
    assert network.seen == [[(5, 0, 0), (6, 0, 0)]]
    assert embedded.counts.reused == 4


@pytest.mark.slow
def test_sigkill(tmp_path):
    names = write_images(tmp_path / "images", 60, bad=(3, 20))
    saved_classifier(tmp_path / "a.keras", shape=(224, 224, 3))

    def start(folder, pause):
        script = Path(__file__).with_name("embed_slowly.py")
        arguments = (tmp_path / "images", folder, tmp_path / "a.keras", pause)
        return subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
        )

    with start(tmp_path / "whole", 0) as process:
        assert process.stdout.read().endswith("made 58 reused 0\n")
    killed = tmp_path / "killed"
    # The third and the sixth batch: 24 and 48 images of those that can be read.
    for batch in (3, 3):
        with start(killed, 0.2) as process:
            for _ in range(batch):
                assert process.stdout.readline()[0].isdigit()
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    assert sums(killed) != sums(tmp_path / "whole")
    with start(killed, 0) as process:
        *_, last = process.stdout.read().splitlines()
    _, made, _, reused = last.split()
    assert (int(made) + int(reused), len(names)) == (58, 60)
    assert int(reused) >= 24
    assert int(made) >= 8
    assert sums(killed) == sums(tmp_path / "whole")
