"""What one device computes of the whole batch; replicas are in test_replicas.py."""

import numpy as np
import tensorflow as tf

from sop_keras.core.global_batch import GlobalBatch


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
