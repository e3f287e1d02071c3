"""Inputs that the backbone or the weight of L_C cannot take end in a clear error.

Before any step: nothing of a model changes.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import SOPModel

N, D, K = 12, 4, 3
X = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
Y = np.arange(N) % K
IDS = np.arange(N)
TARGETS = {"label": Y, "index": IDS}
VIEWS = (X, X + 1)
PAIRS = tf.data.Dataset.from_tensors((VIEWS, Y))
WORDS = X.astype(str)
BAD_INPUTS = {
    "pair": (
        0.0,
        VIEWS,
        r"like two views.*consistency_weight .* \(lambda_C, 0.9 in the",
    ),
    "list": (0.0, [*VIEWS], r"like two views, .* takes float32 \(None, 4\)"),
    "rank": (
        0.0,
        np.zeros((N, 8, 8, D)),
        r"takes float32 .* Received: float64 .*8, 4\)",
    ),
    "size": (0.0, X[:, :3], r"takes float32 \(None, 4\). Received: float32 .*, 3\)"),
    "words": (0.0, WORDS, r"takes float32 \(None, 4\). Received: string .* Turn text"),
    "one view": (
        0.9,
        X,
        r"in two views; .* one is enough. Received: float32 .*fit\(\(weak_images, str",
    ),
    "three": (
        0.9,
        (X, X, X),
        r"with consistency_weight=0, one is enough. Received: \(.*, .*, .*\)",
    ),
    "shapes": (0.9, (X, X[:, :3]), r"must agree in str.*, 4\) and float32 .*, 3\)"),
    "dtypes": (0.9, (X, IDS[:, None] + Y), r"must agree in str.*float32 .* and "),
    "dicts": (0.9, (X, {"a": X}), r"must agree in structure.* and \{.a.: .float32"),
    "views of words": (0.9, (WORDS, WORDS), r"takes float32 .* Received: string"),
    "views of images": (
        0.9,
        (np.zeros((N, 8, 8, 3)),) * 2,
        r"takes float32 .* Received",
    ),
}


def model(consistency_weight=0.0, **compile_arguments):
    x = keras.Input((D,))
    # Dropout's seed is state, too, and must not move ahead of a refused batch.
    backbone = keras.Model(x, keras.layers.Dense(K)(keras.layers.Dropout(0.5)(x)))
    result = SOPModel(backbone, N, K, consistency_weight=consistency_weight, seed=1)
    rates = {"u_optimizer": 10.0, "v_optimizer": 10.0}
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    result.compile(optimizer, **rates, **compile_arguments)
    return result


@pytest.fixture(scope="module")
def models():
    """One for each weight, as none of the faults may change it."""
    return {weight: model(weight) for weight in (0.0, 0.9)}


def state(model):
    optimizers = (model.optimizer, model.u_optimizer, model.v_optimizer)
    variables = [*model.variables, *(v for one in optimizers for v in one.variables)]
    return [variable.numpy() for variable in variables]


def refused(model, message, train):
    before = state(model)
    with pytest.raises(ValueError, match=message):
        train(model)
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)


class Batch(keras.utils.PyDataset):
    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return 1

    def __getitem__(self, position):
        return self.x, TARGETS


def by_data_set(model, x):
    x = tuple(x) if isinstance(x, list) else x  # a list would be one tensor
    model.fit(tf.data.Dataset.from_tensors((x, TARGETS)), verbose=0)


KINDS = {
    "arrays": lambda model, x: model.fit(x, Y, verbose=0),
    "tf.data": by_data_set,
    "PyDataset": lambda model, x: model.fit(Batch(x), shuffle=False, verbose=0),
    "generator": lambda model, x: model.fit((b for b in [(x, TARGETS)]), verbose=0),
    "batch": lambda model, x: model.train_on_batch(x, TARGETS),
}


@pytest.mark.parametrize("train", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("fault", BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_inputs_that_the_backbone_or_the_weight_cannot_take(fault, train, models):
    weight, x, message = fault
    refused(models[weight], message, lambda model: train(model, x))


def stream(x, labels, ids):
    """One batch whose lengths show when it comes, no earlier."""
    unknown = tf.TensorSpec([None], tf.int64)
    views = keras.tree.map_structure(lambda _: tf.TensorSpec([None, D]), x)
    signature = views, {"label": unknown, "index": unknown}
    batch = x, {"label": Y[:labels], "index": IDS[:ids]}
    return tf.data.Dataset.from_generator(lambda: [batch], output_signature=signature)


@pytest.mark.parametrize(
    ("lengths", "received"),
    [
        ((0, 0, 0), r"at least one. Received the lengths \[0 0 0\]"),
        ((3, 4, 4), r"\[4 4 3\]"),
        ((4, 1, 4), r"\[1 4 4\]"),  # 1 would fit any other number in the step
        ((4, 4, 1), r"\[4 1 4\]"),
    ],
)
def test_batches_of_no_or_of_other_numbers_of_examples(lengths, received, models):
    inputs, labels, ids = lengths
    data = stream(X[:inputs], labels, ids)
    refused(models[0.0], received, lambda model: model.fit(data, verbose=0))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_views_of_other_numbers_of_examples(jit_compile):
    # Joined, they would be as many as two views of four examples.
    data = stream((X[:3], X[:5]), 4, 4)
    one = model(0.9, jit_compile=jit_compile)
    message = r"Received the lengths \[4 4 3 5\]"
    refused(one, message, lambda model: model.fit(data, verbose=0))


def test_no_examples_at_all(models):
    for weight, x in ((0.0, X[:0]), (0.9, (X[:0], X[:0]))):
        refused(
            models[weight],
            r"at least one. Received the lengths \[0 0 0",
            lambda model, x=x: model.fit(x, Y[:0], verbose=0),
        )


def test_pairs_for_an_unbuilt_backbone_without_the_weight():
    images = np.zeros((N, 8, 8, 3), np.float32)
    steps = keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(K)
    one = SOPModel(keras.Sequential([*steps]), N, K)
    one.compile("sgd")
    message = (
        r"failed on a pair .* two views: .*consistency_weight .*backbone's error: "
    )
    with pytest.raises(ValueError, match=message):
        one.fit((images, images), Y, verbose=0)
    assert int(one.optimizer.iterations) == 0


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.evaluate(VIEWS, Y, verbose=0),
        lambda model: model.evaluate(PAIRS, verbose=0),
        lambda model: model.test_on_batch(VIEWS, Y),
        lambda model: model.fit(VIEWS, Y, validation_data=(VIEWS, Y), verbose=0),
        lambda model: model.fit(VIEWS, Y, validation_data=PAIRS, verbose=0),
        lambda model: model.predict(VIEWS, verbose=0),
        lambda model: model.predict_on_batch(VIEWS),
        lambda model: model(VIEWS),
    ],
)
def test_pairs_where_one_view_is_taken(use, models):
    message = r"like two views, .* takes float32 \(None, 4\). .*evaluation and predict"
    refused(models[0.9], message, use)


class Flattening(keras.Model):
    """Says nothing of its inputs, and makes one array of any: of a pair, two rows."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(K)

    def call(self, inputs):
        inputs = keras.ops.convert_to_tensor(inputs)
        return self.dense(keras.ops.reshape(inputs, (-1, D * inputs.shape[-2])))


@pytest.mark.parametrize("pairs", [(VIEWS, Y), PAIRS], ids=["arrays", "tf.data"])
def test_pairs_to_validate_an_unbuilt_backbone_on(pairs):
    one = SOPModel(
        keras.Sequential([keras.layers.Dense(K)]), N, K, consistency_weight=0.9
    )
    one.compile("sgd")
    message = r"like two views, .* takes float32 \(None, 4\). .*evaluation and predict"
    with pytest.raises(ValueError, match=message):
        one.fit(VIEWS, Y, validation_data=pairs, verbose=0)
    assert int(one.optimizer.iterations) == 0


@pytest.mark.parametrize("consistency_weight", [0.0, 0.9])
def test_pairs_for_a_subclassed_backbone_after_training(consistency_weight):
    backbone = Flattening()
    one = SOPModel(backbone, N, K, consistency_weight=consistency_weight)
    one.compile("sgd")
    images = np.zeros((N, 2, D), np.float32)
    pair = images, images
    message = r"like two views, .* another number of inputs in training. .*evaluation"
    one.fit(pair if consistency_weight else images, Y, verbose=0)
    for use in (
        lambda: one.evaluate(pair, Y, verbose=0),
        lambda: one.predict(pair, verbose=0),
    ):
        with pytest.raises(ValueError, match=message):
            use()
    assert one.predict(images, verbose=0).shape == (N, K)


def test_pairs_set_aside_for_validation(models):
    refused(
        models[0.9],
        r"`validation_split` would set pairs.*Pass validation_data=\(x, y\)",
        lambda model: model.fit(VIEWS, Y, validation_split=0.5, verbose=0),
    )
