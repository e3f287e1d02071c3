import logging

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

from sop_keras import NoisyLabelModel, SOPModel, methods, with_index
from sop_keras.core.training_evidence import evidence_of, range_of

N, D, K = 60, 8, 3
X = np.random.default_rng(0).normal(size=(N, D)).astype("float32")
Y = np.arange(N) % K


def make(num_examples=N, method=None):
    backbone = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    if method is not None:
        model = NoisyLabelModel(backbone, num_examples, K, method=method, seed=0)
    else:
        model = SOPModel(backbone, num_examples, K, init_std=0.1, seed=0)
    model.compile(keras.optimizers.SGD(0.01))
    return model


def test_what_is_known_of_a_training():
    model = make()
    assert evidence_of(model).visits is None
    assert len(evidence_of(model).labels) == 0
    # Before its first batch the network gives the labels these probabilities.
    probs = keras.ops.softmax(model.predict(X, verbose=0))
    expected = -np.log(np.asarray(probs)[np.arange(N), Y]).mean()
    model.fit(X, Y, batch_size=N, validation_data=(X[:7], Y[:7]), verbose=0)
    model.fit(X, Y, batch_size=25, epochs=3, initial_epoch=1, verbose=0)
    evidence = evidence_of(model)
    assert evidence.start_loss == pytest.approx(expected, rel=1e-5)
    assert evidence.input_range == (X[:].min(), X[:].max())
    assert evidence.visits == 3.0
    assert evidence.labels.tolist() == Y.tolist()
    assert evidence.num_classes == K
    predictions, given_probs = model.training_record.read(np.arange(N))
    assert evidence.predictions.tolist() == predictions.tolist()
    noise = np.abs(model.estimate_noise(np.arange(N), Y)).sum(axis=1)
    np.testing.assert_allclose(evidence.noise_scores, np.log10(noise), atol=1e-6)
    assert evidence.largest_score == evidence.noise_scores.max()
    quality = given_probs / (given_probs + np.sqrt(noise) * (1 - given_probs))
    np.testing.assert_allclose(evidence.quality, quality, rtol=1e-5)


def test_rows_of_trusted_labels_say_nothing():
    model = make()
    model.trust([3, 8])
    model.fit(X, Y, verbose=0)
    evidence = evidence_of(model)
    assert np.flatnonzero(np.isnan(evidence.noise_scores)).tolist() == [3, 8]
    assert evidence.quality[[3, 8]].tolist() == [1.0, 1.0]
    assert evidence.largest_score == np.nanmax(evidence.noise_scores)
    assert len(evidence.labels) == N


def test_visits_are_of_those_that_are_trained_on():
    model = make(num_examples=1000)
    stream = with_index(tf.data.Dataset.from_tensor_slices((X[:40], Y[:40])))
    model.fit(stream.batch(10).repeat(), epochs=2, steps_per_epoch=6, verbose=0)
    assert evidence_of(model).visits == 3.0  # 2 * 6 * 10 of 40
    assert evidence_of(model, to_come=20.0).visits == 3.5
    assert evidence_of(model).input_range is None


def test_weights_of_0_are_no_visits():
    model, weights = make(), np.arange(N) % 3 / 2  # 20 of them are 0
    model.fit(X, Y, batch_size=25, sample_weight=weights, epochs=2, verbose=0)
    assert model.training_history.num_trained_on == 80
    assert evidence_of(model).visits == 2.0


def test_it_is_kept_in_files(tmp_path):
    model = make()
    model.fit(X, Y, batch_size=N, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.fit(X + 5, Y, batch_size=N, epochs=2, initial_epoch=1, verbose=0)
    assert evidence_of(loaded).visits == 2.0
    for name in ("start_loss", "input_range"):
        assert getattr(evidence_of(loaded), name) == getattr(evidence_of(model), name)


def test_of_many_examples_some_are_looked_at():
    model = make(num_examples=5000)
    record = np.tile(np.array([[0, 0.5, 2]], np.float32), (5000, 1))
    record[::2] = -1
    model.training_record.table.assign(record)
    evidence = evidence_of(model, most_entries=3600)
    # 1,200 draws of 5,000: 5000 (1 - (1 - 1/5000)^1200) = 1,067 are not equal, and half
    # of these have been trained on.
    assert len(evidence.labels) == pytest.approx(1067 / 2, rel=0.1)
    assert set(evidence.labels.tolist()) == {2}


def test_the_range_of_inputs():
    assert range_of({"a": np.array([[1, 7]]), "b": np.array([[-2.5]])}) == (-2.5, 7.0)
    assert range_of(tf.constant([[3.0, 4.0]])) == (3.0, 4.0)
    assert range_of(scipy.sparse.csr_matrix([[3.0, 0.0], [4.0, 5.0]])) == (0.0, 5.0)
    assert range_of(np.array([["text"]])) is None
    assert range_of(np.array([[1.0, np.nan]])) is None
    assert range_of([tf.sparse.from_dense([[1.0]])]) is None
    assert range_of(tf.data.Dataset.range(3)) is None


def said(caplog):
    names = {
        one.getMessage(): one.name
        for one in caplog.records
        if one.levelno >= logging.WARNING
    }
    return [text for text, name in names.items() if name.startswith("sop_keras")]


def test_few_visits_are_told_of_once_and_in_advance(caplog):
    model = make()
    model.fit(X, Y, epochs=2, verbose=0)
    first = said(caplog)[0]
    assert first.startswith("After epoch 1: Each example gets 2 of the 3 visits")
    assert caplog.text.count("of the 3 visits") == 1


def test_a_part_of_a_training_does_not_count_as_few_visits(caplog):
    make().fit(X, Y, total_epochs=3, verbose=0)
    assert "visits" not in caplog.text


def test_a_method_that_finds_nothing_says_nothing_of_labels(caplog):
    model = make(method=methods.CrossEntropy())
    model.fit(X, Y, verbose=0)
    assert said(caplog) == []
    model = make(method=methods.CrossEntropy())
    with caplog.at_level(logging.WARNING):
        model.fit(1000 * X, Y, verbose=0)
    assert "the network overflows or saturates" in caplog.text
