"""Bad data end in a clear error, before the step that would use them.

Compiled with XLA too, which drops assertions and clamps gathers out of range: no check
may depend on the step.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import SOPModel, with_index

N, D, K = 12, 4, 3
X = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
Y = np.arange(N) % K
IDS = np.arange(N)


def spoiled(values, value, position=5, dtype=None):
    values = np.array(values, dtype=dtype)
    values[position] = value
    return values


SOFT = np.full((N, K), 1 / K, np.float32)
BAD = {
    "too large": (Y, spoiled(IDS, N), r"^Index 12 is outside \[0, 12\)"),
    "negative": (Y, spoiled(IDS, -1), r"^Index -1 is outside \[0, 12\)"),
    "float": (Y, IDS.astype(np.float32), r"^The index must be of an integer dtype"),
    "label": (spoiled(Y, K), IDS, r"^Label 3 is not in \[0, 3\)"),
    "negative label": (spoiled(Y, -1), IDS, r"^Label -1 is not in \[0, 3\)"),
    "nan": (spoiled(Y, np.nan, dtype=np.float32), IDS, r"^Label nan is not in"),
    "soft": (SOFT, IDS, r"^The label row \[0.33.*\] is not one-hot.*soft labels"),
    "width": (np.eye(4)[Y], IDS, r"^Labels of shape .*4\) do not fit num_classes=3"),
}


def arrays(labels, ids):
    return X, {"label": labels, "index": ids}


def dataset(labels, ids):
    data = tf.data.Dataset.from_tensor_slices(arrays(labels, ids))
    return (data.shuffle(N, seed=1).batch(N),)


class Batches(keras.utils.PyDataset):
    """The spoiled example is in the last of three batches."""

    def __init__(self, labels, ids):
        super().__init__()
        order = np.roll(IDS, 6)
        self.arrays = [array[order] for array in (X, labels, ids)]

    def __len__(self):
        return 3

    def __getitem__(self, position):
        rows = slice(4 * position, 4 * position + 4)
        x, labels, ids = (array[rows] for array in self.arrays)
        return x, {"label": labels, "index": ids}


def py_dataset(labels, ids):
    return (Batches(labels, ids),)


def generator(labels, ids):
    batches = Batches(labels, ids)
    return ((batches[position] for position in range(3)),)


def model(num_examples=N, **compile_arguments):
    # Dropout's seed is state, too, and must not move ahead of a refused batch.
    steps = [keras.Input((D,)), keras.layers.Dropout(0.5), keras.layers.Dense(K)]
    backbone = keras.Sequential(steps)
    result = SOPModel(backbone, num_examples, K, init_std=0.1, seed=1)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    rates = {"u_optimizer": 10.0, "v_optimizer": 10.0}
    result.compile(optimizer, metrics=["accuracy"], **rates, **compile_arguments)
    return result


def state(model):
    optimizers = (model.optimizer, model.u_optimizer, model.v_optimizer)
    variables = [*model.variables, *(v for one in optimizers for v in one.variables)]
    return [variable.numpy() for variable in variables]


def refused(model, message, *data, unchanged=True, **arguments):
    before = state(model)
    with pytest.raises(ValueError, match=message):
        model.fit(*data, verbose=0, **arguments)
    if unchanged:
        for old, new in zip(before, state(model), strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.fixture(scope="module", params=[False, True], ids=["graph", "xla"])
def used_model(request):
    """One for all faults, as none of them may change it."""
    result = model(jit_compile=request.param)
    result.fit(X, Y, verbose=0)
    return result


@pytest.mark.parametrize("kind", [arrays, dataset])
@pytest.mark.parametrize("fault", BAD.values(), ids=BAD.keys())
def test_before_any_update(fault, kind, used_model):
    labels, ids, message = fault
    refused(used_model, message, *kind(labels, ids))


@pytest.mark.parametrize("kind", [py_dataset, generator])
@pytest.mark.parametrize("fault", ["too large", "float", "nan", "soft"])
def test_python_batches(fault, kind):
    labels, ids, message = BAD[fault]
    arguments = {"steps_per_epoch": 3} if kind is generator else {"shuffle": False}
    # Keras looks at two batches before it trains, so the third may come after updates.
    refused(model(), message, *kind(labels, ids), unchanged=False, **arguments)


@pytest.mark.parametrize(
    ("steps_per_execution", "jit_compile"), [(1, False), (1, True), (3, False)]
)
def test_the_batch_that_holds_it_is_not_trained_on(steps_per_execution, jit_compile):
    # Batches of four in order: the first is trained on, the second holds the bad id.
    one = model(jit_compile=jit_compile, steps_per_execution=steps_per_execution)
    before = one.noise_table.v.numpy()
    data = arrays(Y, spoiled(IDS, 99))
    batches = tf.data.Dataset.from_tensor_slices(data).batch(4)
    refused(one, r"^Index 99 is outside \[0, 12\)", batches, unchanged=False)
    moved = (one.noise_table.v.numpy() != before).any(axis=1)
    assert moved.tolist() == [True] * 4 + [False] * 8
    optimizers = (one.optimizer, one.u_optimizer, one.v_optimizer)
    assert [int(optimizer.iterations) for optimizer in optimizers] == [1, 1, 1]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_more_data_than_rows(jit_compile):
    small = model(num_examples=10, jit_compile=jit_compile)
    refused(
        small, r"^12 training examples do not fit a noise table of num_exa.*=10", X, Y
    )
    indexed = with_index(tf.data.Dataset.from_tensor_slices((X, Y))).batch(N)
    refused(small, r"^Index 10 is outside.*num_examples = the number of tra", indexed)


def test_a_data_set_without_ids():
    plain = tf.data.Dataset.from_tensor_slices((X, Y))
    for data in (plain.batch(4), plain.batch(4).map(lambda x, y: (x, {"label": y}))):
        refused(model(), r"wrap it in with_index before shuffling", data)
    refused(model(), r"^The index is a single number.*Batch them", with_index(plain))


def test_weights_that_would_spoil_the_table():
    weights = spoiled(np.ones(N), np.nan)
    refused(model(), r"^Sample weight nan", X, Y, sample_weight=weights)
    data = with_index(tf.data.Dataset.from_tensor_slices((X, Y, weights)))
    refused(model(jit_compile=True), r"^Sample weight nan", data.batch(N))
    refused(model(), r"`class_weight` has the key 3", X, Y, class_weight={3: 1.0})


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_wrong_width_of_a_subclassed_backbone(jit_compile):
    class Backbone(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(K + 2)

        def call(self, inputs):
            return self.dense(inputs)

    unbuilt = SOPModel(Backbone(), N, K)
    unbuilt.compile("sgd", jit_compile=jit_compile)
    with pytest.raises(
        ValueError, match=r"outputs have the shape \(None, 5\); expected"
    ):
        unbuilt.fit(X, Y, verbose=0)
    assert int(unbuilt.optimizer.iterations) == 0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_probabilities_of_a_subclassed_backbone_are_warned_of(jit_compile):
    class Backbone(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(K, activation="softmax")

        def call(self, inputs):
            return self.dense(inputs)

    probabilities = SOPModel(Backbone(), N, K)
    probabilities.compile("sgd", jit_compile=jit_compile)
    with pytest.warns(UserWarning, match="ends in a softmax, but from_logits=True"):
        probabilities.fit(X, Y, verbose=0)


def test_estimate_noise():
    one = model()
    for indices, labels, message in (
        ([12], [0], r"^Index 12 is outside \[0, 12\)"),
        ([0], [3], r"^Label 3 is not in \[0, 3\)"),
        ([0, 1], [0], r"^There are 1 labels for 2 indices"),
    ):
        with pytest.raises(ValueError, match=message):
            one.estimate_noise(indices, labels)
