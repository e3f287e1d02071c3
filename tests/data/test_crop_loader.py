"""Crops and batches of encoded images, against Pillow one image at a time."""

import csv
import gc
import io
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sop_keras.data.batches.crop_loader import CropLoader
from sop_keras.data.batches.pipelines import evaluation_batches, training_batches
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.images.bad_images import BadImages, TooManyBadImagesError
from sop_keras.data.images.encoded_images import EncodedImages, ImageFiles
from sop_keras.randomness.keyed import random_bits

RESIZE, SIZE, SEED = 40, 32, 3
MEAN, STD = (0.5, 0.25, 0.125), (0.2, 0.3, 0.4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven JPEGs of different sizes, smooth ones."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(11):
        width, height = rng.integers(30, 120, 2)
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        image = small.resize((int(width), int(height)), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.jpg", quality=90)
    return folder


def examples_of(folder, names):
    images = ImageFiles(folder, np.array(names), RESIZE, SIZE)
    ids = 100 - 3 * np.arange(len(names))
    return Examples(ids, images, ids % 4)


def dataset_of(examples):
    return Dataset("own", tuple("abcd"), 101, examples, None, MEAN, STD)


@pytest.fixture(scope="module")
def examples(folder):
    return examples_of(folder, [f"{i}.jpg".encode() for i in range(11)])


def whole(path):
    """The image with its shorter side RESIZE pixels long, as torchvision has it."""
    image = Image.open(path)
    width, height = image.size
    scale = RESIZE / min(width, height)
    size = tuple(
        RESIZE if side == min(width, height) else int(RESIZE * side / min(image.size))
        for side in (width, height)
    )
    assert abs(size[0] / width - scale) < 0.03
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def crop(path, identity, epoch, seed):
    """The crop in Python integers: place floor(h * n / 2^32) of n places."""
    pixels = whole(path)
    places = []
    for side, name in zip(pixels.shape, ("window_top", "window_left"), strict=False):
        high = int(random_bits(seed, name, epoch, identity)) >> 32
        places.append(high * (side - SIZE + 1) >> 32)
    top, left = places
    return pixels[top : top + SIZE, left : left + SIZE]


def centre(path):
    pixels = whole(path)
    top, left = (round((side - SIZE) / 2) for side in pixels.shape[:2])
    return pixels[top : top + SIZE, left : left + SIZE]


def standardized(images):
    return (np.asarray(images) / 255 - np.array(MEAN)) / np.array(STD)


def test_encoded_images_look_like_an_array(examples, folder):
    assert examples.images.shape == (11, 32, 32, 3)
    assert examples.image_shape == (32, 32, 3)
    some = examples.take(np.array([4, 2])).images
    assert some.name(0) == str(folder / "4.jpg")
    assert some.read(1) == (folder / "2.jpg").read_bytes()
    assert len(examples.take(examples.ids > 90).images) == 4


@pytest.mark.parametrize("sizes", [(32, 40), (32, 0), (0, -1)])
def test_sizes_that_do_not_fit(folder, sizes):
    with pytest.raises(ValueError, match=r"from 1 to `resize`.*image_size="):
        ImageFiles(folder, np.array([b"0.jpg"]), *sizes)


def test_names_that_are_no_text_are_shown_escaped(folder):
    images = ImageFiles(folder, np.array([b"\xff.jpg"]), 8, 8)
    assert images.name(0) == f"{folder}/\\xff.jpg"


def test_training_windows_are_those_of_seed_epoch_and_id(examples, folder):
    pipeline = training_batches(
        examples,
        dataset_of(examples),
        batch_size=4,
        epochs=2,
        seed=SEED,
        augment="none",
        strong_augment="none",
    )
    strong_seed = int(random_bits(SEED, "strong_view"))
    seen = []
    for step, ((weak, strong), targets) in enumerate(pipeline.as_numpy_iterator()):
        epoch = step // 3  # 11 examples are two batches of 4 and one of 3
        for row, identity in enumerate(targets["index"]):
            path = folder / f"{(100 - identity) // 3}.jpg"
            for view, seed in ((weak, SEED), (strong, strong_seed)):
                expected = standardized(crop(path, identity, epoch, seed))
                np.testing.assert_allclose(view[row], expected, atol=1e-5)
            assert targets["label"][row] == identity % 4
            seen.append((epoch, identity))
    assert sorted(seen) == sorted((e, i) for e in (0, 1) for i in examples.ids)


def test_what_starts_at_a_later_epoch_is_the_same(examples):
    options = {"batch_size": 4, "epochs": 3, "seed": SEED, "augment": "flip"}
    dataset = dataset_of(examples)
    whole_run = list(training_batches(examples, dataset, **options))
    resumed = list(training_batches(examples, dataset, **options, initial_epoch=1))
    within = list(
        training_batches(examples, dataset, **options, initial_epoch=1, initial_step=2)
    )
    assert len(whole_run) == 9
    for start, rest in ((3, resumed), (5, within)):
        for (x1, y1), (x2, y2) in zip(whole_run[start:], rest, strict=True):
            np.testing.assert_array_equal(x1, x2)
            np.testing.assert_array_equal(y1["index"], y2["index"])


def test_evaluation_sees_the_middle_in_order(examples, folder):
    batches = evaluation_batches(examples, dataset_of(examples), batch_size=4)
    images = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    expected = standardized([centre(folder / f"{i}.jpg") for i in range(11)])
    np.testing.assert_allclose(images, expected, atol=1e-5)
    np.testing.assert_array_equal(labels, examples.labels)


BAD = {
    b"empty.jpg": (b"", "empty"),
    b"text.jpg": (b"not found\n" * 99, "not an image"),
    b"cut.jpg": (None, "truncated"),
    b"missing.jpg": (None, "No such file"),
}


@pytest.fixture(scope="module")
def mixed(folder):
    """The eleven, and four that cannot be read."""
    for name, (content, _) in BAD.items():
        if content is not None:
            (folder / name.decode()).write_bytes(content)
    (folder / "cut.jpg").write_bytes((folder / "0.jpg").read_bytes()[:-200])
    good = [f"{i}.jpg".encode() for i in range(11)]
    return examples_of(folder, [*good[:5], *BAD, *good[5:]])


BAD_IDS = {100 - 3 * position: name for position, name in enumerate(BAD, start=5)}


def test_bad_images_are_left_out_listed_and_counted(mixed, tmp_path):
    bad = BadImages(tmp_path / "bad_images.csv", max_fraction=0.3)
    pipeline = training_batches(
        mixed,
        dataset_of(mixed),
        batch_size=5,
        epochs=4,
        seed=SEED,
        augment="none",
        bad_images=bad,
    )
    batches = list(pipeline)
    assert len(batches) == 4 * 3
    for epoch in range(4):
        ids = [
            i for _, y in batches[3 * epoch : 3 * epoch + 3] for i in y["index"].numpy()
        ]
        # Nobody else is missing, and nobody there twice.
        assert sorted(ids) == sorted({*mixed.ids} - BAD_IDS.keys())
        for images, targets in batches:
            assert len(images) == len(targets["index"]) == len(targets["label"])
    assert bad.counts() == {"train": 4}
    with (tmp_path / "bad_images.csv").open(newline="") as file:
        rows = {int(row["id"]): row for row in csv.DictReader(file)}
    assert rows.keys() == BAD_IDS.keys()
    for identity, name in BAD_IDS.items():
        assert rows[identity]["image"].endswith("/" + name.decode())
        assert BAD[name][1] in rows[identity]["reason"]


def test_a_batch_of_nothing_else_gets_the_next_readable_example(mixed):
    # In batches of one, four of fifteen hold a bad image; those are at places 5 to 8,
    # so that the next example that can be read is at place 9.
    bad = BadImages(None, max_fraction=1.0)
    pipeline = training_batches(
        mixed, dataset_of(mixed), batch_size=1, epochs=1, seed=SEED, bad_images=bad
    )
    ids = [int(y["index"][0]) for _, y in pipeline]
    assert len(ids) == 15
    stand_in = int(mixed.ids[9])
    assert ids.count(stand_in) == 5
    good = {*mixed.ids} - BAD_IDS.keys()
    assert all(ids.count(i) == 1 for i in good - {stand_in})


def test_evaluation_goes_on_without_them(mixed, tmp_path):
    bad = BadImages(tmp_path / "bad.csv", max_fraction=0.3)
    options = {"batch_size": 2, "split": "ilsvrc12", "bad_images": bad}
    dataset = dataset_of(mixed)
    batches = list(evaluation_batches(mixed, dataset, **options))
    assert all(len(images) for images, _ in batches)
    good = [i for i in range(15) if not 5 <= i <= 8]
    labels = np.concatenate([labels for _, labels in batches])
    np.testing.assert_array_equal(labels, mixed.labels[good])
    placed = evaluation_batches(mixed, dataset, **options, with_positions=True)
    np.testing.assert_array_equal(np.concatenate([p for _, p in placed]), good)
    assert bad.counts() == {"ilsvrc12": 4}


def test_too_many_bad_images_stop_the_reading(mixed, tmp_path):
    bad = BadImages(tmp_path / "bad_images.csv", max_fraction=0.2)  # 3 of 15
    pipeline = training_batches(
        mixed, dataset_of(mixed), batch_size=4, epochs=9, seed=SEED, bad_images=bad
    )
    with pytest.raises(tf.errors.OpError, match="TooManyBadImagesError: 4 of the 15"):
        list(pipeline)
    assert isinstance(bad.error, TooManyBadImagesError)


def test_no_readable_image_at_all_is_an_error(folder):
    names = [b"text.jpg", b"empty.jpg"]
    examples = examples_of(folder, names)
    bad = BadImages(None, max_fraction=1.0)
    pipeline = training_batches(
        examples,
        dataset_of(examples),
        batch_size=2,
        epochs=1,
        seed=SEED,
        bad_images=bad,
    )
    with pytest.raises(tf.errors.OpError, match="None of the 2 images of the train"):
        list(pipeline)
    assert isinstance(bad.error, TooManyBadImagesError)


class InMemory(EncodedImages):
    """Encoded images from anywhere: the base class is all that the batches know."""

    def __init__(self, contents, resize, image_size):
        super().__init__(resize, image_size)
        self.contents = contents

    def __len__(self):
        return len(self.contents)

    def __getitem__(self, positions):
        chosen = np.arange(len(self))[positions]
        return InMemory([self.contents[i] for i in chosen], *self.shape[1:3])

    def read(self, position):
        return self.contents[position]

    def name(self, position):
        return f"number {position}"


def test_any_encoded_images_will_do():
    pixels = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), np.uint8)
    contents = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        contents.append(file.getvalue())
    examples = Examples(np.arange(2), InMemory(contents, 8, 8), np.arange(2))
    loader = CropLoader(
        examples,
        "test",
        BadImages(),
        [None],
        lambda step: (step, np.array([1, 0])),
        never_empty=False,
        ahead=2,
    )
    epoch, views, positions = loader.load(5, end_step=9)
    assert epoch == 5
    np.testing.assert_array_equal(views, pixels[::-1])
    np.testing.assert_array_equal(positions, [1, 0])


@pytest.mark.parametrize("ahead", [2, 4])
def test_so_many_batches_are_worked_on_ahead(examples, ahead):
    begun = []

    def positions_of(step):
        begun.append(step)
        return 0, np.array([step])

    loader = CropLoader(
        *(examples, "train", BadImages(), [SEED], positions_of),
        never_empty=True,
        ahead=ahead,
    )
    for step in range(7):
        loader.load(step, end_step=7)
        assert begun == list(range(min(step + ahead + 1, 7)))


def reading_threads():
    return [t for t in threading.enumerate() if t.name.startswith("read_images")]


def test_a_loader_ends_with_its_data_set(examples):
    dataset = dataset_of(examples)
    threads = len(reading_threads())
    for _ in range(5):
        evaluation = evaluation_batches(examples, dataset, batch_size=4)
        assert sum(len(images) for images, _ in evaluation) == 11
    assert reading_threads()
    del evaluation
    gc.collect()
    deadline = time.monotonic() + 10
    while len(reading_threads()) > threads and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(reading_threads()) <= threads


LEFT_IN_USE = """
import atexit, time

calls = [0, 0]  # begun, ended

def at_last():
    before = list(calls)
    time.sleep(1)
    print("at the end:", before[0] - before[1], calls[0] - before[0], before[0] > 2)

atexit.register(at_last)  # the first to be registered is the last to be called

import numpy as np
from PIL import Image
from sop_keras.data.batches import crop_loader
from sop_keras.data.batches.pipelines import evaluation_batches
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.images.encoded_images import ImageFiles

def load(self, *args, of_class=crop_loader.CropLoader.load):
    calls[0] += 1
    time.sleep(0.4)
    try:
        return of_class(self, *args)
    finally:
        calls[1] += 1

crop_loader.CropLoader.load = load
Image.new("RGB", (8, 8)).save("0.png")
ids = np.arange(8)
examples = Examples(ids, ImageFiles(".", np.array([b"0.png"] * 8), 8, 8), ids)
dataset = Dataset("own", tuple("abcdefgh"), 8, examples, None, (0.5,) * 3, (0.5,) * 3)
batches = evaluation_batches(examples, dataset, batch_size=1)
iterators = [iter(batches) for _ in range(2)]
for iterator in iterators:
    next(iterator)
"""


def test_tf_data_calls_nothing_when_the_process_ends(tmp_path):
    # A thread of tf.data that asks for Python when that is on its way out is never
    # heard of again, and now and then the destructor of its iterator waits for it.
    done = subprocess.run(
        [sys.executable, "-c", LEFT_IN_USE],
        cwd=tmp_path,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # Calls under way, and calls begun in a second; there had been some.
    assert done.stdout == "at the end: 0 0 True\n"
