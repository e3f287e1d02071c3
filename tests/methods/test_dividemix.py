"""DivideMix through fit: against the authors' loop, and where it is simpler."""

import dataclasses
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from in_turn import LinearNetworks, close, loaded

from sop_keras import NoisyLabelModel
from sop_keras.core.look import Look
from sop_keras.core.passes import Pass
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


N, D, K, BATCH = 24, 4, 3, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
Y = RNG.integers(0, K, N)


def network(seed, normalized=False):
    start = {"kernel_initializer": keras.initializers.GlorotUniform(seed)}
    norm = [keras.layers.BatchNormalization()] if normalized else []
    return keras.Sequential([keras.Input((D,)), *norm, keras.layers.Dense(K, **start)])


def model_of(method, num_examples=N, normalized=False, rate=0.1):
    networks = [network(seed, normalized) for seed in (1, 2)]
    model = NoisyLabelModel(
        networks[0], num_examples, K, method, peer=networks[1], seed=3
    )
    # A few small steps take less time than to trace those of each network and phase.
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    model.compile(optimizer, metrics=["accuracy"], run_eagerly=True)
    return model


def trained(method, labels=Y, x=X, epochs=3, views=None, **options):
    model = model_of(method, **options)
    model.fit(
        views or (x, x),
        labels,
        batch_size=BATCH,
        epochs=epochs,
        shuffle=False,
        verbose=0,
    )
    return model


def look_of(losses, rows=None, epoch=1):
    return Look(
        epoch=epoch,
        ids=np.arange(len(losses[0])),
        labels=np.zeros(len(losses[0]), np.int64),
        log_probs=(),
        losses=tuple(map(np.asarray, losses)),
        rows=rows or {},
        state={"num_labeled": np.array([5.0, 6.0])},
    )


# Above any posterior of these.
OVERLAPPING, NEVER = np.linspace(0, 1, 8) ** 2, 0.999
SPLIT = np.array([0.1, 0.12, 0.11, 0.1, 4.0, 4.1, 3.9, 4.2])


def test_each_network_learns_by_the_others_losses():
    written = DivideMix().before_epoch(look_of((SPLIT, SPLIT[::-1])))
    assert (written["clean_prob"] > 0.5).tolist() == 4 * [True] + 4 * [False]
    assert (written["peer_clean_prob"] > 0.5).tolist() == 4 * [False] + 4 * [True]
    assert written["num_labeled"].tolist() == [4, 4]
    rows = {name: written[name][:, None] for name in ("clean_prob", "peer_clean_prob")}
    for place, labeled in ((0, {4, 5, 6, 7}), (1, {0, 1, 2, 3})):
        examples = Pass(1, place, np.arange(8), rows.__getitem__, 3, seed=0)
        batches = DivideMix(warm_up=1).batches(examples)
        # 3 + 1 of X; U, of 4 too, begins anew where it ends: 3, 1.
        assert [len(one) for one in batches] == [6, 2]
        parts = [batches[0][:3], batches[1][:1]]
        assert set(np.concatenate(parts)) == labeled
        parts = [batches[0][3:], batches[1][1:]]
        assert set(np.concatenate(parts)) == set(range(8)) - labeled


def test_what_is_not_labelled_comes_anew_when_it_is_used_up():
    rows = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 0], float)[:, None]
    examples = Pass(5, 1, np.arange(10), lambda name: rows, 2, seed=0)
    batches = DivideMix(warm_up=1).batches(examples)
    assert [len(one) for one in batches] == [4, 3, 4, 2]  # U: 2, 1, 2, 1
    unlabeled = [one[2:] for one in batches[:3]] + [batches[3][1:]]
    assert set(np.concatenate(unlabeled[:2])) == {7, 8, 9}
    assert set(np.concatenate(unlabeled[2:])) == {7, 8, 9}


def test_losses_are_averaged_over_some_epochs():
    method = DivideMix(loss_history=3)
    other = SPLIT[[4, 1, 2, 3, 0, 5, 6, 7]]
    first = method.before_epoch(
        look_of((SPLIT, SPLIT), {n: np.full((8, 3), -1.0) for n in HISTORIES})
    )
    np.testing.assert_allclose(first["loss_history"][:, :2], -1.0)
    second = method.before_epoch(
        look_of((other, SPLIT), {n: first[n] for n in HISTORIES})
    )
    known = second["loss_history"][:, 1:]
    span = SPLIT.max() - SPLIT.min()
    np.testing.assert_allclose(known[:, 0], (SPLIT - SPLIT.min()) / span)
    expected = fit_mixture(known.mean(axis=1)).posterior
    np.testing.assert_allclose(second["clean_prob"], expected)


HISTORIES = ("loss_history", "peer_loss_history")


def test_equal_losses_leave_all_labelled():
    equal = np.full(8, 0.7)
    written = DivideMix().before_epoch(look_of((equal, equal)))
    for name in ("clean_prob", "peer_clean_prob"):
        np.testing.assert_array_equal(written[name], np.ones(8))


def test_without_a_label_above_the_threshold_the_last_division_stays(caplog):
    written = DivideMix(p_threshold=NEVER).before_epoch(look_of(2 * (OVERLAPPING,)))
    assert set(written) == {"num_labeled"}
    assert written["num_labeled"].tolist() == [5.0, 6.0]
    assert "Network 2 goes on with its last division" in caplog.text
    first = dataclasses.replace(
        look_of(2 * (OVERLAPPING,)), state={"num_labeled": np.zeros(2)}
    )
    assert not DivideMix(p_threshold=NEVER).before_epoch(first)["num_labeled"].any()
    assert "takes all labels for right until there is one" in caplog.text
    assert "a lower p_threshold" in caplog.text


def test_losses_that_are_not_finite_say_so():
    with pytest.raises(ValueError, match="1 of 8 losses are not finite"):
        DivideMix().before_epoch(look_of((np.append(SPLIT[1:], np.nan), SPLIT)))


def test_with_all_clean_it_is_mixmatch_on_labelled_data():
    # Equal inputs have equal losses if labels are: U is empty. BatchNormalization
    # would make NaN of a batch of none.
    same = np.repeat(X[:1], N, axis=0)
    model = trained(
        DivideMix(warm_up=1), np.zeros(N, np.int64), same, epochs=3, normalized=True
    )
    assert model.shared_values()["num_labeled"].tolist() == [N, N]
    assert all(np.isfinite(one.numpy()).all() for one in model.variables)
    assert int(model.optimizer.iterations) == 3 + 6 + 6


def test_labels_taken_as_they_are_it_is_cross_entropy_and_the_penalty():
    # w = 1 (equal losses), T = 1, no mixing, lambda_u = 0: float64, by hand.
    method = DivideMix(lambda_u=0.0, temperature=1.0, alpha=0.0, warm_up=1)
    same, labels = np.repeat(X[:1], N, axis=0), np.zeros(N, np.int64)
    model = trained(method, labels, same, epochs=2)
    for place, one in enumerate(model.networks()):
        weights = [w.astype(np.float64) for w in network(place + 1).get_weights()]
        velocity = [np.zeros_like(w) for w in weights]
        x, target = X[0].astype(np.float64), np.eye(K)[0]
        for step in range(3 + 6):  # batches of 8, then of 4
            logits = x @ weights[0] + weights[1]
            p = np.exp(logits - logits.max())
            p /= p.sum()
            gradient = p - target
            if step >= 3:  # of -sum log(p_k) / K
                gradient = gradient + p - 1 / K
            for n, part in enumerate((np.outer(x, gradient), gradient)):
                velocity[n] = 0.9 * velocity[n] - 0.1 * part
                weights[n] += velocity[n]
        for value, expected in zip(one.get_weights(), weights, strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-6)


def test_other_ids_change_nothing():
    ids = np.random.default_rng(4).permutation(np.append(np.arange(17, 40), 0))
    model = trained(DivideMix(warm_up=1))
    other = trained(DivideMix(warm_up=1), {"label": Y, "index": ids}, num_examples=40)
    for one, two in zip(model.networks(), other.networks(), strict=True):
        for value, expected in zip(one.get_weights(), two.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)
    for name in ("clean_prob", "peer_clean_prob"):
        rows = other.tables.by_name()[name].numpy()
        np.testing.assert_array_equal(rows[ids], model.tables.by_name()[name])


def test_trusted_labels_are_labelled_and_taken_as_they_are():
    model = model_of(DivideMix(warm_up=1))
    model.trust([0, 5])
    model.fit((X, X), Y, batch_size=BATCH, epochs=3, verbose=0)
    for name in ("clean_prob", "peer_clean_prob"):
        rows = model.tables.by_name()[name].numpy()[:, 0]
        assert rows[[0, 5]].tolist() == [1, 1]
        assert rows.min() < 0.5


def test_only_labelled_rows_are_trained_on_where_asked():
    sizes = []

    @dataclass(frozen=True)
    class Watched(DivideMix):
        def loss(self, outputs, rows, batch):
            if not batch.phase:
                is_labeled = batch.extra["is_labeled"]
                tf.py_function(
                    lambda rows, of_x: sizes.append((int(rows), float(of_x))),
                    [tf.shape(outputs.views[0])[0], tf.reduce_sum(is_labeled)],
                    [],
                )
            return super().loss(outputs, rows, batch)

    model = trained(Watched(warm_up=1, labeled_only=True, lambda_u=0.0), epochs=2)
    labeled = model.shared_values()["num_labeled"]
    assert 0 < labeled.min() < N
    assert all(rows == of_x for rows, of_x in sizes)
    assert sum(rows for rows, _ in sizes) == 2 * labeled.sum()


def test_the_record_and_the_metrics_are_of_what_came():
    # With a rate of 0, what is recorded is the peer's say, in its pass: the last.
    model = trained(DivideMix(warm_up=1), epochs=2, rate=0.0)
    predictions, probs = model.training_record.read(np.arange(N))
    expected = tf.nn.softmax(model.peer(X)).numpy()
    seen = predictions >= 0
    np.testing.assert_array_equal(predictions[seen], expected.argmax(1)[seen])
    np.testing.assert_allclose(probs[seen], expected[np.arange(N), Y][seen], atol=1e-6)


def test_label_issues_are_the_mean_of_both_posteriors():
    model = trained(DivideMix(warm_up=1))
    issues = model.label_issues(X, Y)
    mean = np.mean(
        [model.tables.clean_prob.numpy(), model.tables.peer_clean_prob.numpy()], axis=0
    )[:, 0]
    np.testing.assert_allclose(issues["label_quality"], mean, rtol=1e-6)
    np.testing.assert_allclose(issues["noise_score"], 1 - mean, atol=1e-7)


def test_a_training_without_a_division_says_that_it_found_nothing(caplog):
    model = trained(DivideMix(warm_up=3))
    issues = model.label_issues(X, Y)
    assert "The labels were never divided" in caplog.text
    assert not issues["is_label_issue"].any()
    model = trained(DivideMix(warm_up=2))
    assert "not_divided" not in [one.name for one in model.doubt_watch.doubts]


def test_fewer_examples_than_a_batch():
    model = model_of(DivideMix(warm_up=1))
    model.fit((X[:5], X[:5]), Y[:5], batch_size=64, epochs=3, verbose=0)
    assert all(np.isfinite(one.numpy()).all() for one in model.variables)


def test_numbers_out_of_range_are_refused():
    for wrong in (
        {"lambda_u": -1.0},
        {"p_threshold": 1.0},
        {"temperature": -0.5},
        {"warm_up": 0},
        {"loss_history": 0},
        {"alpha": -4.0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DivideMix(**wrong)
    with pytest.raises(ValueError, match="DivideMix trains on pairs of views"):
        model_of(DivideMix()).fit(X, Y, verbose=0)
