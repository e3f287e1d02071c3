"""Linear networks whose training in turn is replayed from a golden file."""

import functools
from pathlib import Path

import keras
import numpy as np

from sop_keras import NoisyLabelModel
from sop_keras.optimizers.sgd import SGD

GOLDEN = Path(__file__).parents[1] / "golden"


@functools.cache
def loaded(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def given_order(ids):
    """Batches of ids that are places, without what fills up a short one."""
    return [batch[batch >= 0] for batch in ids]


def linear_network(weights):
    """A network of one layer; weights `(K, D + 1)`, the last column the bias."""
    num_classes, columns = weights.shape
    network = keras.Sequential(
        [keras.Input((columns - 1,)), keras.layers.Dense(num_classes)]
    )
    network.set_weights([weights[:, :-1].T, weights[:, -1]])
    return network


class LinearNetworks:
    """The two networks of a golden file, and what they are trained by."""

    def __init__(self, one):
        self.one = one

    def model(self, method, **kwargs):
        one = self.one
        model = NoisyLabelModel(
            linear_network(one["init_net1"]),
            len(one["x"]),
            one["init_net1"].shape[0],
            method=method,
            peer=linear_network(one["init_net2"]),
            **kwargs,
        )
        model.compile(
            SGD(
                float(one["learning_rate"]),
                momentum=float(one["momentum"]),
                l2=float(one["weight_decay"]),
            )
        )
        return model

    @staticmethod
    def of(variables):
        """As the file has them."""
        kernel, bias = (np.asarray(one) for one in variables)
        return np.concatenate([kernel.T, bias[:, None]], axis=1)


def close(found, expected):
    """To 1e-5 of the array's largest value."""
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )
