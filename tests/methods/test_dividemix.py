"""DivideMix through fit: against the authors' loop, and where it is simpler."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from in_turn import LinearNetworks, close, loaded

from sop_keras.methods import dividemix
from sop_keras.methods.dividemix import DivideMix
from sop_keras.methods.mixture import fit_mixture

FILE = "dividemix_train_k10"


def placed(one, epoch, network, step):
    """Partners, where ours come as x1, u1, x2, u2 and the file's as x1, x2, u1, u2."""
    size = int(one["B"])
    count = int((one["labeled_order"][epoch, network] >= 0).sum())
    of_x = min(size, count - size * step)
    partners = one["perm"][epoch, network, step]
    of_u = (partners >= 0).sum() // 2 - of_x
    x1, x2, u1, u2 = np.split(
        np.arange(2 * (of_x + of_u)), np.cumsum([of_x, of_x, of_u])
    )
    theirs = np.concatenate([x1, u1, x2, u2])
    ours = np.argsort(theirs)
    found = np.zeros(len(partners), np.int64)
    found[: len(theirs)] = ours[partners[theirs]]
    return found


@keras.saving.register_keras_serializable(package="sop_keras_tests")
@dataclass(frozen=True)
class Replayed(DivideMix):
    """With the orders and draws of a golden file."""

    def batches(self, examples):
        one, network, size = loaded(FILE), examples.network, examples.batch_size
        if self.phase(examples.epoch):
            order = one["warm_order"][examples.epoch, network]
            return order.reshape(-1, 2 * size)
        epoch = examples.epoch - self.warm_up
        order = one["labeled_order"][epoch, network]
        labeled = order[order >= 0]
        clean_prob = examples.rows(("clean_prob", "peer_clean_prob")[1 - network])
        assert set(labeled) == set(np.flatnonzero(clean_prob[:, 0] > self.p_threshold))
        batches = examples.cut(labeled, size)
        assert len(batches) == one["steps"][epoch, network]
        stream = [
            batch
            for turn in one["unlabeled_order"][epoch, network]
            for batch in examples.cut(turn[turn >= 0], size)
        ]
        return [
            np.concatenate(pair)
            for pair in zip(batches, stream[: len(batches)], strict=True)
        ]

    def draws(self, batch, num_rows):
        one = loaded(FILE)
        epochs, networks, steps = one["mix"].shape
        partners = np.array(
            [
                [
                    [
                        placed(one, e, n, s)
                        if s < one["steps"][e, n]
                        else np.zeros(4 * int(one["B"]), np.int64)
                        for s in range(steps)
                    ]
                    for n in range(networks)
                ]
                for e in range(epochs)
            ]
        )
        epoch = tf.cast(batch.scheduled["epoch"], tf.int64) - self.warm_up
        place = [epoch, tf.constant(batch.network, tf.int64), batch.step_in_pass]
        share = tf.gather_nd(tf.constant(one["mix"], tf.float32), [place])[0]
        return share, tf.gather_nd(tf.constant(partners), [place])[0, :num_rows]


def replayed():
    one = loaded(FILE)
    return Replayed(
        lambda_u=float(one["lambda_u"]),
        p_threshold=float(one["p_threshold"]),
        temperature=float(one["temperature"]),
        alpha=float(one["alpha"]),
        warm_up=int(one["warm_up"]),
    )


def test_the_whole_loop_is_that_of_the_authors(monkeypatch):
    one = loaded(FILE)
    # Their k-means is drawn: EM goes on from where it ended.
    starts = iter(one["ref_init"].reshape(-1, int(one["N"])))
    monkeypatch.setattr(
        dividemix, "fit_mixture", lambda losses: fit_mixture(losses, next(starts))
    )
    model = LinearNetworks(one).model(replayed())
    found, posteriors = [], []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            found.append([LinearNetworks.of(n.weights) for n in model.networks()])
            posteriors.append(
                [
                    model.tables.by_name()[name].numpy()[:, 0]
                    for name in ("clean_prob", "peer_clean_prob")
                ]
            )

    index = np.arange(int(one["N"]))
    scanned = tf.data.Dataset.from_tensor_slices(
        (one["x"].astype(np.float32), {"label": one["y"], "index": index})
    )
    model.fit(
        tuple(one[view].astype(np.float32) for view in ("view1", "view2")),
        one["y"],
        batch_size=int(one["B"]),
        epochs=int(one["epochs"]),
        scan_data=scanned.batch(50),
        callbacks=[Watch()],
        verbose=0,
    )
    posteriors = np.array(posteriors)[int(one["warm_up"]) :]
    np.testing.assert_allclose(posteriors, one["ref_prob"], atol=1e-5)
    for place in (0, 1):
        close(np.array(found)[:, place], one[f"ref_net{place + 1}"])
