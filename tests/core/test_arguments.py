import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from sop_keras.core import arguments


def functional(*steps):
    inputs = outputs = keras.Input((4,))
    for step in steps:
        outputs = step(outputs)
    return keras.Model(inputs, outputs)


class Subclassed(keras.Model):
    def __init__(self, last):
        super().__init__()
        self.last = last
        # Defined last, used first: the order of the attributes says nothing.
        self.gate = layers.Dense(4, activation="softmax")

    def call(self, inputs):
        return self.last(inputs * self.gate(inputs))


@pytest.mark.parametrize(
    "backbone",
    [
        lambda: keras.Sequential([layers.Dense(3, activation="softmax")]),
        lambda: keras.Sequential([layers.Dense(3), layers.Softmax()]),
        lambda: functional(layers.Dense(3), layers.Activation("softmax")),
        lambda: functional(layers.Dense(3), ops.softmax),
        lambda: functional(keras.Sequential([layers.Dense(3, activation="softmax")])),
    ],
    ids=["unbuilt", "layer", "activation", "operation", "nested"],
)
def test_a_softmax_before_the_softmax_is_warned_of(backbone):
    backbone = backbone()
    message = r"ends in a softmax, but from_logits=True.*Pass from_logits=False"
    with pytest.warns(UserWarning, match=message):
        arguments.check_backbone(backbone, 3, from_logits=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arguments.check_backbone(backbone, 3, from_logits=False)


def test_a_sigmoid_gives_no_logits():
    backbone = keras.Sequential([layers.Dense(3, activation="sigmoid")])
    with pytest.warns(UserWarning, match=r"ends in a sigmoid, .*Remove the sigmoid"):
        arguments.check_backbone(backbone, 3, from_logits=True)


def test_a_subclassed_backbone_is_looked_at_when_it_is_traced():
    def trace(backbone):
        @tf.function
        def step(x):
            arguments.warn_of_probabilities(backbone, backbone(x))

        step.get_concrete_function(tf.TensorSpec((2, 4)))

    with pytest.warns(UserWarning, match="ends in a softmax"):
        trace(Subclassed(layers.Dense(3, activation="softmax")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(Subclassed(layers.Dense(3)))
        # Warned of already, when the model was made.
        trace(keras.Sequential([layers.Dense(3, activation="softmax")]))


def test_logits_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attention = functional(layers.Dense(4, activation="softmax"), layers.Dense(3))
        arguments.check_backbone(attention, 3, from_logits=True)
        arguments.check_backbone(layers.Dense(3), 3, from_logits=True)
        arguments.check_backbone(Subclassed(layers.Dense(3)), 3, from_logits=True)


@pytest.mark.parametrize("width", [(5,), (2, 3)])
def test_another_width_is_refused(width):
    backbone = functional(layers.Dense(int(np.prod(width))), layers.Reshape(width))
    message = (
        r"outputs have the shape \(None, .*expected \(batch_size, num_classes\) with "
        r"num_classes=3"
    )
    with pytest.raises(ValueError, match=message):
        arguments.check_backbone(backbone, 3, from_logits=True)


def test_several_outputs_are_refused():
    inputs = keras.Input((4,))
    backbone = keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(3)(inputs)])
    with pytest.raises(ValueError, match=r"outputs have the shape \[\(None, 3\), \("):
        arguments.check_backbone(backbone, 3, from_logits=True)
    with pytest.raises(ValueError, match=r"outputs have the shape \{'a': \(2, 3\)\}"):
        arguments.check_outputs({"a": tf.zeros((2, 3))}, 3)


def test_a_backbone_is_a_layer():
    with pytest.raises(ValueError, match=r"`backbone` must be a keras.Model.*function"):
        arguments.check_backbone(lambda x: x, 3, from_logits=True)


def test_one_output_for_two_classes():
    sigmoid = layers.Dense(1, activation="sigmoid")
    flat = keras.Sequential([keras.Input((4,)), layers.Dense(1), layers.Reshape(())])
    for backbone in (functional(sigmoid), flat):
        with pytest.raises(ValueError, match="takes two outputs for two classes here"):
            arguments.check_backbone(backbone, 2, from_logits=False)
    arguments.check_backbone(functional(layers.Dense(2)), 2, from_logits=True)
