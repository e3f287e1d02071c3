"""Every kind of data that fit takes, seen from inside a training step."""

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf

from sop_keras import with_index
from sop_keras.core.data_errors import DataError
from sop_keras.core.indexed_model import IndexedModel
from sop_keras.core.training_data import unpack

N, D, K = 10, 3, 4
X = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
Y = np.array([0, 3, 1, 2, 2, 0, 1, 3, 0, 1])
WEIGHTS = np.linspace(0.5, 2.0, N)
CLASS_WEIGHT = {0: 3.0, 2: 0.5}
CLASS_WEIGHTS = np.float32([3.0, 1.0, 0.5, 1.0])[Y]


class Collector(IndexedModel):
    """Keeps what its steps are given."""

    def __init__(self, num_examples=N):
        super().__init__(num_examples, K)
        self.dense = keras.layers.Dense(K)
        self.steps, self.tests = [], []

    def call(self, inputs):
        if isinstance(inputs, tf.SparseTensor):
            inputs = tf.sparse.to_dense(inputs)
        return self.dense(inputs)

    def train_step(self, data):
        self.steps.append([_numpy(value) for value in unpack(data)])
        return {"loss": 0.0}

    def test_step(self, data):
        self.tests.append([_numpy(value) for value in unpack(data)])
        return {"loss": 0.0}

    @property
    def examples(self):
        """All examples in the order of their ids: inputs, labels, ids, weights."""
        inputs, labels, ids, weights = zip(*self.steps, strict=True)
        order = np.argsort(np.concatenate(ids))
        joined = [np.concatenate(column)[order] for column in (inputs, labels, ids)]
        if weights[0] is None:
            return (*joined, None)
        return (*joined, np.concatenate(weights)[order])


def _numpy(value):
    if isinstance(value, tf.SparseTensor):
        value = tf.sparse.to_dense(value)
    return None if value is None else np.asarray(value)


def fitted(x, y=None, **arguments):
    model = Collector()
    model.compile("sgd", run_eagerly=True)
    model.fit(x, y, verbose=0, **arguments)
    return model


def targets(rows):
    return {"label": Y[rows], "index": np.arange(N)[rows]}


BATCHES = [slice(0, 4), slice(4, 8), slice(8, 10)]


class Batches(keras.utils.PyDataset):
    def __init__(self, weighted=False, **kwargs):
        super().__init__(**kwargs)
        self.weighted = weighted

    def __len__(self):
        return len(BATCHES)

    def __getitem__(self, position):
        rows = BATCHES[position]
        if self.weighted:
            return X[rows], targets(rows), WEIGHTS[rows]
        return X[rows], targets(rows)


def generator(weighted=False):
    yield from (Batches(weighted)[position] for position in range(3))


def dataset(weighted=False):
    arrays = (X, Y, WEIGHTS) if weighted else (X, Y)
    return with_index(tf.data.Dataset.from_tensor_slices(arrays)).shuffle(N).batch(4)


STREAMS = {
    "tf.data": dataset,
    "PyDataset": Batches,
    "threads": lambda weighted=False: Batches(weighted, workers=2),
    "generator": generator,
}
streams = pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())


def steps(stream):
    """Keras warns where a generator ends before it is told to."""
    return {"steps_per_epoch": 3} if stream is generator else {}


@streams
def test_streams(stream):
    x, labels, ids, weights = fitted(stream(), **steps(stream)).examples
    np.testing.assert_array_equal(ids, np.arange(N))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(labels, Y)
    assert weights is None


@streams
def test_sample_weights_of_streams(stream):
    found = fitted(stream(weighted=True), **steps(stream)).examples[3]
    np.testing.assert_array_equal(found, WEIGHTS.astype(np.float32))


@streams
def test_class_weights_of_streams(stream):
    arguments = {"class_weight": CLASS_WEIGHT, **steps(stream)}
    np.testing.assert_array_equal(
        fitted(stream(), **arguments).examples[3], CLASS_WEIGHTS
    )
    with pytest.raises(ValueError, match="`class_weight` and sample weights cannot be"):
        fitted(stream(weighted=True), **arguments)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, Y),
        (X, Y[:, None]),
        (X, Y.tolist()),
        (X, np.eye(K)[Y]),
        (X, {"label": Y, "index": np.arange(N)}),
        (X, {"label": Y.tolist(), "index": [*range(N)]}),
        (tf.constant(X), tf.constant(Y)),
        (pd.DataFrame(X), pd.Series(Y, index=Y)),
        (scipy.sparse.csr_matrix(X), Y),
        (tf.sparse.from_dense(X), Y),
    ],
    ids=str.split("ints column list one-hot dict lists tensors pandas scipy sparse"),
)
def test_arrays(x, y):
    found_x, labels, ids, weights = fitted(x, y, batch_size=4).examples
    np.testing.assert_array_equal(ids, np.arange(N))
    np.testing.assert_allclose(found_x, X, rtol=1e-7)
    one_hot = labels.ndim == 2
    np.testing.assert_array_equal(labels, np.eye(K)[Y] if one_hot else Y)
    assert weights is None


@pytest.mark.parametrize("weights", [WEIGHTS, WEIGHTS[:, None], WEIGHTS.tolist()])
def test_sample_weights_of_arrays(weights):
    found = fitted(X, Y, sample_weight=weights).examples[3]
    np.testing.assert_array_equal(found, WEIGHTS.astype(np.float32))


def test_class_weights_of_arrays():
    for labels in (Y, np.eye(K)[Y]):
        found = fitted(X, labels, class_weight=CLASS_WEIGHT).examples[3]
        np.testing.assert_array_equal(found, CLASS_WEIGHTS)
    with pytest.raises(ValueError, match="`class_weight` and sample weights cannot be"):
        fitted(X, Y, sample_weight=WEIGHTS, class_weight=CLASS_WEIGHT)


def test_arrays_are_shuffled_and_streams_are_not():
    model = Collector()
    model.compile("sgd", run_eagerly=True)
    keras.utils.set_random_seed(0)
    model.fit(X, Y, batch_size=N, verbose=0)
    model.fit(X, Y, batch_size=N, shuffle=False, verbose=0)
    model.fit(
        with_index(tf.data.Dataset.from_tensor_slices((X, Y))).batch(N), verbose=0
    )
    orders = [ids.tolist() for _, _, ids, _ in model.steps]
    assert orders[0] != [*range(N)] == orders[1] == orders[2]


def test_validation_split_keeps_ids_and_weights():
    model = fitted(X, Y, sample_weight=WEIGHTS, validation_split=0.3, batch_size=4)
    x, _, ids, weights = model.examples
    np.testing.assert_array_equal(ids, np.arange(7))
    np.testing.assert_array_equal(x, X[:7])
    np.testing.assert_array_equal(weights, WEIGHTS[:7].astype(np.float32))
    tested = [np.concatenate(column) for column in zip(*model.tests, strict=True)]
    np.testing.assert_array_equal(tested[0], X[7:])
    np.testing.assert_array_equal(tested[3], WEIGHTS[7:].astype(np.float32))


@pytest.mark.parametrize(
    "validation",
    [
        (X, Y),
        (X, Y, WEIGHTS),
        tf.data.Dataset.from_tensor_slices((X, Y)).batch(4),
        Batches(weighted=True),
    ],
    ids=["arrays", "weighted", "tf.data", "PyDataset"],
)
def test_validation_data(validation):
    model = fitted(X, Y, validation_data=validation)
    assert all(labels.ndim == 1 and ids is None for _, labels, ids, _ in model.tests)
    found = np.concatenate([labels for _, labels, _, _ in model.tests])
    np.testing.assert_array_equal(found, Y)


def test_positional_arguments_are_those_of_keras():
    model = Collector()
    model.compile("sgd", run_eagerly=True)
    model.fit(X, Y, 5, 2, 0)
    assert [len(ids) for _, _, ids, _ in model.steps] == [5] * 4
    model.evaluate(X, Y, 5, 0)
    assert [len(labels) for _, labels, _, _ in model.tests] == [5, 5]


@streams
def test_model_and_optimizer_are_built_before_callbacks_start(stream):
    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            assert self.model.built
            assert self.model.optimizer.built
            assert len(self.model.optimizer.variables) == 4  # two of them momentum

    model = Collector()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), run_eagerly=True)
    model.fit(stream(), callbacks=[Look()], verbose=0, **steps(stream))
    np.testing.assert_array_equal(model.examples[2], np.arange(N))


class Demanding(Collector):
    """Doubles its inputs, refuses flat ones, and keeps the labels that it is told."""

    def __init__(self):
        super().__init__()
        self.kinds, self.told = [], []

    def _check_inputs(self, x, training):
        self.kinds.append(training)
        if np.ndim(x) == 1:
            raise DataError("The inputs are flat.")
        return 2 * x

    def _before_training(self, labels, validation_split=0.0, **others):
        known = None if labels is None else np.asarray(labels).tolist()
        self.told.append((known, validation_split))


@streams
def test_inputs_of_streams_are_checked_and_replaced(stream):
    model = Demanding()
    model.compile("sgd", run_eagerly=True)
    model.fit(stream(), validation_data=(X, Y), verbose=0, **steps(stream))
    np.testing.assert_array_equal(model.examples[0], 2 * X)
    np.testing.assert_array_equal(model.tests[0][0], 2 * X)
    assert model.kinds.count(False) == 1  # evaluation's
    assert model.told == [(None, 0.0)]


def test_inputs_of_arrays_are_checked_and_replaced():
    model = Demanding()
    model.compile("sgd", run_eagerly=True)
    model.fit(X, Y, validation_split=0.3, verbose=0)
    np.testing.assert_array_equal(model.examples[0], 2 * X[:7])
    model.train_on_batch(X, targets(slice(None)))
    np.testing.assert_array_equal(model.steps[-1][0], 2 * X)
    assert model.kinds == [True, True]
    assert model.told == [(Y.tolist(), 0.3), (None, 0.0)]
    for use in (model.fit, model.evaluate, model.test_on_batch):
        with pytest.raises(DataError, match=r"^The inputs are flat"):
            use(X[:, 0], Y)
    assert len(model.told) == 2


def test_other_keys_of_the_targets_are_ignored():
    others = {"epoch": np.zeros(N), "label": Y, "index": np.arange(N), "a": np.ones(N)}
    data = tf.data.Dataset.from_tensor_slices((X, others)).batch(4)
    for arguments in ((X, others), (data,)):
        x, labels, ids, weights = fitted(*arguments).examples
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(labels, Y)
        np.testing.assert_array_equal(ids, np.arange(N))
        assert weights is None


def test_a_pydataset_hears_of_epochs():
    class Listening(Batches):
        heard = ()

        def on_epoch_end(self):
            self.heard = (*self.heard, "end")

        def on_epoch_begin(self):
            self.heard = (*self.heard, "begin")

    listening = Listening()
    fitted(listening, epochs=2)
    assert [event for event in listening.heard if event == "begin"] == ["begin"] * 2
    assert listening.heard[-1] == "end"


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, None, r"`y` is missing. Pass arrays \(x, y\), or a tf.data.Dataset"),
        (X, {"label": Y}, r"wrap it in with_index.*Received y: \['label'\]"),
        (X, {"index": Y}, r'y has no "label".*Received the keys \[.index'),
        (X, {"label": Y, "index": Y[:5]}, r"as many inputs, indices .*\[10  5 10\]"),
        (X, {"label": Y, "index": Y + 10}, r"Index 10 is outside \[0, 10\)"),
        (X[:0], Y[:0], r"and at least one. Received the .*\[0 0 0\]"),
        (X.tolist(), Y, r"`x` holds plain Python values. Pass arrays: numpy.asarray"),
        (X[:5], Y, r"as many inputs, indices .*\[10 10  5\]"),
        (np.vstack([X, X]), np.hstack([Y, Y]), r"20 training examples do not fit a n"),
        (dataset(), Y, r"`y` must not be given beside a .*Dataset, which brings its"),
        (dataset().take(0), None, r"The data set is empty"),
        (generator(), Y, r"`y` must not be given beside a generator"),
        ((batch for batch in ()), None, r"The generator gave no batch"),
    ],
)
def test_wrong_data(x, y, message):
    with pytest.raises(ValueError, match=message):
        fitted(x, y)


def test_sample_weights_beside_a_stream():
    with pytest.raises(
        ValueError, match="`sample_weight` must not be given beside a B"
    ):
        fitted(Batches(), sample_weight=WEIGHTS)


def test_wrong_evaluation_data():
    model = Collector()
    model.compile("sgd", run_eagerly=True)
    bad = tf.data.Dataset.from_tensor_slices((X, Y + 1)).batch(4)
    for arguments, message in (
        ((X, Y + 1), r"Label 4 is not in \[0, 4\)"),
        ((bad,), r"Label 4 is not in \[0, 4\)"),
        ((X, np.full((N, K), 0.25)), r"The label row .* is not one-hot"),
        ((X,), r"`y` is missing"),
        ((bad.map(lambda x, y: x),), r"Evaluation needs labels"),
    ):
        with pytest.raises(ValueError, match=message):
            model.evaluate(*arguments, verbose=0)
        with pytest.raises(ValueError, match=message):
            model.fit(X, Y, validation_data=arguments, verbose=0)
    with pytest.raises(ValueError, match="Label 4 is not in"):
        model.test_on_batch(X, Y + 1)
    with pytest.raises(ValueError, match=r"wrap.*Received y: ndarray"):
        model.train_on_batch(X, Y)
