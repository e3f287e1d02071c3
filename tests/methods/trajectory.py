"""A method on given logits: what each step comes to, through `fit`."""

import keras
import numpy as np
import tensorflow as tf

from sop_keras import NoisyLabelModel


class Offset(keras.Model):
    """The given logits plus a weight: after a step of SGD(1), minus their gradient."""

    def __init__(self, shape):
        super().__init__()
        self.offset = self.add_weight(shape=shape, initializer="zeros")

    def call(self, inputs):
        return inputs + self.offset


class Watch(keras.callbacks.Callback):
    """What each step comes to; every step begins from the given logits again."""

    def __init__(self):
        super().__init__()
        self.losses, self.gradients = [], []

    def on_train_batch_end(self, batch, logs=None):
        offset = self.model.backbone.offset
        self.losses.append(logs["loss"])
        self.gradients.append(-offset.numpy())
        offset.assign(np.zeros(offset.shape))
        self.model.reset_metrics()


def trained(method, logits, ids, labels, jit_compile=False):
    """A model after a step on each of some batches; losses; gradients of the logits.

    Args:
        method: the method.
        logits: shape `(T, B, K)`.
        ids: shape `(T, B)`.
        labels: of every example, integers `(N,)`.
        jit_compile: as of `compile`.
    """
    shape = logits.shape[1:]
    model = NoisyLabelModel(Offset(shape), ids.max() + 1, shape[-1], method=method)
    model.compile(keras.optimizers.SGD(1.0), jit_compile=jit_compile)
    targets = {"label": labels[ids], "index": ids}
    batches = tf.data.Dataset.from_tensor_slices((logits, targets))
    watch = Watch()
    # For methods that could look at all examples, which one epoch gives no time for.
    model.fit(batches, scan_data=batches, callbacks=[watch], verbose=0)
    return model, np.array(watch.losses), np.stack(watch.gradients)


def of_loss(loss, logits, labels, **arguments):
    """A Keras loss and its gradient, batch by batch of such logits, `(T, B, K)`."""
    losses, gradients = [], []
    for some, given in zip(logits, labels, strict=True):
        some = tf.constant(some)
        with tf.GradientTape() as tape:
            tape.watch(some)
            value = loss(given, some, **arguments)
        losses.append(value.numpy())
        gradients.append(tape.gradient(value, some).numpy())
    return np.array(losses), np.stack(gradients)
