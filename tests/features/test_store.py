import json
import os
import re
import zlib

import numpy as np
import pytest

from sop_keras.features import store as store_module
from sop_keras.features.store import FeatureStore
from sop_keras.features.store_record import SEGMENT_ROWS, FeatureStoreError
from sop_keras.files.atomic import OutputError
from sop_keras.files.untrusted import UntrustedFileError
from sop_keras.training.run_lock import RunLockedError

NETWORK = {"backbone": "b", "weights": "w", "mean": [0.5]}
NUM_FEATURES = 3
# Three segments, the last of which is not full.
NUM_ROWS = 2 * SEGMENT_ROWS + 100


def digests_of(numbers):
    return np.array([b"content %08d" % number for number in numbers], "S16")


def features_of(numbers):
    return np.array(numbers, np.float32)[:, None] + np.float32([0, 0.25, 0.5])


def fill(folder, num_rows=NUM_ROWS, pieces=1):
    store = FeatureStore(folder)
    with store.opened(NETWORK, NUM_FEATURES) as rows:
        for part in np.array_split(np.arange(num_rows), pieces):
            rows.append(features_of(part), digests_of(part))
        rows.commit()
    return store


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def found(store, numbers, network=NETWORK):
    """The rows of some contents, and their features."""
    with store.opened(network, NUM_FEATURES) as rows:
        places = rows.find(digests_of(numbers))
        return places, rows.features()[places[places >= 0]]


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_the_files(tmp_path):
    fill(tmp_path, pieces=7)
    features = (tmp_path / "features.f32").read_bytes()
    assert features == features_of(np.arange(NUM_ROWS)).astype("<f4").tobytes()
    digests = (tmp_path / "features.digests").read_bytes()
    assert digests == b"".join(b"content %08d" % i for i in range(NUM_ROWS))
    bounds = [(0, 4096), (4096, 8192), (8192, 8292)]
    record = json.loads((tmp_path / "features.json").read_text())
    assert record["segments"] == [
        [zlib.crc32(features[a * 12 : b * 12]), zlib.crc32(digests[a * 16 : b * 16]), 0]
        for a, b in bounds
    ]
    assert (record["num_rows"], record["network"]) == (NUM_ROWS, NETWORK)
    # There is no lock any more, and no file that was not whole.
    assert sorted(content(tmp_path)) == [
        "features.digests",
        "features.f32",
        "features.json",
    ]


def test_in_how_many_pieces_rows_come_does_not_matter(tmp_path):
    fill(tmp_path / "one", pieces=1)
    fill(tmp_path / "many", pieces=83)
    assert content(tmp_path / "one") == content(tmp_path / "many")


def test_rows_are_found_by_content(tmp_path):
    store = fill(tmp_path)
    wanted = [5, NUM_ROWS - 1, NUM_ROWS, 0, 5]
    with store.opened(NETWORK, NUM_FEATURES) as rows:
        assert rows.find(digests_of(wanted)).tolist() == [5, NUM_ROWS - 1, -1, 0, 5]
        rows.append(features_of([NUM_ROWS]), digests_of([NUM_ROWS]))
        assert rows.find(digests_of(wanted))[2] == NUM_ROWS
        mapped = rows.features()
    assert not mapped.flags.writeable
    np.testing.assert_array_equal(mapped, features_of(np.arange(NUM_ROWS + 1)))


def test_digests_that_end_in_zeros_are_whole(tmp_path):
    digests = np.array([b"a", b"a\0\1", b"\0a"], "S16")
    store = FeatureStore(tmp_path)
    with store.opened(NETWORK, NUM_FEATURES) as rows:
        rows.append(features_of([0, 1, 2]), digests)
        rows.commit()
    with store.opened(NETWORK, NUM_FEATURES) as rows:
        assert rows.find(digests).tolist() == [0, 1, 2]
        assert rows.find(np.array([b"a\0", b"a\0\1\0\1"], "S16")).tolist() == [0, -1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "v"}, r"weights \(w -> v\)\."),
        (
            {"mean": [0.25], "new": 1},
            r"mean \(\[0\.5\] -> \[0\.25\]\), new \(none -> 1\)",
        ),
    ],
)
def test_another_network_begins_anew_and_says_why(tmp_path, caplog, changes, said):
    store = fill(tmp_path)
    _, before = found(store, [7])
    with store.opened(NETWORK, NUM_FEATURES) as rows:
        mapped = rows.features()
    with store.opened(NETWORK | changes, NUM_FEATURES) as rows:
        assert rows.num_rows == 0
        assert rows.find(digests_of([7])).tolist() == [-1]
        rows.append(features_of([1]), digests_of([7]))
        rows.commit()
    assert len(caplog.messages) == 1
    assert "made anew; the network is another one: " in caplog.text
    assert re.search(said, caplog.text)
    # Who has the old features mapped keeps them.
    np.testing.assert_array_equal(mapped[7:8], before)
    places, features = found(store, [7, 8], NETWORK | changes)
    assert places.tolist() == [0, -1]
    assert features[0].tolist() == [1, 1.25, 1.5]


@pytest.mark.parametrize("name", ["features.f32", "features.digests"])
@pytest.mark.parametrize("segment", [0, 2])
def test_a_flipped_bit_costs_its_segment(tmp_path, caplog, name, segment):
    store = fill(tmp_path)
    lost = np.arange(segment * 4096, min((segment + 1) * 4096, NUM_ROWS))
    width = 12 if name == "features.f32" else 16
    flip(tmp_path / name, lost[17] * width + 5)
    everything = np.arange(NUM_ROWS)
    with store.opened(NETWORK, NUM_FEATURES) as rows:
        places = rows.find(digests_of(everything))
        np.testing.assert_array_equal(np.flatnonzero(places < 0), lost)
        assert rows.num_good == NUM_ROWS - len(lost)
        rows.append(features_of(lost[:5]), digests_of(lost[:5]))
        rows.commit()
    text = f"Rows {lost[0]} to {lost[-1]} of {tmp_path / 'features.f32'} are damaged"
    assert text in caplog.text
    caplog.clear()
    # What was made anew counts, and the damage is not said again.
    places, features = found(store, everything)
    np.testing.assert_array_equal(np.flatnonzero(places < 0), lost[5:])
    is_found = np.flatnonzero(places >= 0)
    np.testing.assert_array_equal(features, features_of(is_found))
    assert caplog.messages == []


def test_a_full_last_segment_is_lost(tmp_path):
    store = fill(tmp_path, SEGMENT_ROWS)
    flip(tmp_path / "features.f32", 0)
    with store.opened(NETWORK, NUM_FEATURES) as rows:
        rows.append(features_of([3]), digests_of([3]))
        rows.commit()
    assert found(store, [2, 3])[0].tolist() == [-1, SEGMENT_ROWS]


def test_what_lies_beyond_the_record_is_dropped(tmp_path):
    fill(tmp_path / "one", 50)
    store = fill(tmp_path / "other", 30)
    for name in ("features.f32", "features.digests"):
        with (tmp_path / "other" / name).open("ab") as file:
            file.write(b"left by a kill" * 99)
    with store.opened(NETWORK, NUM_FEATURES) as rows:
        assert rows.num_rows == 30
        more = np.arange(30, 50)
        rows.append(features_of(more), digests_of(more))
        rows.commit()
    assert content(tmp_path / "one") == content(tmp_path / "other")


def test_a_record_is_written_every_few_seconds_after_the_rows(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(store_module.time, "monotonic", lambda: now[0])
    flushed = []
    with FeatureStore(tmp_path).opened(NETWORK, NUM_FEATURES) as rows:

        def told():
            return json.loads((tmp_path / "features.json").read_text())["num_rows"]

        monkeypatch.setattr(
            store_module.GrowingFile, "flush", lambda self: flushed.append(told())
        )
        for second, expected in ((4.9, 0), (5.0, 2), (9.9, 2), (10.1, 4)):
            now[0] = second
            rows.append(features_of([second]), digests_of([int(10 * second)]))
            assert told() == expected
    # Both files, each time, while the record told of what was before.
    assert flushed == [0, 0, 2, 2]


def write_record(folder, **changes):
    path = folder / "features.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_rows": 10**18}, "numbers that cannot be"),
        ({"num_rows": -1}, "numbers that cannot be"),
        ({"num_rows": 1e3}, "numbers that cannot be"),
        ({"num_rows": True}, "numbers that cannot be"),
        ({"num_rows": 31}, r"features\.f32 has 360 bytes, and its record tells of 372"),
        ({"num_features": 0}, "numbers that cannot be"),
        ({"num_features": 4}, "another number of features"),
        ({"num_features": 10**12}, "numbers that cannot be"),
        ({"segments": []}, "numbers that cannot be"),
        ({"segments": [[1, 2**32, False]]}, "numbers that cannot be"),
        ({"segments": [[1, 2, 0]]}, "numbers that cannot be"),
        ({"segments": {"0": 1}}, "numbers that cannot be"),
        ({"network": "b"}, "numbers that cannot be"),
        ({"version": "1"}, "numbers that cannot be"),
        ({"segment_rows": 1}, "numbers that cannot be"),
    ],
)
def test_a_record_that_cannot_be_begins_anew(tmp_path, caplog, changes, reason):
    store = fill(tmp_path, 30)
    write_record(tmp_path, **changes)
    with store.opened(NETWORK, NUM_FEATURES) as rows:
        assert rows.num_rows == 0
    (message,) = caplog.messages
    assert re.search(f"anew; it is damaged: .*{reason}", message)


@pytest.mark.parametrize("text", ["", "{", "\0" * 40, "[" * 10**5, '{"a": 1}\n{'])
def test_a_record_that_is_no_json_begins_anew(tmp_path, caplog, text):
    store = fill(tmp_path, 30)
    (tmp_path / "features.json").write_text(text)
    with store.opened(NETWORK, NUM_FEATURES) as rows:
        assert rows.num_rows == 0
    assert "it is damaged: its record is no JSON" in caplog.text


@pytest.mark.parametrize("name", ["features.f32", "features.digests"])
def test_a_file_that_is_lost_or_cut_off(tmp_path, caplog, name):
    store = fill(tmp_path / "a", 30)
    os.truncate(tmp_path / "a" / name, 100)
    assert found(store, [3])[0].tolist() == [-1]
    assert f"{name} has 100 bytes, and its record" in caplog.text
    store = fill(tmp_path / "b", 30)
    (tmp_path / "b" / name).unlink()
    assert found(store, [3])[0].tolist() == [-1]
    assert f"{name} is missing" in caplog.text


def test_what_is_not_a_stores_is_not_touched(tmp_path):
    store = FeatureStore(tmp_path)
    theirs = tmp_path / "features.f32"
    theirs.write_text("theirs")
    with pytest.raises(FeatureStoreError, match=r"features\.f32 and no features\.json"):
        found(store, [])
    for text in ('{"format": "theirs"}', "[]", "3"):
        (tmp_path / "features.json").write_text(text)
        with pytest.raises(FeatureStoreError, match=r"not written as .*Choose another"):
            found(store, [])
    assert content(tmp_path) == {"features.f32": b"theirs", "features.json": b"3"}


def test_a_later_version_is_refused(tmp_path):
    store = fill(tmp_path, 30)
    write_record(tmp_path, version=2)
    before = content(tmp_path)
    with pytest.raises(FeatureStoreError, match=r"is of version 2, and .* knows 1"):
        found(store, [])
    assert content(tmp_path) == before


def test_nothing_is_written_through_links(tmp_path):
    outside = tmp_path / "outside"
    store = fill(tmp_path / "store", 30)
    for name in ("features.f32", "features.digests"):
        (tmp_path / "store" / name).rename(outside)
        (tmp_path / "store" / name).symlink_to(outside)
        before = outside.read_bytes()
        with pytest.raises(OutputError, match=rf"{name} .*it is a link"):
            found(store, [])
        assert outside.read_bytes() == before
        (tmp_path / "store" / name).unlink()
        outside.rename(tmp_path / "store" / name)
    assert found(store, [4])[0].tolist() == [4]


def test_a_pipe_is_not_waited_for(tmp_path):
    store = fill(tmp_path, 30)
    for name in ("features.f32", "features.digests", "features.json", "features.files"):
        path = tmp_path / name
        aside = tmp_path / "aside"
        is_there = path.exists()
        if is_there:
            path.rename(aside)
        os.mkfifo(path)
        with pytest.raises(UntrustedFileError, match="a pipe, where a regular file"):
            found(store, [])
        path.unlink()
        if is_there:
            aside.rename(path)


def test_one_process_at_a_time(tmp_path):
    store = fill(tmp_path, 30)
    with (
        store.opened(NETWORK, NUM_FEATURES),
        pytest.raises(RunLockedError, match="is being written to by process"),
    ):
        found(store, [])


def test_a_store_that_was_taken_over_is_not_written_to(tmp_path):
    store = FeatureStore(tmp_path)
    with store.opened(NETWORK, NUM_FEATURES) as rows:
        rows.append(features_of([1]), digests_of([1]))
        (tmp_path / "run.lock").unlink()
        with pytest.raises(RunLockedError, match="removed or taken over"):
            rows.commit()
    assert json.loads((tmp_path / "features.json").read_text())["num_rows"] == 0


def test_a_full_disk_is_noticed_before_the_first_image(tmp_path):
    with (
        FeatureStore(tmp_path).opened(NETWORK, NUM_FEATURES) as rows,
        pytest.raises(OutputError, match=r"features\.f32 could not be written: No sp"),
    ):
        rows.check_room(2**50)
