"""ELR+ through fit: against the authors' trainer, and where it is something simpler."""

from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from in_turn import LinearNetworks, close, given_order, loaded

from sop_keras.methods.elr_plus import ELRPlus


@keras.saving.register_keras_serializable(package="sop_keras_tests")
@dataclass(frozen=True)
class Replayed(ELRPlus):
    """With the orders and draws of a golden file."""

    file: str = ""

    def batches(self, examples):
        steps = 4 * examples.epoch + np.arange(4)
        return given_order(loaded(self.file)[f"idx{examples.network + 1}"][steps])

    def draws(self, batch):
        one = loaded(self.file)
        number = batch.network + 1
        share = tf.gather(tf.constant(one[f"mix{number}"], tf.float32), batch.step)
        return share, tf.gather(tf.constant(one[f"perm{number}"]), batch.step)


@pytest.mark.parametrize("name", ["elrplus_train_k10", "elrplus_train_k10_plain_ema"])
def test_the_whole_loop_is_that_of_the_authors(name):
    one = loaded(name)
    is_plain = name.endswith("plain_ema")
    method = Replayed(
        target_momentum=float(one["beta"]),
        regularization_weight=float(one["lam"]),
        regularization_ramp=int(one["coef_step"]),
        average_decay=float(one["ema_alpha"]),
        average_ramp=0 if is_plain else int(one["ema_step"]),
        file=name,
    )
    networks = LinearNetworks(one)
    model = networks.model(method)
    # Theirs start apart from the networks; ours, as copies of them.
    start = model.averages.start

    def begin(owner):
        start(owner)
        for averages, weights in zip(
            model.averages.averages, (one["init_ema1"], one["init_ema2"]), strict=True
        ):
            averages[0].assign(weights[:, :-1].T)
            averages[1].assign(weights[:, -1])

    model.averages.start = begin
    seen = {place: [] for place in (1, 2)}
    averages = {place: [] for place in (1, 2)}

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            place = batch // 4 + 1
            network = self.model.networks()[place - 1]
            seen[place].append(networks.of(network.weights))
            averages[place].append(networks.of(model.averages.averages[place - 1]))

    model.fit(
        one["x"].astype(np.float32),
        one["y"],
        batch_size=16,
        epochs=5,
        callbacks=[Watch()],
        verbose=0,
    )
    for place in (1, 2):
        close(np.array(seen[place]), one[f"ref_net{place}"])
        close(np.array(averages[place]), one[f"ref_ema{place}"])
    close(model.tables.target.numpy(), one["ref_target1"])
    close(model.tables.peer_target.numpy(), one["ref_target2"])
