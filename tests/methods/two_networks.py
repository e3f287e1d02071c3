"""Methods of two networks on given logits of both: what each step comes to."""

import keras
import numpy as np

from sop_keras import NoisyLabelModel


class Half(keras.Model):
    """One half of the given logits plus a weight, as `trajectory.Offset`."""

    def __init__(self, shape, is_second):
        super().__init__()
        self.is_second = is_second
        self.offset = self.add_weight(shape=shape, initializer="zeros")

    def call(self, inputs):
        size = self.offset.shape[-1]
        start = size if self.is_second else 0
        return inputs[:, start : start + size] + self.offset


def steps_on(method, file, jit_compile=False):
    """The loss parts of each step, and the gradient of each network's logits.

    Args:
        method: gives each step's numbers as those of an epoch of one step.
        file: with `logits1`, `logits2`, `idx` and `y`.
        jit_compile: as of `compile`.

    Returns:
        A model; a list of the logs of T steps; and two arrays `(T, B, K)`.
    """
    shape = file["logits1"].shape[1:]
    networks = [Half(shape, is_second) for is_second in (False, True)]
    backbone, peer = networks
    model = NoisyLabelModel(
        backbone, len(file["y"]), shape[-1], method=method, peer=peer
    )
    model.compile(keras.optimizers.SGD(1.0), jit_compile=jit_compile)
    logs, gradients = [], []
    for step, ids in enumerate(file["idx"]):
        x = np.concatenate([file["logits1"][step], file["logits2"][step]], axis=-1)
        history = model.fit(
            x,
            {"label": file["y"][ids], "index": ids},
            batch_size=len(ids),
            epochs=step + 1,
            initial_epoch=step,
            shuffle=False,
            verbose=0,
        ).history
        logs.append({name: values[0] for name, values in history.items()})
        gradients.append([-network.offset.numpy() for network in networks])
        for network in networks:
            network.offset.assign(np.zeros(shape))
    return model, logs, np.stack(gradients, axis=1)
