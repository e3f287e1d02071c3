"""What a replica computes of the whole batch, against numbers derived by hand."""

import numpy as np
import pytest
import tensorflow as tf

from sop_keras.distribution.global_batch import GlobalBatch

# Rows of (1, 2), (3, 4), (5, 6), (7, 8), in the parts of 2 and of 4 replicas.
SIZES = {2: (3, 1), 4: (2, 1, 1, 0)}


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 4])
def test_of_several_replicas(results, number):
    def found(name):
        return [results[number][f"global batch/{name} {i}"] for i in range(number)]

    rows = [[1, 2], [3, 4], [5, 6], [7, 8]]
    for size, mean, gathered in zip(
        found("size"), found("mean"), found("gathered"), strict=True
    ):
        assert size == 4.0
        np.testing.assert_allclose(mean, [4.0, 5.0], rtol=1e-6)
        np.testing.assert_array_equal(gathered, rows)
    # L = mean_0^2 = 16, of which a replica has the share of its examples.
    shares = [16 * size / 4 for size in SIZES[number]]
    np.testing.assert_allclose(found("loss"), shares, rtol=1e-6)
    # dL/dx = 2 mean_0 / 4 = 2 for the first column of every row, whoever has it.
    for size, gradient in zip(SIZES[number], found("gradient"), strict=True):
        expected = np.tile(np.float32([2.0, 0.0]), (size, 1))
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_of_one_device_nothing_is_computed_but_the_mean():
    @tf.function
    def step(values):
        batch = GlobalBatch(tf.shape(values)[0])
        assert batch.num_replicas == 1
        assert batch.share(values) is values
        assert batch.gather(values) is values
        return batch.mean(values), batch.size

    function = step.get_concrete_function(tf.TensorSpec([None, 2]))
    kinds = {operation.type for operation in function.graph.get_operations()}
    ends = {"Placeholder", "Const", "Identity", "NoOp"}
    # tf.shape(values)[0] as a float, and the mean.
    assert kinds - ends == {"Shape", "StridedSlice", "Cast", "Mean"}
    mean, size = step(np.float32([[1, 2], [3, 6]]))
    np.testing.assert_array_equal(mean, [2.0, 4.0])
    assert size == 2.0


def test_of_one_device_by_name():
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    values = tf.constant([[1.0, 2.0], [3.0, 6.0]])

    def in_replica():
        batch = GlobalBatch(2)
        return batch.mean(values), batch.share(values), batch.gather(values)

    mean, share, gathered = strategy.run(in_replica)
    np.testing.assert_array_equal(mean, [2.0, 4.0])
    np.testing.assert_array_equal(share, values)
    np.testing.assert_array_equal(gathered, values)
