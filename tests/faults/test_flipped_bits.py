"""Single bits of a checkpoint, turned over: the right state, or the one before."""

import json
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))

from small_checkpoints import (
    FILES,
    NAMES,
    kernel_value,
    network,
    progress,
    saved,
)

NUM_FLIPS = 2_000
NUM_LOADED = 40  # of these, by a network


class Reader:
    """Takes weights as a network does, and says which bytes they were."""

    def load_weights(self, path):
        self.content = path.read_bytes()


def weights_of(folder):
    return (folder / "model.weights.h5").read_bytes()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("run") / "checkpoints")


def turned_over(path, number, bit):
    """The content of a file with one other bit."""
    content = bytearray(path.read_bytes())
    content[number] ^= 1 << bit
    return bytes(content)


def check(checkpoints, path, number, bit):
    """Turn a bit over; what is restored is the state before, with its weights."""
    before = path.read_bytes()
    path.write_bytes(turned_over(path, number, bit))
    try:
        reader = Reader()
        restored = checkpoints.restore(reader)
        assert restored == progress(1, 7), f"{path.name}: bit {bit} of byte {number}"
        assert reader.content == weights_of(checkpoints.folder / NAMES[1])
    finally:
        path.write_bytes(before)


def test_bits_anywhere(checkpoints):
    last, draw = checkpoints.folder / NAMES[2], random.Random(0)
    paths = [last / name for name in FILES]
    assert {one.name for one in last.iterdir()} == set(FILES)
    sizes = [path.stat().st_size for path in paths]
    for _ in range(NUM_FLIPS):
        (path,) = draw.choices(paths, sizes)
        check(checkpoints, path, draw.randrange(path.stat().st_size), draw.randrange(8))
    # Nothing is left of the damage.
    model = network(0)
    assert checkpoints.restore(model) == progress(2)
    assert kernel_value(model) == 3


def test_each_bit_of_the_state_and_one_of_each_byte_of_the_sums(checkpoints):
    last, draw = checkpoints.folder / NAMES[2], random.Random(2)
    for name in ("state.json", "SHA256SUMS"):
        for number in range((last / name).stat().st_size):
            all_bits = name == "state.json"
            for bit in range(8) if all_bits else [draw.randrange(8)]:
                check(checkpoints, last / name, number, bit)


def test_a_network_goes_on_with_the_weights_before(checkpoints):
    last, draw = checkpoints.folder / NAMES[2], random.Random(1)
    path = last / "model.weights.h5"
    before = path.read_bytes()
    for _ in range(NUM_LOADED):
        place = draw.randrange(len(before)), draw.randrange(8)
        path.write_bytes(turned_over(path, *place))
        model = network(0)
        assert checkpoints.restore(model) == progress(1, 7)
        assert {float(one) for w in model.weights for one in w.numpy().flat} == {2.0}
        path.write_bytes(before)


def test_each_bit_of_the_place_in_one_of_an_earlier_version(checkpoints):
    # Of its state, the sums say nothing; but its name says where it belongs.
    last = checkpoints.folder / NAMES[2]
    kept = {path: path.read_bytes() for path in last.iterdir()}
    lines = (last / "SHA256SUMS").read_text().splitlines()
    sums = dict(reversed(line.split()) for line in lines)
    (last / "SHA256SUMS").unlink()
    state = json.loads((last / "state.json").read_text())
    digests = {name: sums[name] for name in ("model.weights.h5", "metrics.npz")}
    (last / "state.json").write_text(json.dumps({**state, "sha256": digests}))
    try:
        assert checkpoints.restore(Reader()) == progress(2)
        text = (last / "state.json").read_text()
        for name in ('"epoch": 2', '"step": 0'):
            for bit in range(8):
                number = text.index(name) + len(name) - 1
                check(checkpoints, last / "state.json", number, bit)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
