"""Networks that learn in turn: each by what the other said of an example last."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

from sop_keras import NoisyLabelModel
from sop_keras.core.method import Method
from sop_keras.core.table import Table


@keras.saving.register_keras_serializable(package="sop_keras_tests")
@dataclass(frozen=True)
class Turns(Method):
    """Cross entropy of labels and, by a weight, of what the peer says, averaged.

    The rows count visits by each network; what is easy for the peer comes twice.
    """

    weight: float = 0.5
    decay: float = 0.9

    num_networks = 2
    in_turn = True
    predicts_together = True

    @property
    def loss_parts(self):
        return ("agreement",)

    def phase(self, epoch):
        return "first" if epoch == 0 else ""

    def tables(self, num_classes):
        return (Table("easy", 2), Table("visits", 2))

    def schedule(self, epoch, epochs):
        return {"epoch": epoch}

    def looks_before(self, epoch):
        return epoch >= 1

    def before_epoch(self, look):
        return {
            "easy": np.stack(
                [losses <= np.median(losses) for losses in look.losses], axis=-1
            )
        }

    def batches(self, examples):
        peer = 1 - examples.network
        easy = np.flatnonzero(examples.rows("easy")[:, peer] > 0)
        order = np.concatenate([examples.order(), examples.order(easy, "easy")])
        return examples.cut(order, examples.batch_size)

    def most_batches(self, num_examples, batch_size):
        return 2 * super().most_batches(num_examples, batch_size)

    def weight_average_decay(self, step):
        return self.decay

    def mix(self, batch, rows):
        peer = 1 - batch.network
        said = batch.ask(peer, batch.views[0], averaged=True)
        share = ops.cast(batch.step_in_pass + 1, "float32") / 10.0
        if batch.phase == "first":
            share = 0.0 * share
        extra = {"peer": ops.softmax(said, axis=-1), "share": share}
        return type(batch)(**{**batch.__dict__, "extra": extra})

    def loss(self, outputs, rows, batch):
        own = self.evaluation_loss(outputs.views[0], None, batch.labels, True)
        peer = self.evaluation_loss(outputs.views[0], None, batch.extra["peer"], True)
        agreement = batch.mean_loss(peer)
        weight = self.weight * batch.extra["share"]
        return batch.mean_loss(own) + weight * agreement, {"agreement": agreement}

    def row_steps(self, outputs, rows, batch):
        one = ops.one_hot([batch.network], 2)
        return {"visits": one * ops.ones_like(rows["visits"])}

    def updated_rows(self, rows, steps, rates):
        return {"visits": rows["visits"] + steps["visits"]}


N, D, K, BATCH = 20, 3, 4, 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)


def network(seed, name=None):
    start = {"kernel_initializer": keras.initializers.GlorotUniform(seed)}
    return keras.Sequential(
        [
            keras.Input((D,)),
            layers.Dense(5, **start),
            layers.BatchNormalization(),
            layers.Dropout(0.3, seed=3),
            layers.Dense(K, **start),
        ],
        name=name,
    )


def turns(method=None, **options):
    model = NoisyLabelModel(
        network(1), N, K, method=method or Turns(), peer=network(2), seed=5
    )
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9), metrics=["accuracy"], **options
    )
    return model


def fit(model, x=X, y=Y, **arguments):
    return model.fit(
        x, y, **{"batch_size": BATCH, "epochs": 3, "verbose": 0, **arguments}
    )


def assert_same(model, other):
    for one, two in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy(), one.path)
