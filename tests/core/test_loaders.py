"""Loaders of PyTorch and Grain: by stand-ins of their names, and real where there."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from sop_keras import SOPModel
from sop_keras.core.loaders import as_dataset

N, D, K = 10, 3, 4
X = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
Y = np.array([0, 3, 1, 2, 2, 0, 1, 3, 0, 1])
PARTS = np.split(np.random.default_rng(1).permutation(N), [4, 8])


class Tensor:
    """As PyTorch's, on a device and with a gradient: NumPy cannot read it so."""

    def __init__(self, values, on_host=False):
        self.values, self.on_host = values, on_host

    def detach(self):
        return self

    def cpu(self):
        return Tensor(self.values, on_host=True)

    def __array__(self, dtype=None, copy=None):
        assert self.on_host
        return self.values


class DataLoader:
    """Gives its batches anew in every pass, as lists, like PyTorch's."""

    def __init__(self, batches):
        self.batches, self.passes = batches, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.batches)

    def __len__(self):
        return len(self.batches)


def named(kind, name, module):
    return type(name, (kind,), {"__module__": module})


TorchLoader = named(DataLoader, "DataLoader", "torch.utils.data.dataloader")
# What people derive from it counts, too.
OwnLoader = named(TorchLoader, "OwnLoader", "my_project")
GrainMap = named(DataLoader, "MapDataset", "grain._src.python.dataset.dataset")
GrainIterator = named(DataLoader, "DatasetIterator", "grain._src.python.dataset")
TorchDataset = named(object, "Dataset", "torch.utils.data.dataset")

WITH_IDS = [[Tensor(X[p]), {"label": Tensor(Y[p]), "index": Tensor(p)}] for p in PARTS]
PLAIN = [[Tensor(X[p]), Tensor(Y[p])] for p in PARTS]
loaders = pytest.mark.parametrize("kind", [TorchLoader, OwnLoader, GrainMap])


@pytest.fixture
def model():
    backbone = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    result = SOPModel(backbone, N, K, init_std=0.1, seed=0)
    rates = {"u_optimizer": 10.0, "v_optimizer": 10.0}
    result.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"], **rates)
    return result


@loaders
def test_every_pass_is_one_of_the_loader(kind):
    loader = kind(WITH_IDS)
    dataset = as_dataset(loader, None, needs_ids=True)
    assert dataset.cardinality() == 3
    assert dataset.options().autotune.enabled is False  # or its end would wait
    for _ in range(2):
        for (x, y), part in zip(dataset.as_numpy_iterator(), PARTS, strict=True):
            np.testing.assert_array_equal(x, X[part])
            np.testing.assert_array_equal(y["label"], Y[part])
            np.testing.assert_array_equal(y["index"], part)
    assert loader.passes == 3  # the first batch was looked at


def test_training_on_one(model):
    start = model.noise_table.v.numpy()
    history = model.fit(
        TorchLoader(WITH_IDS),
        validation_data=TorchLoader(PLAIN),
        class_weight=np.ones(K),
        verbose=0,
    ).history
    assert int(model.optimizer.iterations) == 3  # batches
    assert (model.noise_table.v.numpy() != start).any(axis=1).all()
    by_arrays = model.evaluate(X, Y, verbose=0)
    assert model.evaluate(TorchLoader(PLAIN), verbose=0) == pytest.approx(by_arrays)
    assert history["val_accuracy"][-1] == pytest.approx(by_arrays[1])
    # Rows went to their examples: the record has each one's label.
    issues = model.label_issues(TorchLoader(WITH_IDS)).sort_values("id")
    expected = model.label_issues(X, Y)
    issues = issues.reset_index(drop=True)
    pd.testing.assert_frame_equal(issues, expected, rtol=1e-5)


class Unbatched(TorchLoader):
    pass


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            TorchLoader(PLAIN),
            r"^PyTorch's DataLoader gives labels without the ids.*__ge",
        ),
        (GrainMap(PLAIN), r"^Grain's MapDataset gives labels without the ids.*MapData"),
        (TorchLoader([]), r"^PyTorch's DataLoader gave no batch"),
        (TorchLoader([X]), r"must give batches \(x, y.*Received one of type ndarray"),
        (
            Unbatched([(X[0], {"label": 0, "index": 0})]),
            r"^PyTorch's Unbatched gives example by example\. Wrap it in torch",
        ),
        (TorchDataset(), r"^PyTorch's Dataset is a data set.*Wrap it in torch.utils"),
        (GrainIterator([]), r"^Grain's DatasetIterator is an iterator.*after one pass"),
    ],
)
def test_loaders_that_cannot_be_trained_on(x, message, model):
    for use in (model.fit, model.indexed_data):
        with pytest.raises(ValueError, match=message):
            use(x)


def test_labels_beside_a_loader(model):
    with pytest.raises(ValueError, match="beside PyTorch's DataLoader, which brings"):
        model.fit(TorchLoader(WITH_IDS), Y)


def test_lengths():
    class Stream(TorchLoader):
        def __len__(self):
            raise TypeError("no length")

    class Endless(GrainMap):
        def __len__(self):
            return 2**63 - 1

    unknown, infinite = (
        as_dataset(kind(WITH_IDS), None, True).cardinality()
        for kind in (Stream, Endless)
    )
    assert unknown == tf.data.UNKNOWN_CARDINALITY
    assert infinite == tf.data.INFINITE_CARDINALITY


def test_what_is_no_loader_stays():
    own = named(DataLoader, "DataLoader", "my_project")([])
    for x in (X, [X], tf.data.Dataset.range(3), own, None):
        assert as_dataset(x, None, needs_ids=True) is x


class Source:
    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i], {"label": Y[i], "index": i}


def test_real_ones_of_grain(model):
    grain = pytest.importorskip("grain")
    model.fit(grain.MapDataset.source(Source()).shuffle(seed=1).batch(4), verbose=0)
    assert int(model.optimizer.iterations) == 3
    assert model.training_record.is_written(np.arange(N)).all()


def test_real_ones_of_torch(model):
    torch_data = pytest.importorskip("torch.utils.data")
    model.fit(torch_data.DataLoader(Source(), 4, shuffle=True), verbose=0)
    assert int(model.optimizer.iterations) == 3
    assert model.training_record.is_written(np.arange(N)).all()
