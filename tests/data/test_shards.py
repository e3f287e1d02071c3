"""Parts of batches, against `np.array_split` of the undivided ones."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sop_keras.data.batches.pipelines import evaluation_batches, training_batches
from sop_keras.data.batches.shards import BatchShards
from sop_keras.data.datasets.dataset import Dataset, Examples
from sop_keras.data.images.bad_images import BadImages
from sop_keras.data.images.encoded_images import EncodedImages

SEED = 7

# Replicas and workers. Batches of 5 of 23 examples end with one of 3; those of 11 with
# one of 1, less than any number of replicas here.
# A worker with all, workers with one each, and with two each.
LAYOUTS = [(3, 1), (2, 2), (4, 2)]
BATCH_SIZES = [5, 11]


class CountedImages(EncodedImages):
    """PNGs in memory that remember which of them were read."""

    def __init__(self, contents, resize, image_size):
        super().__init__(resize, image_size)
        self.contents = contents
        self.reads = []

    def __len__(self):
        return len(self.contents)

    def __getitem__(self, positions):
        raise NotImplementedError

    def read(self, position):
        self.reads.append(position)
        return self.contents[position]

    def name(self, position):
        return f"number {position}"


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def dataset_of(images):
    rng = np.random.default_rng(1)
    ids = rng.permutation(100)[: len(images)]
    examples = Examples(ids, images, ids % 4)
    mean, std = (0.5, 0.25, 0.125), (0.2, 0.3, 0.4)
    return Dataset("own", tuple("abcd"), 100, examples, examples, mean, std)


@pytest.fixture(scope="module", params=["arrays", "encoded"])
def dataset(request):
    """Twenty-three examples with ids up to 99, in no order."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (23, 12, 14, 3), np.uint8)
    if request.param == "arrays":
        return dataset_of(pixels)
    return dataset_of(CountedImages([png(image) for image in pixels], 10, 8))


def shards_of_workers(replicas, workers):
    count = replicas // workers
    return [BatchShards(w * count, count, replicas) for w in range(workers)]


def arrays_of(pipeline):
    """The elements, each as a list of arrays: images (one view or two), numbers."""
    return [tf.nest.flatten(element) for element in pipeline.as_numpy_iterator()]


def check_shards(whole, of_workers, replicas):
    """The elements of all workers, in order, are what numpy makes of the batches."""
    count = replicas // len(of_workers)
    assert [len(elements) for elements in of_workers] == [
        count * len(whole) for _ in of_workers
    ]
    for step, batch in enumerate(whole):
        received = [
            element
            for elements in of_workers
            for element in elements[step * count : (step + 1) * count]
        ]
        expected = [np.array_split(array, replicas) for array in batch]
        for shard, arrays in enumerate(received):
            for array, of_shards in zip(arrays, expected, strict=True):
                np.testing.assert_array_equal(array, of_shards[shard], strict=True)


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_the_shards_of_training_batches(dataset, batch_size):
    def batches(shards):
        pipeline = training_batches(
            dataset.train, dataset, batch_size=batch_size, epochs=2, seed=SEED, **shards
        )
        elements = arrays_of(pipeline)
        assert pipeline.cardinality() == len(elements)
        return elements

    whole = batches({})
    assert len(whole) == 2 * {5: 5, 11: 3}[batch_size]
    for replicas, workers in LAYOUTS:
        of_workers = [
            batches({"shards": p}) for p in shards_of_workers(replicas, workers)
        ]
        check_shards(whole, of_workers, replicas)


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_the_shards_of_evaluation_batches(dataset, batch_size):
    def batches(**options):
        pipeline = evaluation_batches(
            dataset.test, dataset, batch_size=batch_size, **options
        )
        return arrays_of(pipeline), int(pipeline.cardinality())

    whole, _ = batches()
    for replicas, workers in LAYOUTS:
        of_workers = []
        for shards in shards_of_workers(replicas, workers):
            elements, cardinality = batches(shards=shards)
            assert cardinality == len(elements)
            of_workers.append(elements)
        check_shards(whole, of_workers, replicas)


def test_pairs_of_a_balanced_subset_from_the_middle_of_an_epoch(dataset):
    # 3 of each of the 4 classes: 12 examples are batches of 5, 5 and 2.
    smallest = np.bincount(dataset.train.labels, minlength=4).min()
    assert smallest >= 3
    options = {"batch_size": 5, "epochs": 3, "seed": SEED, "examples_per_class": 3}
    options["strong_augment"] = "flip"
    whole = arrays_of(training_batches(dataset.train, dataset, **options))
    assert [len(batch[-1]) for batch in whole] == [5, 5, 2] * 3
    of_workers = []
    for shards in shards_of_workers(4, 2):
        pipeline = training_batches(
            *(dataset.train, dataset),
            **options,
            initial_epoch=1,
            initial_step=2,
            shards=shards,
        )
        of_workers.append(arrays_of(pipeline))
        # Two shards each of the last batch of epoch 1 and the three of epoch 2.
        assert pipeline.cardinality() == 2 * 4
    check_shards(whole[5:], of_workers, 4)


def test_a_worker_reads_its_own_images_once():
    pixels = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 3), np.uint8)
    contents = [png(image) for image in pixels]
    options = {"batch_size": 5, "epochs": 1, "seed": SEED, "augment": "none"}
    whole = dataset_of(pixels)
    batches = [y["index"] for _, y in training_batches(whole.train, whole, **options)]
    for worker, shards in enumerate(shards_of_workers(4, 2)):
        dataset = dataset_of(CountedImages(contents, 8, 8))
        list(training_batches(dataset.train, dataset, **options, shards=shards))
        own = [np.array_split(ids, 4)[2 * worker : 2 * worker + 2] for ids in batches]
        expected = np.concatenate([shard for pair in own for shard in pair])
        read = dataset.train.ids[dataset.train.images.reads]
        assert sorted(read) == sorted(expected)


@pytest.fixture
def with_bad_images():
    """A data set of fifteen images; those at 5 to 8 cannot be read."""
    pixels = np.random.default_rng(0).integers(0, 256, (15, 8, 8, 3), np.uint8)
    contents = [b"" if 5 <= i <= 8 else png(image) for i, image in enumerate(pixels)]
    return dataset_of(CountedImages(contents, 8, 8))


def test_only_a_shard_that_had_images_gets_another_one(with_bad_images):
    # Batches of one for two replicas: the second one's shards are empty by right.
    bad = BadImages(None, max_fraction=1.0)
    pipeline = training_batches(
        *(with_bad_images.train, with_bad_images),
        batch_size=1,
        epochs=1,
        seed=SEED,
        bad_images=bad,
        shards=BatchShards(0, 2, 2),
    )
    sizes = [(len(x), len(y["index"]), len(y["label"])) for x, y in pipeline]
    assert sizes == [(1, 1, 1), (0, 0, 0)] * 15
    assert bad.counts() == {"train": 4}


def test_evaluation_keeps_the_shards_that_cannot_be_read(with_bad_images):
    # Batches of 2 in two shards are one image an element; the last one has no second.
    batches = evaluation_batches(
        *(with_bad_images.test, with_bad_images),
        batch_size=2,
        bad_images=BadImages(None, max_fraction=1.0),
        with_positions=True,
        shards=BatchShards(0, 2, 2),
    )
    expected = [[i] if not 5 <= i <= 8 else [] for i in range(15)] + [[]]
    assert [positions.numpy().tolist() for _, positions in batches] == expected
    assert batches.cardinality() == 16


@pytest.mark.parametrize("of", [1, 2, 3, 4, 7])
def test_bounds_are_those_of_numpy(of):
    shards = BatchShards(0, of, of)
    bounds_of_tensors = tf.function(shards.bounds)
    for size in (0, 1, 3, 4, 13, 128):
        split = np.array_split(np.arange(size), of)
        ends = np.cumsum([len(shard) for shard in split])
        expected = list(zip([0, *ends[:-1]], ends, strict=True))
        assert [shards.bounds(size, shard) for shard in range(of)] == expected
        np.testing.assert_array_equal(
            np.transpose(shards.bounds(np.int64(size), np.arange(of))), expected
        )
        tensors = bounds_of_tensors(
            tf.constant(size, tf.int64), tf.range(of, dtype="int64")
        )
        assert all(tensor.dtype == tf.int64 for tensor in tensors)
        np.testing.assert_array_equal(np.transpose(tensors), expected)


def test_the_default_is_the_whole_batch():
    assert BatchShards() == BatchShards(first=0, count=1, of=1)
    assert list(BatchShards(2, 2, 5).numbers) == [2, 3]


def test_the_shards_of_a_pipeline():
    context = tf.distribute.InputContext(
        num_input_pipelines=2, input_pipeline_id=1, num_replicas_in_sync=4
    )
    assert BatchShards.of_pipeline(context) == BatchShards(first=2, count=2, of=4)


def test_pipelines_of_different_size_are_refused():
    context = tf.distribute.InputContext(
        num_input_pipelines=2, input_pipeline_id=0, num_replicas_in_sync=3
    )
    with pytest.raises(
        ValueError, match="num_replicas_in_sync=3, num_input_pipelines=2"
    ):
        BatchShards.of_pipeline(context)


@pytest.mark.parametrize(
    "shards", [(-1, 1, 2), (0, 0, 2), (1, 2, 2), (0, 2, 1), (0, 1, 2.0), (0, 0, 0)]
)
def test_shards_that_are_not_there(shards):
    first, count, of = shards
    with pytest.raises(ValueError, match=f"first={first}, count={count}, of={of}"):
        BatchShards(*shards)
