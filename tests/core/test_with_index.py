import numpy as np
import pytest
import tensorflow as tf

from sop_keras import with_index

X = np.arange(24, dtype=np.float32).reshape(12, 2)
Y = np.array([0, 2, 1, 1, 0, 2, 2, 0, 1, 0, 1, 2])


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays)


def test_every_example_gets_its_position():
    elements = list(with_index(dataset(X, Y)).as_numpy_iterator())
    assert len(elements) == 12
    for position, (x, y) in enumerate(elements):
        np.testing.assert_array_equal(x, X[position])
        assert y == {"label": Y[position], "index": position}
        assert y["index"].dtype == np.int64


def test_ids_stay_with_their_examples_behind_shuffle_repeat_and_batch():
    indexed = with_index(dataset(X, Y)).shuffle(12, seed=1).repeat(2).batch(5)
    order = []
    for x, y in indexed.as_numpy_iterator():
        np.testing.assert_array_equal(x, X[y["index"]])
        np.testing.assert_array_equal(y["label"], Y[y["index"]])
        order += y["index"].tolist()
    assert sorted(order) == sorted([*range(12)] * 2)
    assert order[:12] != order[12:] != [*range(12)]


def test_sample_weights_and_one_hot_labels_and_structured_inputs_are_passed_on():
    weights, one_hot = np.linspace(0, 1, 12), np.eye(3)[Y]
    inputs = {"a": X, "b": (X, X)}
    indexed = with_index(dataset(inputs, one_hot, weights))
    for position, (x, y, weight) in enumerate(indexed.as_numpy_iterator()):
        np.testing.assert_array_equal(x["b"][1], X[position])
        np.testing.assert_array_equal(y["label"], one_hot[position])
        assert weight == weights[position]


def test_the_cardinality_is_kept():
    assert with_index(dataset(X, Y)).cardinality() == 12


@pytest.mark.parametrize("drop_remainder", [False, True])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 4])  # 3 = num_classes, 2 = width of x
def test_batched_data_are_refused(one_hot, drop_remainder, weighted, size):
    arrays = [X, np.eye(3)[Y] if one_hot else Y] + [np.ones(12)] * weighted
    batched = dataset(*arrays).batch(size, drop_remainder=drop_remainder)
    message = r"looks batched.*with_index\(dataset\).batch\(...\), in this order"
    with pytest.raises(ValueError, match=message):
        with_index(batched)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, np.eye(3)[Y]),
        (np.zeros((12, 3)), np.eye(3)[Y]),  # as many features as classes
        (np.zeros((12, 3, 3, 1)), np.eye(3, dtype=np.int64)[Y]),
        (np.zeros((12, 3)), np.eye(3)[Y] > 0),
        (np.zeros(12), Y),
        (np.zeros((12, 28, 28)), Y[:, None]),
        (X, Y.astype(np.float32)),
    ],
    ids=["one-hot", "square", "images", "bool", "scalars", "column", "float"],
)
def test_single_examples_are_taken(x, y):
    assert len(list(with_index(dataset(x, y)))) == 12


def test_endless_data_are_refused():
    message = r"a data set that ends.*with_index\(dataset\).repeat\(\), in this order"
    with pytest.raises(ValueError, match=message):
        with_index(dataset(X, Y).repeat())


def test_an_order_that_changes_is_refused():
    shuffled = dataset(X, Y).shuffle(12, seed=3)
    message = r"needs a fixed order.*other labels on a second pass.*shuffle_files=False"
    with pytest.raises(ValueError, match=message):
        with_index(shuffled)
    once = zip(X, Y, strict=True)  # nothing is left for a second pass
    signature = (tf.TensorSpec([2]), tf.TensorSpec([], tf.int64))
    one_pass = tf.data.Dataset.from_generator(lambda: once, output_signature=signature)
    with pytest.raises(ValueError, match=message):
        with_index(one_pass)


def test_an_order_shuffled_once_is_taken():
    fixed = dataset(X, Y).shuffle(12, seed=3, reshuffle_each_iteration=False)
    first, second = (
        [(int(y["index"]), int(y["label"])) for _, y in with_index(fixed)]
        for _ in range(2)
    )
    assert first == second


def test_random_augmentation_does_not_look_like_another_order():
    # By the clock: random operations repeat themselves once a seed is set somewhere.
    noisy = dataset(X, Y).map(
        lambda x, y: (x + tf.cast(tf.timestamp() % 1.0, x.dtype), y)
    )
    with pytest.warns(UserWarning, match="found other inputs on a second pass"):
        assert len(list(with_index(noisy))) == 12


def test_labels_that_are_nan_are_left_to_fit():
    assert len(list(with_index(dataset(X, np.full(12, np.nan))))) == 12


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X, r"wraps an unbatched tf.data.Dataset. Received: ndarray. Arrays need no"),
        (dataset(X).map(lambda x: x), r"needs elements \(x, y\) or \(x, y, sample_wei"),
        (dataset(X, Y, Y, Y), r"needs elements \(x, y\) or"),
        (
            dataset({"image": X, "label": Y}).map(lambda d: d),
            r"needs elements \(x, y\)",
        ),
        (
            with_index(dataset(X, Y)),
            r"Received a dict with the keys \['index', 'label'",
        ),
    ],
    ids=["array", "x alone", "four", "dict", "twice"],
)
def test_other_structures_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        with_index(data)


def test_a_class_sorted_data_set_that_is_shuffled_is_warned_about():
    # The first 32 labels are all 0 on every pass: only the inputs tell.
    x, y = np.arange(400.0), np.repeat([0, 1], 200)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(100, seed=1)
    with pytest.warns(UserWarning, match=r"other inputs on a second pass.*meaningless"):
        with_index(dataset)
    with_index(tf.data.Dataset.from_tensor_slices((x.astype(str), y)))
