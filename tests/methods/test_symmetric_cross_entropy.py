"""SL: the published trajectory, limiting cases, and the two values of A."""

import golden
import numpy as np
import pytest
from trajectory import of_loss, trained

from sop_keras import losses, methods
from sop_keras.losses.symmetric_cross_entropy import LOG_OF_ZERO

FILE = golden.arrays("sl_k10")
LABELS = FILE["y"][FILE["idx"]]
DATA = (FILE["logits"], FILE["idx"], FILE["y"])
EXPECTED = FILE["loss"], FILE["grad_logits"]
K = 10


def assert_equal(found, expected, bound=1e-6):
    for values, wanted in zip(found, expected, strict=True):
        assert golden.error(values, wanted) < bound


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_published_trajectory(jit_compile):
    assert (float(FILE["alpha"]), float(FILE["beta"])) == (0.1, 1.0)
    _, *found = trained(methods.SymmetricCrossEntropy(), *DATA, jit_compile)
    assert_equal(found, EXPECTED, 1e-5)


def test_the_published_trajectory_as_a_keras_loss():
    loss = losses.SymmetricCrossEntropy(from_logits=True)
    for labels in (LABELS, LABELS[..., None], np.eye(K)[LABELS]):
        assert_equal(of_loss(loss, FILE["logits"], labels), EXPECTED, 1e-5)


def test_without_the_reverse_it_is_alpha_times_cross_entropy():
    _, *plain = trained(methods.CrossEntropy(), *DATA)
    method = methods.SymmetricCrossEntropy(alpha=6.0, beta=0.0)
    _, *found = trained(method, *DATA)
    assert_equal(found, [6 * values for values in plain])


def test_the_reverse_alone():
    # -A (1 - p_y), with A = log 1e-4: over all labels, -A (K - 1) whatever p is.
    loss = losses.SymmetricCrossEntropy(0.0, 1.0, from_logits=True, reduction=None)
    logits = np.repeat(FILE["logits"][0], K, axis=0)
    values = np.array(loss(np.tile(np.arange(K), 16), logits)).reshape(16, K)
    np.testing.assert_allclose(LOG_OF_ZERO, -9.21034, rtol=1e-6)
    np.testing.assert_allclose(values.sum(axis=1), -9 * LOG_OF_ZERO, rtol=1e-6)


@pytest.mark.parametrize("name", ["alpha", "beta"])
@pytest.mark.parametrize("kind", ["SymmetricCrossEntropy"])
def test_numbers_out_of_range(kind, name):
    for room in (methods, losses):
        for value in (-1.0, float("inf"), "much"):
            with pytest.raises(ValueError, match=f"`{name}` must be a finite number"):
                getattr(room, kind)(**{name: value})
