"""The table: its start, its step on a few rows, and what it costs."""

import golden
import graphs
import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras.core.noise_table import NoiseTable
from sop_keras.methods import objective


def table_of(u, v, project=True):
    table = NoiseTable(len(u), v.shape[1], project=project)
    table.u.assign(u)
    table.v.assign(v)
    return table


def test_shapes_types_and_the_draws_of_the_start():
    table = NoiseTable(70_000, 3, init_std=0.5, seed=7)
    u, v = table.u.numpy(), table.v.numpy()
    assert (u.shape, v.shape) == ((70_000, 1), (70_000, 3))
    assert u.dtype == v.dtype == np.float32
    draws = np.concatenate([u, v], axis=1)
    # N(0, 0.5^2), 280,000 draws: mean and standard deviation within 5 standard errors.
    assert abs(draws.mean()) < 5 * 0.5 / 280_000**0.5
    assert abs(draws.std() - 0.5) < 5 * 0.5 / 560_000**0.5
    # The pieces it is drawn in, u and v are all different draws.
    assert len(np.unique(draws)) > 0.999 * np.unique(draws.astype(np.float32)).size
    assert not np.array_equal(u[:4_464], u[65_536:])
    assert np.abs(np.corrcoef(draws, rowvar=False) - np.eye(4)).max() < 0.02


def test_the_default_start_is_the_papers():
    draws = NoiseTable(1_000, 50, seed=1).v.numpy()
    np.testing.assert_allclose(draws.std(), 1e-8, rtol=0.02)


def test_the_seed_decides_the_start():
    one, same, other = (NoiseTable(5, 2, seed=seed).v.numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    keras.utils.set_random_seed(3)
    first = NoiseTable(5, 2).u.numpy()
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(NoiseTable(5, 2).u.numpy(), first)


def test_no_weights_for_a_networks_optimizer():
    table = NoiseTable(5, 2)
    table.trainable = True
    assert table.trainable_variables == []
    assert [variable.path for variable in table.variables] == [
        f"{table.name}/u",
        f"{table.name}/v",
    ]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_float32_under_any_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        table = NoiseTable(4, 2, init_std=1e-8)
    finally:
        keras.config.set_dtype_policy(before)
    assert table.u.dtype == table.v.dtype == "float32"
    assert all(row.dtype == tf.float32 for row in table.rows([0, 1]))
    assert np.all(table.v.numpy() != 0)


def test_its_config_makes_its_like():
    table = NoiseTable(4, 2, init_std=0.1, project=False, seed=5)
    copy = NoiseTable.from_config(table.get_config())
    np.testing.assert_array_equal(copy.v.numpy(), table.v.numpy())
    assert copy.get_config() == table.get_config()


def test_a_step_moves_and_projects_the_rows_of_the_batch_alone():
    u = np.array([[0.1], [0.2], [5.0], [0.4]], np.float32)
    v = np.array([[0.1, 0.2], [0.3, 0.4], [5.0, -5.0], [0.7, 0.8]], np.float32)
    table = table_of(u, v)
    ids = np.array([3, 1])
    by_u, by_v = np.float32([[1.0], [-2.0]]), np.float32([[0.1, 0.0], [-9.0, 9.0]])
    table.step(ids, (by_u, by_v), (0.5, 0.1))
    # u_3 = 0.4 - 0.5 * 1, u_1 = 0.2 + 0.5 * 2 = 1.2 -> 1; v_3 = 0.7 - 0.1 * 0.1;
    # v_1 = (0.3 + 0.9, 0.4 - 0.9) -> (1, -0.5). Row 2, beyond +-1, was not visited.
    np.testing.assert_allclose(
        table.u.numpy(), [[0.1], [1.0], [5.0], [-0.1]], rtol=1e-6
    )
    np.testing.assert_allclose(
        table.v.numpy(), [[0.1, 0.2], [1.0, -0.5], [5.0, -5.0], [0.69, 0.8]], rtol=1e-6
    )


def test_without_projection_rows_may_pass_one():
    table = table_of(np.float32([[0.9]]), np.float32([[0.9, -0.9]]), project=False)
    ids = [0]
    gradients = np.float32([[-1.0]]), np.float32([[-1.0, 1.0]])
    table.step(ids, gradients, (1.0, 0.5))
    np.testing.assert_allclose(table.u.numpy(), [[1.9]])
    np.testing.assert_allclose(table.v.numpy(), [[1.4, -1.4]], rtol=1e-6)


def test_gradients_of_equal_ids_are_summed_before_one_step_and_one_projection():
    table = table_of(np.float32([[0.5], [0.5]]), np.float32([[0.5, 0.0], [0.0, 0.5]]))
    ids = np.array([1, 0, 1, 1])
    by_u = np.float32([[1.0], [10.0], [-4.0], [0.5]])
    by_v = np.float32([[1.0, 2.0], [0.0, 0.0], [0.5, -8.0], [0.0, 1.0]])
    table.step(ids, (by_u, by_v), (0.1, 0.1))
    # u_1 = 0.5 - 0.1 (1 - 4 + 0.5) = 0.75; u_0 = 0.5 - 1 = -0.5;
    # v_1 = (0 - 0.15, 0.5 + 0.5). Three projected steps would end elsewhere.
    np.testing.assert_allclose(table.u.numpy(), [[-0.5], [0.75]], rtol=1e-6)
    np.testing.assert_allclose(table.v.numpy(), [[0.5, 0.0], [-0.15, 1.0]], rtol=1e-6)


@pytest.mark.parametrize("name", golden.names("paper_sop_*", "ref_sop_*", "ref_bal_*"))
def test_the_golden_trajectories_of_u_and_v(name):
    file = golden.load(name)
    table = table_of(file.u[0], file.v[0], project=file.variant == "paper")
    labels = np.eye(10, dtype=np.float32)[file["y"]]
    prior = np.full(10, 0.1, np.float32)
    us, vs = [table.u.numpy()], [table.v.numpy()]
    for ids, logits in zip(file["idx"], file["logits"], strict=True):
        u, v = table.rows(ids)
        batch = labels[ids]
        noise = objective.estimated_noise(u, v, batch, file.variant)
        predictions = np.eye(10, dtype=np.float32)[logits.argmax(-1)]
        by_u = objective.u_gradient(
            u,
            keras.ops.softmax(logits),
            noise,
            batch,
            predictions,
            file.variant,
            file.balance_weight,
            prior,
        )
        by_v = objective.v_gradient(v, batch, predictions, file.variant)
        rates = float(file["lr_u"]), float(file["lr_v"])
        table.step(ids, (by_u / 16.0, by_v / 16.0), rates)
        us.append(table.u.numpy())
        vs.append(table.v.numpy())
    assert golden.error(np.stack(us), file.u) < 1e-5
    assert golden.error(np.stack(vs), file.v) < 1e-5


@pytest.mark.parametrize("variable", ["u", "v"])
def test_a_step_reads_and_writes_rows_and_nothing_else(variable):
    table = NoiseTable(100, 3)

    @tf.function
    def step(ids, by_u, by_v):
        table.step(ids, (by_u, by_v), (1.0, 1.0))

    graph = step.get_concrete_function(
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([None, 1], tf.float32),
        tf.TensorSpec([None, 3], tf.float32),
    ).graph
    # ReadVariableOp, an assignment or anything dense would appear here.
    used = graphs.operations_on(getattr(table, variable), graph)
    assert used == {"ResourceGather", "ResourceScatterUpdate"}
    shapes = [tensor.shape for op in graph.get_operations() for tensor in op.outputs]
    assert not any(shape.rank and shape[0] == 100 for shape in shapes)


def test_a_gradient_that_is_not_finite_leaves_its_rows_alone():
    table = table_of(np.full((3, 1), 0.5), np.full((3, 2), 0.5))
    indices = np.array([0, 1, 2])
    by_u = np.array([[np.nan], [np.inf], [1.0]], "float32")
    by_v = np.ones((3, 2), "float32")
    table.step(indices, (by_u, by_v), (0.1, 0.2))
    # Only example 2 moves: u to 0.5 - 0.1 and v to 0.5 - 0.2.
    np.testing.assert_allclose(table.u.numpy()[:, 0], [0.5, 0.5, 0.4], rtol=1e-6)
    np.testing.assert_allclose(table.v.numpy()[:, 0], [0.5, 0.5, 0.3], rtol=1e-6)
