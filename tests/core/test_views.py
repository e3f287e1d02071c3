"""What the backbone can take: arrays, and symbolic tensors of an input pipeline."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers

from sop_keras.core import views as inputs

VIEWS_ARE_FOR = "Views are for this."
PAIRS_ARE_FOR = "Pairs are for that."
N, D = 6, 4
X = np.zeros((N, D), np.float32)
IMAGES = np.zeros((N, 8, 8, 3), np.float32)


def functional(*arguments, **keywords):
    x = keras.Input(*arguments, **keywords)
    return keras.Model(x, x)


def of_two(structure, shape=(D,)):
    a, b = keras.Input(shape, name="a"), keras.Input(shape, name="b")
    return keras.Model(structure(a, b), layers.Concatenate()([a, b]))


def as_dict(a, b):
    return {"a": a, "b": b}


def as_tuple(a, b):
    return a, b


def as_list(a, b):
    return [a, b]


class Subclassed(keras.Model):
    inputs = "not what Keras calls so"

    def call(self, inputs):
        return inputs


def symbolic(check, x):
    """What the check gives inside `tf.data.Dataset.map`."""
    dataset = tf.data.Dataset.from_tensor_slices(x).batch(N)
    # Without AutoGraph, as in the package: it would bury the message.
    convert = tf.autograph.experimental.do_not_convert
    checked = dataset.map(convert(lambda *x: check(x if len(x) > 1 else x[0])))
    return next(iter(checked.as_numpy_iterator()))


def assert_same(found, expected):
    keras.tree.map_structure(np.testing.assert_array_equal, found, expected)


@pytest.fixture(params=["arrays", "pipeline"])
def apply(request):
    return symbolic if request.param == "pipeline" else lambda check, x: check(x)


@pytest.mark.parametrize(
    ("backbone", "x"),
    [
        (functional((D,)), X),
        (functional((D,)), X.astype(np.float64)),
        (functional((8, 8, 3)), IMAGES.astype(np.uint8)),
        (functional((None, None, 3)), IMAGES),
        (functional((8, 8, 1)), IMAGES[..., 0]),  # Keras adds the last axis,
        (functional((8, 8)), IMAGES[..., :1]),  # or removes it
        (functional((), dtype="int32"), X[:, 0]),
        (functional((), dtype="string"), np.array([b"a", b"b"] * 3, object)),
        # Keras compares ranks alone: convolutions take images of other sizes.
        (keras.Sequential([keras.Input((32, 32, 3)), layers.Identity()]), IMAGES),
        (keras.Sequential([layers.Dense(3)]), IMAGES),
        (layers.Dense(3), (X, X)),
        (Subclassed(), (X, X)),
        (of_two(as_tuple), (X, X)),
        (of_two(as_dict), {"a": X, "b": X, "more": IMAGES}),
        (of_two(as_list), {"a": X, "b": X}),  # by their names
    ],
)
def test_what_a_backbone_takes(backbone, x, apply):
    found = apply(lambda x: inputs.check_view(x, backbone, VIEWS_ARE_FOR), x)
    assert_same(found, x)


def test_pairs_of_what_was_trained_on():
    backbone = Subclassed()
    check = inputs.check_view
    with pytest.raises(ValueError, match=r"takes another number .* Views are for this"):
        check((X, X), backbone, VIEWS_ARE_FOR, 1)
    with pytest.raises(ValueError, match=r"takes another number .* Views are for this"):
        check(((X, X), (X, X)), backbone, VIEWS_ARE_FOR, 2)
    for x, trained_inputs in ((X, 1), ((X, X), 2), ((X, IMAGES), 1)):
        assert check(x, backbone, VIEWS_ARE_FOR, trained_inputs) is x


def test_other_kinds_of_arrays():
    backbone = functional((D,))
    for x in (pd.DataFrame(X), tf.sparse.from_dense(X), tf.ragged.constant([[1], []])):
        assert inputs.check_view(x, backbone, VIEWS_ARE_FOR) is x


def test_what_has_an_unknown_shape_in_the_pipeline():
    signature = tf.TensorSpec(None, tf.float32)
    dataset = tf.data.Dataset.from_generator(lambda: [X], output_signature=signature)
    backbone = functional((D,))
    passed = dataset.map(lambda x: inputs.check_view(x, backbone, VIEWS_ARE_FOR))
    np.testing.assert_array_equal(next(iter(passed)), X)


@pytest.mark.parametrize(
    ("backbone", "x", "message"),
    [
        (
            functional((D,)),
            X[:, :3],
            r"takes float32 \(None, 4\). Received: float32 \(",
        ),
        (
            functional((D,)),
            IMAGES,
            r"Received: float32 \(\w+, 8, 8, 3\). Change the sha",
        ),
        (functional((8, 8, 3)), IMAGES[..., 0], r"takes float32 \(None, 8, 8, 3\)"),
        (
            keras.Sequential([keras.Input((8, 8, 3)), layers.Identity()]),
            X,
            r"takes float32 \(None, 8, 8, 3\). Received: float32 \(\w+, 4\). Change",
        ),
        (
            functional((D,)),
            X.astype(str),
            r"Received: string .* Turn text into numbers",
        ),
        (
            functional((), dtype="string"),
            X[:, 0],
            r"takes string \(None,\). Rec.* float",
        ),
        (of_two(as_tuple), (X, X[:, :3]), r"takes float32 \(None, 4\). .*, 3\)"),
        (of_two(as_dict), {"a": X, "b": X[:, :3]}, r"takes float32 \(None, 4\). .*, 3"),
        (
            of_two(as_tuple),
            (X, X, X),
            r"takes \(.float32 \(None, 4\)., .float.* 4\).\). Received: \(.*, .*, .*\)",
        ),
        (
            functional((D,)),
            (X, X),
            r"a pair .* like two views, .* takes float32 \(None, 4\). Views are fo",
        ),
        (
            of_two(as_dict),
            ({"a": X, "b": X}, {"a": X, "b": X}),
            r"a pair .* like two views, .* takes \{.*\}. Views are for this",
        ),
    ],
)
def test_what_a_backbone_cannot_take(backbone, x, message, apply):
    with pytest.raises(ValueError, match=message):
        apply(lambda x: inputs.check_view(x, backbone, VIEWS_ARE_FOR), x)


@pytest.mark.parametrize(
    ("backbone", "x"),
    [
        (functional((D,)), (X, X)),
        (functional((8, 8, 3)), (IMAGES.astype(np.uint8),) * 2),
        (layers.Dense(3), (X, X)),
        (of_two(as_dict), ({"a": X, "b": X}, {"b": X, "a": X})),
        (of_two(as_tuple), ((X, X), (X, X))),
    ],
)
def test_two_views(backbone, x, apply):
    found = apply(lambda x: inputs.check_views(x, backbone, PAIRS_ARE_FOR), x)
    assert isinstance(found, tuple)
    assert_same(found, x)


def test_lists_become_tuples_as_in_keras():
    found = inputs.check_views([[X, X], [X, X]], of_two(as_list), PAIRS_ARE_FOR)
    assert [type(one) for one in (found, *found)] == [tuple] * 3


@pytest.mark.parametrize(
    ("backbone", "x", "message"),
    [
        (
            functional((D,)),
            X,
            r"^Pairs are for that. Received: float32 \(\w+, 4\). Two views are x = \(w",
        ),
        (
            functional((D,)),
            (X, X, X),
            r"^Pairs are for that. Received: \(.*, .*, .*Two views are x = \(w",
        ),
        (
            of_two(as_dict),
            {"a": X, "b": X},
            r"^Pairs are for that. Received: \{.*fit\(\(weak_images, str",
        ),
        (
            functional((D,)),
            (X, X[:, :3]),
            r"must agree.*: float32 \(\w+, 4\) and .* 3\)",
        ),
        (functional((D,)), (X, X.astype(int)), r"must agree.*float32 .* and int64 \("),
        (of_two(as_dict), ({"a": X, "b": X}, {"a": X}), r"must agree in structure"),
        (
            functional((D,)),
            (IMAGES, IMAGES),
            r"takes float32 \(None, 4\). Received: flo",
        ),
        (functional((D,)), (X.astype(str),) * 2, r"Received: string .* Turn text into"),
        # Meant as one view of two inputs.
        (of_two(as_tuple), (X, X), r"takes \(.*\). Received: .*, 4\). Two views are x"),
    ],
)
def test_what_is_no_two_views(backbone, x, message, apply):
    with pytest.raises(ValueError, match=message):
        apply(lambda x: inputs.check_views(x, backbone, PAIRS_ARE_FOR), x)


def test_views_of_different_lengths():
    with pytest.raises(ValueError, match=r"must agree.*\(6, 4\) and float32 \(5, 4\)"):
        inputs.check_views((X, X[:5]), functional((D,)), PAIRS_ARE_FOR)


def test_a_failure_on_two_views_is_explained():
    message = r"a pair of inputs.* two views: Views are for this. .*error: cannot"
    with (
        pytest.raises(ValueError, match=message),
        inputs.explain_views((X, X), VIEWS_ARE_FOR),
    ):
        raise TypeError("cannot")
    # Of other inputs, an error is what it was.
    for x in (X, {"a": X}, (X, X[:3])):
        with (
            pytest.raises(TypeError, match=r"^cannot$"),
            inputs.explain_views(x, VIEWS_ARE_FOR),
        ):
            raise TypeError("cannot")


def test_joining_views():
    a, b, c, d = (np.full((2, 1), value, np.float32) for value in range(4))
    joined = inputs.join_views(({"x": a, "y": (b,)}, {"x": c, "y": (d,)}))
    np.testing.assert_array_equal(joined["x"], [[0], [0], [2], [2]])
    np.testing.assert_array_equal(joined["y"][0], [[1], [1], [3], [3]])
    assert inputs.join_views((a,)) is a
    sparse = tf.sparse.from_dense(X + 1)
    found = tf.sparse.to_dense(inputs.join_views((sparse, sparse)))
    np.testing.assert_array_equal(found, np.ones((2 * N, D)))
    ragged = tf.ragged.constant([[1, 2], [3]])
    found = inputs.join_views((ragged, ragged))
    assert found.to_list() == [[1, 2], [3], [1, 2], [3]]
