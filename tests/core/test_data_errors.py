import numpy as np
import pytest
import tensorflow as tf

from sop_keras.core.data_errors import ASSERTION_MARK, DataError, clear_data_errors

TEXT = 'The label row [0.5 0.5] isn\'t one-hot [see "labels"].'


def asserting(value):
    text = tf.strings.format("{} isn't in [0, 1).", value)
    tf.debugging.Assert(value < 1, [ASSERTION_MARK, text])
    return value


def raising():
    yield np.int64(0)
    raise DataError(TEXT)


def test_what_an_assertion_of_the_pipeline_says():
    dataset = tf.data.Dataset.range(3).map(asserting)
    with pytest.raises(DataError) as caught, clear_data_errors():
        list(dataset)
    assert str(caught.value) == "1 isn't in [0, 1)."
    # Nothing of TensorFlow's own error is left to read through.
    assert caught.value.__suppress_context__


def test_what_python_code_of_the_pipeline_says():
    spec = tf.TensorSpec([], tf.int64)
    dataset = tf.data.Dataset.from_generator(raising, output_signature=spec)
    with pytest.raises(DataError) as caught, clear_data_errors():
        list(dataset.batch(1).prefetch(1))
    assert str(caught.value) == TEXT


def test_other_errors_of_the_pipeline_stay_what_they_are():
    dataset = tf.data.Dataset.range(2).map(
        lambda i: tf.debugging.check_numerics(tf.cast(i, tf.float32) / 0.0, "broken")
    )
    error = pytest.raises(tf.errors.InvalidArgumentError, match="broken")
    with error, clear_data_errors():
        list(dataset)
