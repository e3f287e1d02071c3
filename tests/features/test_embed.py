import os

import numpy as np
import pytest
from small_features import LONG_AGO, MeanNetwork, arrays, files, write_image

from sop_keras.data.images.bad_images import TooManyBadImagesError
from sop_keras.data.images.encoded_images import ImageFiles
from sop_keras.features.embed import Counts, embed
from sop_keras.features.network import FeatureNetwork, feature_network
from sop_keras.features.store import FeatureStore

COLOURS = {f"{i}.png": (10 * i + 10, 5, 200 - i) for i in range(5)}


@pytest.fixture
def folder(tmp_path):
    for name, colour in COLOURS.items():
        write_image(tmp_path / "images" / name, colour)
    return tmp_path / "images"


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store")


def run(examples, store, batch_size=2, **options):
    """What embed gives, and the features that the network was asked for."""
    network = MeanNetwork()
    embedded = embed(examples, network, store, batch_size=batch_size, **options)
    return embedded, [one for batch in network.seen for one in batch]


def taken(embedded):
    return embedded.take(np.arange(len(embedded))).tolist()


def test_each_image_is_seen_once(folder, store):
    embedded, seen = run(files(folder, list(COLOURS)), store)
    assert seen == list(COLOURS.values())
    assert taken(embedded) == [list(one) for one in COLOURS.values()]
    assert embedded.rows.tolist() == [0, 1, 2, 3, 4]
    assert embedded.rows.dtype == np.int64
    assert (embedded.num_features, len(embedded)) == (3, 5)
    assert not embedded.is_bad.any()
    assert embedded.counts == Counts(5, 0, 0, 5, 0)
    again, seen = run(files(folder, list(COLOURS)), store)
    assert seen == []
    assert taken(again) == taken(embedded)
    assert again.counts == Counts(0, 5, 0, 0, 0)


def test_a_second_call_reads_no_file_that_is_as_it_was(folder, store, monkeypatch):
    run(files(folder, list(COLOURS)), store)
    read = []

    def counted(self, position):
        read.append(self.name(position))
        return ImageFiles.__dict__["_read"](self, position)

    monkeypatch.setattr(ImageFiles, "_read", ImageFiles.read, raising=False)
    monkeypatch.setattr(ImageFiles, "read", counted)
    run(files(folder, list(COLOURS)), store)
    assert read == []
    # The same bytes at another time: read again, to find that nothing changed.
    os.utime(folder / "3.png", (LONG_AGO, LONG_AGO + 7))
    _, seen = run(files(folder, list(COLOURS)), store)
    assert (read, seen) == ([str(folder / "3.png")], [])


def test_a_file_that_was_changed_just_now_is_not_trusted(folder, store):
    write_image(folder / "0.png", (1, 2, 3), changed=4_000_000_000)  # in the future
    run(files(folder, ["0.png"]), store)
    # Other content of the same size and time, as two writes in one moment have it.
    size = (folder / "0.png").stat().st_size
    write_image(folder / "0.png", (3, 2, 1), changed=4_000_000_000)
    assert (folder / "0.png").stat().st_size == size
    _, seen = run(files(folder, ["0.png"]), store)
    assert seen == [(3, 2, 1)]


def test_folders_that_change_places_are_read_again(tmp_path, store):
    # Files of equal names, sizes and times of change: no file is written or touched.
    names = [f"{one}/0.png" for one in ("cats", "dogs")]
    for name, colour in zip(names, [(10, 5, 200), (20, 5, 199)], strict=True):
        write_image(tmp_path / name, colour)
    sizes = {(tmp_path / name).stat().st_size for name in names}
    assert len(sizes) == 1
    run(files(tmp_path, names), store)
    (tmp_path / "cats").rename(tmp_path / "other")
    (tmp_path / "dogs").rename(tmp_path / "cats")
    (tmp_path / "other").rename(tmp_path / "dogs")
    embedded, seen = run(files(tmp_path, names), store)
    assert taken(embedded) == [[20, 5, 199], [10, 5, 200]]
    assert seen == []  # their rows are known by content


def test_a_file_that_was_given_its_old_time_again_is_read_again(folder, store):
    run(files(folder, ["0.png"]), store)
    before = (folder / "0.png").stat()
    while (folder / "0.png").stat().st_ctime_ns == before.st_ctime_ns:
        write_image(folder / "0.png", (11, 5, 200))  # in place, and at the same time
    now = (folder / "0.png").stat()
    assert now.st_ino == before.st_ino
    assert (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    _, seen = run(files(folder, ["0.png"]), store)
    assert seen == [(11, 5, 200)]


def test_a_memory_of_an_earlier_version_costs_reading_alone(folder, store, caplog):
    run(files(folder, ["0.png"]), store)
    path = store.folder / "features.files"
    written = path.read_bytes()
    path.write_bytes(b"sop_keras files 1\n" + bytes(48 + 4))
    embedded, seen = run(files(folder, ["0.png"]), store)
    assert (seen, embedded.counts) == ([], Counts(0, 1, 0, 0, 0))
    assert caplog.messages == []
    assert path.read_bytes() == written


def test_renamed_moved_and_reordered_images_keep_their_rows(folder, store):
    run(files(folder, list(COLOURS)), store)
    (folder / "0.png").rename(folder / "z.png")
    names = ["4.png", "z.png", "1.png", "2.png", "3.png"]
    embedded, seen = run(files(folder, names), store)
    assert seen == []
    assert embedded.rows.tolist() == [4, 0, 1, 2, 3]
    folder.rename(folder.with_name("elsewhere"))
    _, seen = run(files(folder.with_name("elsewhere"), names), store)
    assert seen == []


def test_changed_added_and_deleted_images(folder, store):
    run(files(folder, list(COLOURS)), store)
    write_image(folder / "1.png", (99, 98, 97), changed=LONG_AGO + 1)
    write_image(folder / "new.png", (7, 7, 7))
    embedded, seen = run(
        files(folder, ["new.png", "1.png", "0.png", "2.png", "3.png"]), store
    )
    assert seen == [(7, 7, 7), (99, 98, 97)]  # 4.png is gone, and the old 1.png
    assert embedded.counts == Counts(2, 3, 1, 1, 2)
    assert taken(embedded)[:2] == [[7, 7, 7], [99, 98, 97]]
    # What came back has its row still.
    write_image(folder / "1.png", COLOURS["1.png"], changed=LONG_AGO + 2)
    embedded, seen = run(files(folder, list(COLOURS)), store)
    assert seen == []
    assert embedded.rows.tolist() == [0, 1, 2, 3, 4]
    assert embedded.counts == Counts(0, 5, 0, 0, 2)


def test_equal_images_share_a_row(folder, store):
    write_image(folder / "copy.png", COLOURS["2.png"])
    names = ["2.png", "copy.png", "0.png"]
    embedded, seen = run(files(folder, names), store)
    assert seen == [COLOURS["2.png"], COLOURS["0.png"]]
    assert embedded.rows.tolist() == [0, 0, 1]
    assert embedded.counts == Counts(2, 0, 0, 3, 0)


def test_arrays_are_named_by_their_pixels(store):
    images = np.random.default_rng(0).integers(1, 256, (5, 4, 4, 3), np.uint8)
    means = images.mean((1, 2)).astype(np.float32).tolist()
    embedded, seen = run(arrays(images), store)
    assert list(map(list, seen)) == taken(embedded) == means
    changed = images.copy()
    changed[2, 0, 0, 0] ^= 1
    embedded, seen = run(arrays(changed[::-1]), store)
    assert len(seen) == 1
    assert embedded.rows.tolist() == [4, 3, 5, 1, 0]
    # The same bytes in another shape are another image.
    _, seen = run(arrays(images.reshape(5, 2, 8, 3)), store)
    assert len(seen) == 5


def test_bad_images_are_left_out_and_listed(folder, store, tmp_path):
    (folder / "text.png").write_text("no image")
    (folder / "same.png").write_text("no image")
    names = ["text.png", "0.png", "missing.png", "1.png", "same.png", "2.png", "3.png"]
    with pytest.raises(TooManyBadImagesError, match=r"missing\.png: No such file"):
        run(files(folder, names), store)
    other = FeatureStore(tmp_path / "other")
    with pytest.raises(TooManyBadImagesError, match=r"At most 40% may be left out"):
        run(files(folder, names), other, max_bad_fraction=0.4)  # 3 of 7 are 43%
    embedded, seen = run(files(folder, names), store, max_bad_fraction=0.43)
    # Batches are full all the same: those of two are 0 and 1, 2 and 3.
    assert seen == [COLOURS[f"{i}.png"] for i in range(4)]
    assert embedded.is_bad.tolist() == [True, False, True, False, True, False, False]
    assert embedded.rows.tolist() == [-1, 0, -1, 1, -1, 2, 3]
    reasons = {os.path.basename(name): reason for name, reason in embedded.bad_images}
    assert set(reasons) == {"text.png", "missing.png", "same.png"}
    assert reasons["text.png"] == reasons["same.png"]
    assert "not an image" in reasons["text.png"]
    assert embedded.counts == Counts(4, 0, 0, 4, 0)
    with pytest.raises(ValueError, match=r"place 2 has no features.* `is_bad`"):
        embedded.take(np.array([1, 2]))
    # Mended. It is a change of a file that was known, as its old time was in the past.
    os.utime(folder / "text.png", (LONG_AGO, LONG_AGO))
    run(files(folder, names), store, max_bad_fraction=0.43)
    write_image(folder / "text.png", (5, 6, 7))
    embedded, seen = run(files(folder, names[:2]), store)
    assert seen == [(5, 6, 7)]
    assert embedded.counts == Counts(1, 1, 1, 0, 3)


def test_a_file_that_changes_while_it_is_embedded_is_bad(folder, store):
    def change(done, total, seconds):
        for name in COLOURS:
            write_image(folder / name, (1, 1, 1))

    # Batches of one are decoded two ahead; the last two are read after the change.
    with pytest.raises(TooManyBadImagesError, match="was changed while"):
        run(files(folder, list(COLOURS)), store, batch_size=1, progress=change)


def test_progress(folder, store):
    (folder / "text.png").write_text("no image")
    names = ["0.png", "text.png", "1.png", "2.png", "3.png", "4.png"]
    calls = []
    run(
        files(folder, names),
        store,
        max_bad_fraction=1.0,
        progress=lambda *one: calls.append(one),
    )
    # Of two: 0 and, after the bad one, 1; then 2 and 3; then 4.
    assert [call[:2] for call in calls] == [(3, 6), (5, 6), (6, 6)]
    seconds = [call[2] for call in calls]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0


def test_no_images_and_none_to_make(store):
    embedded, seen = run(arrays(np.empty((0, 4, 4, 3), np.uint8)), store)
    assert (len(embedded), seen) == (0, [])
    assert embedded.take(np.arange(0)).shape == (0, 3)
    assert embedded.counts == Counts(0, 0, 0, 0, 0)


def test_files_are_cut_as_for_evaluation(tmp_path, store):
    # 12 x 6 pixels: the shorter side stays 6 pixels long, and the middle 4 are kept.
    pixels = np.zeros((6, 12, 3), np.uint8)
    pixels[1:5, 4:8, 0] = 100
    (tmp_path / "images").mkdir()
    from PIL import Image

    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    network = MeanNetwork()
    network.resize = 6
    embedded = embed(files(tmp_path / "images", ["a.png"]), network, store)
    assert embedded.take(np.array([0])).tolist() == [[100, 0, 0]]


def test_features_are_those_of_predict(tmp_path, store):
    import keras
    from small_features import MEAN, STD, saved_classifier

    model = saved_classifier(tmp_path / "model.keras")
    network = feature_network(tmp_path / "model.keras", mean=MEAN, std=STD)
    assert isinstance(network, FeatureNetwork)
    images = np.random.default_rng(1).integers(0, 256, (7, 8, 8, 3), np.uint8)
    embedded = embed(arrays(images), network, store, batch_size=3)
    until_head = keras.Model(model.inputs, model.get_layer("pool").output)
    standardized = (images / 255 - MEAN) / STD
    for place, image in enumerate(standardized):
        expected = until_head.predict(image[None], verbose=0)
        np.testing.assert_allclose(
            embedded.take(np.array([place])), expected, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("damage", ["flip", "cut", "mark"])
def test_a_damaged_memory_of_files_costs_reading_alone(folder, store, caplog, damage):
    run(files(folder, list(COLOURS)), store)
    path = store.folder / "features.files"
    data = path.read_bytes()
    # A mark of 18 bytes, 64 for each of 5 files, and a checksum.
    assert len(data) == 18 + 5 * 64 + 4
    damaged = {
        "flip": data[:40] + bytes([data[40] ^ 1]) + data[41:],
        "cut": data[:-3],
        "mark": b"X" + data[1:],
    }
    path.write_bytes(damaged[damage])
    embedded, seen = run(files(folder, list(COLOURS)), store)
    assert seen == []
    assert embedded.counts == Counts(0, 5, 0, 0, 0)
    assert f"{path} is damaged: files are read again" in caplog.text
    caplog.clear()
    run(files(folder, list(COLOURS)), store)
    assert caplog.messages == []


def test_two_sets_of_images_share_a_store(folder, store):
    run(files(folder, ["0.png", "1.png"]), store)
    embedded, seen = run(files(folder, ["1.png", "2.png"]), store)
    assert seen == [COLOURS["2.png"]]
    assert embedded.counts == Counts(1, 1, 0, 1, 1)
    embedded, seen = run(files(folder, ["0.png", "1.png"]), store)
    assert seen == []
    assert embedded.rows.tolist() == [0, 1]


def test_images_of_records_are_read_each_time(store):
    import io

    from PIL import Image

    from sop_keras.data.datasets.dataset import Examples
    from sop_keras.data.images.encoded_images import EncodedImages

    class Records(EncodedImages):
        def __len__(self):
            return 3

        def __getitem__(self, positions):
            raise NotImplementedError

        def read(self, position):
            file = io.BytesIO()
            Image.new("RGB", (9, 9), (position + 1, 0, 0)).save(file, "PNG")
            return file.getvalue()

        def name(self, position):
            return f"record {position}"

    examples = Examples(np.arange(3), Records(9, 9), np.zeros(3, int))
    embedded, seen = run(examples, store)
    assert seen == [(1, 0, 0), (2, 0, 0), (3, 0, 0)]
    embedded, seen = run(examples, store)
    assert seen == []
    assert embedded.counts == Counts(0, 3, 0, 0, 0)


def test_a_large_array_is_hashed_by_its_own_pixels(store):
    # Not contiguous: every second image of an array that is turned.
    images = np.random.default_rng(5).integers(1, 256, (8, 4, 4, 3), np.uint8)
    view = images[::2].transpose(0, 2, 1, 3)
    run(arrays(view), store)
    _, seen = run(arrays(view.copy()), store)
    assert seen == []


def test_features_that_are_not_finite_are_refused(folder, store):
    class Broken(MeanNetwork):
        def features(self, images):
            features = super().features(images)
            features[features[:, 0] == 30] = np.nan  # of 2.png
            return features

    with pytest.raises(ValueError, match="not finite, first for the image at place 2"):
        embed(files(folder, list(COLOURS)), Broken(), store, batch_size=2)
    # Those before it were kept until the record; none that is not finite is told of.
    embedded, _ = run(files(folder, list(COLOURS)), store)
    assert np.isfinite(embedded.take(np.arange(5))).all()
