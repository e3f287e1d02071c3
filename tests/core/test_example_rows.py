"""Rows follow their examples: corrected labels, trusted ones, new examples."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import NoisyLabelModel, SOPModel, methods, with_index

N, K = 6, 4
X = np.eye(N, dtype="float32")
Y = np.array([0, 1, 2, 3, 0, 1])
CORRECTED = np.array([0, 1, 3, 3, 2, 1])  # of 2 and 4
CHANGED = [2, 4]


def backbone(units=K):
    dense = keras.layers.Dense(units, use_bias=False, kernel_initializer="zeros")
    return keras.Sequential([keras.Input((N,)), dense])


def model_of(method=None, num_examples=N, rate=0.0, run_eagerly=True, **options):
    """Logits are 0 at first; rows move where they have a rate."""
    options["run_eagerly"] = run_eagerly
    if method is None:
        model = SOPModel(backbone(), num_examples, K, init_std=0.1, seed=5)
        options = {"u_optimizer": rate, "v_optimizer": rate, **options}
    else:
        model = NoisyLabelModel(backbone(), num_examples, K, method=method, seed=5)
    model.compile(keras.optimizers.SGD(1.0, momentum=0.9), **options)
    return model


def known(model, labels=Y):
    """The model, as if it had been trained on these labels."""
    record = np.stack([labels, np.full(N, 0.5), labels], axis=1)
    model.training_record.table.assign(record)
    return model


def rows_of(model):
    return {name: one.numpy() for name, one in model.tables.by_name().items()}


class Batches(keras.utils.PyDataset):
    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def __len__(self):
        return 2

    def __getitem__(self, place):
        ids = np.arange(3 * place, 3 * place + 3)
        return X[ids], {"label": self.labels[ids], "index": ids}


def generator(labels):
    batches = Batches(labels)
    while True:
        yield batches[0]
        yield batches[1]


def dataset(labels):
    examples = tf.data.Dataset.from_tensor_slices((X, labels))
    return with_index(examples).batch(3).prefetch(1)


class DataLoader:
    """Batches as PyTorch's, which is known by its name and module."""

    __module__ = "torch.utils.data.dataloader"

    def __init__(self, labels):
        self.batches = Batches(labels)

    def __iter__(self):
        return (self.batches[place] for place in range(2))

    def __len__(self):
        return 2


# How data come, and the share of the batch that shows the change.
DATA = {
    "arrays": (lambda y: (X, y), "2 of 6"),
    "one-hot": (lambda y: (X, np.eye(K)[y]), "2 of 6"),
    "dataset": (lambda y: (dataset(y),), "1 of 3"),
    "PyDataset": (lambda y: (Batches(y),), "1 of 3"),
    "generator": (lambda y: (generator(y),), "1 of 3"),
    "loader": (lambda y: (DataLoader(y),), "1 of 3"),
}


@pytest.mark.parametrize("data", DATA)
def test_other_labels_than_before_are_refused_before_a_step(data):
    make, figure = DATA[data]
    steps = {"steps_per_epoch": 2} if data == "generator" else {}
    batch_size = 3 if data in ("arrays", "one-hot") else None
    model = known(model_of(run_eagerly=data not in ("arrays", "dataset")))
    before = rows_of(model)
    with pytest.raises(ValueError, match=f"{figure} examples.*label was 2 and is 3"):
        model.fit(*make(CORRECTED), batch_size=batch_size, verbose=0, **steps)
    assert int(model.optimizer.iterations) == 0
    for name, rows in rows_of(model).items():
        np.testing.assert_array_equal(rows, before[name])
    model.fit(*make(Y), batch_size=batch_size, verbose=0, **steps)


def test_of_arrays_what_is_set_aside_for_validation_is_not_trained_on():
    known(model_of()).fit(X, CORRECTED, validation_split=2 / 3, verbose=0)
    with pytest.raises(ValueError, match="1 of 3 examples"):
        known(model_of()).fit(X, CORRECTED, validation_split=0.5, verbose=0)


def test_train_on_batch_refuses_too():
    model = known(model_of())
    batch = {"label": CORRECTED[[2, 3]], "index": np.array([2, 3])}
    with pytest.raises(ValueError, match="1 of 2 examples"):
        model.train_on_batch(X[[2, 3]], batch)
    model.reset_examples([2])
    model.train_on_batch(X[[2, 3]], batch)
    assert model.training_record.labels([2, 3]).tolist() == [3, 3]


@pytest.mark.parametrize("choice", ["refuse", "reset", "keep"])
def test_an_index_with_two_labels_in_one_array_is_refused(choice):
    y = {"label": Y, "index": np.array([0, 1, 2, 3, 4, 4])}
    with pytest.raises(ValueError, match="index 4, with the labels 0 and 1"):
        model_of().fit(X, y, changed_labels=choice, verbose=0)


def test_labels_drawn_anew_every_epoch_are_refused_unless_asked_for():
    passes = iter(range(4))

    def noisy():
        labels = (Y + next(passes)) % K
        for i in range(N):
            yield X[i], {"label": labels[i], "index": i}

    x, y = tf.TensorSpec(N, tf.float32), tf.TensorSpec((), tf.int64)
    spec = (x, {"label": y, "index": y})
    stream = tf.data.Dataset.from_generator(noisy, output_signature=spec).batch(3)
    stream = stream.apply(tf.data.experimental.assert_cardinality(2))
    model = model_of()
    with pytest.raises(ValueError, match="6 of 6 examples"):
        model.fit(stream, epochs=2, verbose=0)
    model.fit(stream, epochs=2, changed_labels="keep", verbose=0)


@pytest.mark.parametrize("data", ["arrays", "dataset"])
def test_reset_starts_the_rows_of_changed_labels_anew_and_no_others(data):
    model = known(model_of())
    for table in model.tables.by_name().values():
        table.assign(np.full(table.shape, 0.5))
    model.fit(*DATA[data][0](CORRECTED), changed_labels="reset", verbose=0)
    fresh = model.tables.first_rows(np.array(CHANGED))
    for name, rows in rows_of(model).items():
        np.testing.assert_allclose(rows[CHANGED], fresh[name], rtol=1e-5)
        assert (np.delete(rows, CHANGED, axis=0) == 0.5).all()
    model.fit(*DATA[data][0](CORRECTED), verbose=0)  # the labels that are known now
    with pytest.raises(ValueError, match="examples come with another label"):
        model.fit(*DATA[data][0](Y), verbose=0)


@pytest.mark.parametrize(("choice", "step"), [("keep", 0.15), ("reset", 0.75)])
def test_the_network_gets_the_gradient_of_a_corrected_label(choice, step):
    # A label that was taken for wrong: s = 1 at it. Of p = 1/4 each, w = p + s is 5/4
    # at the new label and 1/4 elsewhere, S = 2. The gradient of -log(w_y / S) for the
    # logits is p_k (g_k - sum p g), with g = 1/S - 1/w_y = -0.3 at the label and 1/S
    # = 0.5 elsewhere: 1/4 (-0.3 - 0.3) = -0.15. With s = 0 it is p_y - 1 = -0.75. One
    # step of SGD(1) from 0, of a batch of one.
    model = SOPModel(backbone(), N, K, init_std=0.0)
    model.compile(keras.optimizers.SGD(1.0), u_optimizer=0.0, v_optimizer=0.0)
    model.tables.u.assign(np.ones((N, 1)))
    known(model)
    y = {"label": np.array([3]), "index": np.array([2])}
    model.fit(X[[2]], y, changed_labels=choice, verbose=0)
    np.testing.assert_allclose(model.backbone.get_weights()[0][2, 3], step, rtol=1e-5)


def test_reset_examples_forgets_them():
    model = known(model_of())
    model.trust([1, 2, 3])
    model.reset_examples(np.array([3, 2, 2]))
    fresh = model.tables.first_rows(np.array([2, 3]))
    for name, rows in rows_of(model).items():
        np.testing.assert_array_equal(rows[[2, 3]], fresh[name])
    record = model.training_record
    assert record.labels(np.arange(N)).tolist() == [0, 1, -1, -1, 0, 1]
    assert record.trusted.numpy()[:, 0].tolist() == [0, 1, 0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"Index 6 is outside \[0, 6\)"):
        model.reset_examples([6])


def test_what_a_corrected_label_came_as_belongs_to_its_example(tmp_path):
    model = model_of()
    # Ids in no order: 4 came as 1, and 2 as 0.
    model.trust([4, 2], given_labels=[1, 0])
    model.fit(X, CORRECTED, changed_labels="reset", verbose=0)
    model.fit(X, CORRECTED, changed_labels="reset", verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    found = loaded.training_record.was_given(np.arange(N), CORRECTED)
    assert np.array(found).tolist() == [0, 1, 0, 3, 1, 1]


@pytest.mark.parametrize(
    ("ids", "labels", "message"),
    [
        ([1, 1], [0, 0], "no id twice"),
        ([1, 2], [0], "one label an id"),
        ([1, 2], [0, K], r"Label 4 is not in \[0, 4\)"),
        ([1, N], [0, 0], r"Index 6 is outside \[0, 6\)"),
    ],
)
def test_labels_that_cannot_have_been_given(ids, labels, message):
    with pytest.raises(ValueError, match=message):
        model_of().trust(ids, labels)


@pytest.mark.parametrize("name", ["sop", "elr"])
def test_trusted_labels_are_trained_on_by_cross_entropy(name):
    found = {}
    for one in (name, "ce"):
        record = methods.record(one)
        arguments = record.settings().arguments(Y, K, False)
        model = model_of(record.load()(**arguments))
        model.trust(np.arange(N))
        model.fit(X, Y, batch_size=3, epochs=3, shuffle=False, verbose=0)
        found[one] = model.backbone.get_weights()[0]
        assert all((rows == 0).all() for rows in rows_of(model).values())
    np.testing.assert_allclose(found[name], found["ce"], rtol=1e-5)


def test_trust_outlives_a_corrected_label_and_files(tmp_path):
    model = known(model_of(rate=1.0))
    model.trust([2, 5])
    model.fit(X, CORRECTED, changed_labels="reset", verbose=0)
    model.fit(dataset(Y), changed_labels="reset", verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.fit(X, Y, epochs=2, verbose=0)
    for rows in rows_of(loaded).values():
        assert (rows[[2, 5]] == 0).all()
        assert (rows[[0, 1, 3, 4]] != 0).any(axis=1).all()
    issues = loaded.label_issues(X, Y, issue_rate=1.0)
    assert issues["label_quality"][[2, 5]].tolist() == [1.0, 1.0]
    assert issues["noise_score"].isna().tolist() == [i in (2, 5) for i in range(N)]
    assert issues["is_label_issue"].tolist() == [i not in (2, 5) for i in range(N)]


def test_a_grown_model_goes_on_as_it_would_have(tmp_path):
    grown, model = (known(model_of(rate=1.0)) for _ in range(2))
    for one in (grown, model):
        one.trust([3])
        one.fit(X, Y, verbose=0)
    before = rows_of(grown)
    grown.grow(N + 3)
    fresh = grown.tables.first_rows(np.arange(N, N + 3))
    for name, rows in rows_of(grown).items():
        np.testing.assert_array_equal(rows[:N], before[name])
        np.testing.assert_array_equal(rows[N:], fresh[name])
    # Of the old examples, to the last bit: the momentum of the network, too.
    for one in (grown, model):
        one.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    for name, rows in rows_of(model).items():
        np.testing.assert_array_equal(rows_of(grown)[name][:N], rows)
    for ours, theirs in zip(
        grown.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    new = {"label": Y[:3], "index": np.arange(N, N + 3)}
    grown.fit(X[:3], new, verbose=0)
    assert grown.training_record.labels([0, N + 1]).tolist() == [0, 1]
    grown.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.num_examples == N + 3
    for ours, theirs in zip(loaded.get_weights(), grown.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match=r"Index 9 is outside \[0, 9\)"):
        loaded.fit(X[:1], {"label": Y[:1], "index": np.array([9])})


@pytest.mark.parametrize("seed", [None, 5])
def test_rows_are_drawn_alike_after_a_file_whatever_the_seed(seed, tmp_path):
    model = SOPModel(backbone(), N, K, init_std=0.1, seed=seed)
    model.compile("sgd", u_optimizer=1.0, v_optimizer=1.0)
    model.save(tmp_path / "model.keras")
    keras.utils.set_random_seed(17)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    clone = keras.models.clone_model(loaded)
    for one in (model, loaded, clone):
        one.reset_examples(np.arange(N))
        one.grow(N + 3)
        assert one.seed == seed
    expected = rows_of(model)
    assert np.ptp(expected["v"]) > 0
    for one in (loaded, clone):
        for name, rows in rows_of(one).items():
            np.testing.assert_array_equal(rows, expected[name])


def test_a_model_cannot_lose_examples_by_growing():
    model = model_of()
    with pytest.raises(
        ValueError, match=r"drops none.*num_examples=5 for a model of 6"
    ):
        model.grow(5)
    model.grow(N)
    assert model.num_examples == N


class StopError(Exception):
    pass


class Stop(keras.callbacks.Callback):
    """Ends a training as its third epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise StopError


def stopped(folder, data, callbacks=(), run_eagerly=True, **options):
    """A new model, and what it needs to go on where one was stopped."""
    start = {"rate": 1.0, "run_eagerly": run_eagerly}
    backup = keras.callbacks.BackupAndRestore(folder)
    options = {"epochs": 3, "verbose": 0, **options}
    with pytest.raises(StopError):
        model_of(**start).fit(*data, callbacks=[backup, *callbacks, Stop()], **options)
    return model_of(**start), {"callbacks": [backup], **options}


@pytest.mark.parametrize("data", DATA)
def test_what_a_backup_brings_back_is_compared_too(data, tmp_path):
    make, _ = DATA[data]
    steps = {"steps_per_epoch": 2} if data == "generator" else {}
    run_eagerly = data != "dataset"
    model, options = stopped(tmp_path, make(Y), run_eagerly=run_eagerly, **steps)
    # As if examples came in another order: before a batch, or, of what TensorFlow
    # reads by itself, before a checkpoint has it.
    with pytest.raises(ValueError, match="label was 2 and is 3"):
        model.fit(*make(CORRECTED), **options)
    again = model_of(rate=1.0, run_eagerly=run_eagerly)
    assert again.fit(*make(Y), **options).epoch == [2]


def test_what_a_backup_brings_back_is_reset_too(tmp_path):
    rows = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            rows.append(rows_of(self.model))

    model, options = stopped(tmp_path, (X, Y), [Watch()])
    options["callbacks"].append(Watch())
    model.fit(X, CORRECTED, changed_labels="reset", **options)
    # Before the third epoch: as it was stopped, and as it goes on.
    *_, kept, found = rows
    first = model.tables.first_rows(np.arange(N))
    for name, values in found.items():
        expected = kept[name].copy()
        assert (expected != np.asarray(first[name])).any(axis=1).all()
        expected[CHANGED] = np.asarray(first[name])[CHANGED]
        np.testing.assert_array_equal(values, expected)


def test_a_model_that_was_not_compiled_says_so():
    model = SOPModel(backbone(), N, K)
    for use in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"must call `compile\(\)` before"):
            use(X, Y)
    with pytest.raises(ValueError, match=r"must call `compile\(\)` before"):
        model.train_on_batch(X, {"label": Y, "index": np.arange(N)})
