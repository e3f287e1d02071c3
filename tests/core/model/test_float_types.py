"""Whatever keras.config.floatx() is, rows are float32."""

import keras
import numpy as np
import pytest

from sop_keras import NoisyLabelModel, methods

N, D, K = 12, 4, 3
X = np.random.default_rng(0).normal(size=(N, D))
Y = np.arange(N) % K


@pytest.fixture
def floatx(request):
    policy, before = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx(request.param)
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(policy)


def model(method, **options):
    backbone = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K)])
    result = NoisyLabelModel(backbone, N, K, method, seed=0, gradient_norms=True)
    options["metrics"] = ["accuracy"]
    result.compile(keras.optimizers.SGD(0.1, momentum=0.9), **options)
    return result


@pytest.mark.parametrize("floatx", ["float64", "bfloat16", "float16"], indirect=True)
def test_rows_start_alike(floatx):
    method = methods.SOP(init_std=1e-4)
    found = model(method).tables.v.numpy()
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(found, model(method).tables.v.numpy())


# Compiled: two views, two networks, a look; the others run eagerly, which is sooner.
COMPILED = ("sop_plus", "coteaching", "forward")


@pytest.mark.parametrize("floatx", ["float64"], indirect=True)
@pytest.mark.parametrize("name", methods.names())
def test_float64(floatx, name):
    record = methods.record(name)
    method = record.load()(**record.settings().arguments(Y, K, False))
    one = model(method, run_eagerly=name not in COMPILED)
    x = (X, X) if one.method.num_views > 1 else X
    one.fit(x, Y, verbose=0)
    assert {v.dtype for v in one.backbone.weights} == {"float64"}
    rows = [*one.tables.variables, one.training_record.table]
    assert {variable.dtype for variable in rows} == {"float32"}
    logits = [X @ net.weights[0].numpy() + net.weights[1] for net in one._predicting()]
    logits = np.mean(logits, axis=0)
    # To more digits than float32 has.
    np.testing.assert_allclose(
        one.predict(X, verbose=0), logits, rtol=1e-12, atol=1e-15
    )
    if one.method.finds_label_issues:
        issues = one.label_issues(X, Y)
        assert issues["label_quality"].between(0, 1).all()


@pytest.mark.parametrize("floatx", ["float64"], indirect=True)
def test_rows_that_follow_their_examples(floatx):
    one = model(methods.SOP(init_std=1e-4))
    one.trust([0, 1])
    one.fit(X, Y, sample_weight=np.arange(N) > 5.0, verbose=0)
    assert one.training_record.labels(np.arange(N)).tolist() == [-1] * 6 + [*Y[6:]]
    one.grow(N + 1)
    one.fit(X, (Y + 1) % K, changed_labels="reset", verbose=0)
    one.reset_examples([N])
    rows = [*one.tables.variables, *one.training_record.variables]
    assert {variable.dtype for variable in rows} == {"float32"}
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    expected = model(methods.SOP(init_std=1e-4)).tables.first_rows([N])["v"]
    np.testing.assert_array_equal(one.tables.rows([N])["v"], expected)


@pytest.mark.parametrize("floatx", ["bfloat16"], indirect=True)
def test_half_floats(floatx):
    one = model(methods.SOP(init_std=1e-2))
    one.fit(X, Y, verbose=0)
    assert {v.dtype for v in one.backbone.weights} == {floatx}
    assert {v.dtype for v in one.tables.variables} == {"float32"}
    assert np.isfinite(one.tables.v.numpy()).all()
