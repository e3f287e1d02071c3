"""The table: its start, its step on a few rows, and what it costs."""

import graphs
import keras
import numpy as np
import pytest
import tensorflow as tf

from sop_keras import NoisyLabelModel, methods
from sop_keras.core.example_tables import ExampleTables
from sop_keras.core.table import Table
from sop_keras.methods.sop import SOP


def tables_of(num_examples, num_classes, init_std=1e-8, **options):
    """Those of SOP: u and v."""
    u, v = Table("u", 1, std=init_std), Table("v", num_classes, std=init_std)
    return ExampleTables((u, v), num_examples, **options)


def table_of(u, v):
    table = tables_of(len(u), v.shape[1])
    table.u.assign(u)
    table.v.assign(v)
    return table


def step(table, ids, gradients, rates, project=True):
    """A step of SOP on the rows; the reference's has no projection."""
    method = SOP(variant="paper" if project else "reference")
    rates = dict(zip("uv", rates, strict=True))
    table.update(
        ids,
        dict(zip("uv", gradients, strict=True)),
        lambda rows, steps: method.updated_rows(rows, steps, rates),
    )


def test_shapes_types_and_the_draws_of_the_start():
    table = tables_of(70_000, 3, init_std=0.5, seed=7)
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
    tables = ExampleTables(SOP().tables(50), 1_000, seed=1)
    np.testing.assert_allclose(tables.v.numpy().std(), 1e-8, rtol=0.02)


def test_the_seed_decides_the_start():
    one, same, other = (tables_of(5, 2, seed=seed).v.numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    keras.utils.set_random_seed(3)
    first = tables_of(5, 2).u.numpy()
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(tables_of(5, 2).u.numpy(), first)


def test_no_weights_for_a_networks_optimizer():
    table = tables_of(5, 2)
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
        table = tables_of(4, 2, init_std=1e-8)
    finally:
        keras.config.set_dtype_policy(before)
    assert table.u.dtype == table.v.dtype == "float32"
    assert all(row.dtype == tf.float32 for row in table.rows([0, 1]).values())
    assert np.all(table.v.numpy() != 0)


def test_a_step_moves_and_projects_the_rows_of_the_batch_alone():
    u = np.array([[0.1], [0.2], [5.0], [0.4]], np.float32)
    v = np.array([[0.1, 0.2], [0.3, 0.4], [5.0, -5.0], [0.7, 0.8]], np.float32)
    table = table_of(u, v)
    ids = np.array([3, 1])
    by_u, by_v = np.float32([[1.0], [-2.0]]), np.float32([[0.1, 0.0], [-9.0, 9.0]])
    step(table, ids, (by_u, by_v), (0.5, 0.1))
    # u_3 = 0.4 - 0.5 * 1, u_1 = 0.2 + 0.5 * 2 = 1.2 -> 1; v_3 = 0.7 - 0.1 * 0.1;
    # v_1 = (0.3 + 0.9, 0.4 - 0.9) -> (1, -0.5). Row 2, beyond +-1, was not visited.
    np.testing.assert_allclose(
        table.u.numpy(), [[0.1], [1.0], [5.0], [-0.1]], rtol=1e-6
    )
    np.testing.assert_allclose(
        table.v.numpy(), [[0.1, 0.2], [1.0, -0.5], [5.0, -5.0], [0.69, 0.8]], rtol=1e-6
    )


def test_without_projection_rows_may_pass_one():
    table = table_of(np.float32([[0.9]]), np.float32([[0.9, -0.9]]))
    ids = [0]
    gradients = np.float32([[-1.0]]), np.float32([[-1.0, 1.0]])
    step(table, ids, gradients, (1.0, 0.5), project=False)
    np.testing.assert_allclose(table.u.numpy(), [[1.9]])
    np.testing.assert_allclose(table.v.numpy(), [[1.4, -1.4]], rtol=1e-6)


def test_gradients_of_equal_ids_are_summed_before_one_step_and_one_projection():
    table = table_of(np.float32([[0.5], [0.5]]), np.float32([[0.5, 0.0], [0.0, 0.5]]))
    ids = np.array([1, 0, 1, 1])
    by_u = np.float32([[1.0], [10.0], [-4.0], [0.5]])
    by_v = np.float32([[1.0, 2.0], [0.0, 0.0], [0.5, -8.0], [0.0, 1.0]])
    step(table, ids, (by_u, by_v), (0.1, 0.1))
    # u_1 = 0.5 - 0.1 (1 - 4 + 0.5) = 0.75; u_0 = 0.5 - 1 = -0.5;
    # v_1 = (0 - 0.15, 0.5 + 0.5). Three projected steps would end elsewhere.
    np.testing.assert_allclose(table.u.numpy(), [[-0.5], [0.75]], rtol=1e-6)
    np.testing.assert_allclose(table.v.numpy(), [[0.5, 0.0], [-0.15, 1.0]], rtol=1e-6)


@pytest.mark.parametrize("variable", ["u", "v"])
def test_a_step_reads_and_writes_rows_and_nothing_else(variable):
    table = tables_of(100, 3)

    @tf.function
    def one_step(ids, by_u, by_v):
        step(table, ids, (by_u, by_v), (1.0, 1.0))

    graph = one_step.get_concrete_function(
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
    step(table, indices, (by_u, by_v), (0.1, 0.2))
    # Only example 2 moves: u to 0.5 - 0.1 and v to 0.5 - 0.2.
    np.testing.assert_allclose(table.u.numpy()[:, 0], [0.5, 0.5, 0.4], rtol=1e-6)
    np.testing.assert_allclose(table.v.numpy()[:, 0], [0.5, 0.5, 0.3], rtol=1e-6)


def averaged(rows, ids, brought):
    """The rows of one table, when each is replaced by the mean of what comes for it."""
    tables = ExampleTables([Table("target", 2, initial=0.5)], rows)
    tables.update(
        np.array(ids),
        {"target": np.float32(brought)},
        lambda old, new: {"target": 0.5 * old["target"] + 0.5 * new["target"]},
        average=True,
    )
    return tables.target.numpy()


def test_what_equal_ids_bring_is_averaged_before_one_update():
    found = averaged(4, [2, 0, 2], [[1.0, 0.0], [0.3, 0.7], [0.0, 0.5]])
    # Row 2: 0.5 * 0.5 + 0.5 * (1 + 0) / 2 and 0.25 + 0.5 * 0.25. A sum would give
    # 0.75, two updates in turn 0.375 or 0.625.
    expected = [[0.4, 0.6], [0.5, 0.5], [0.5, 0.375], [0.5, 0.5]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_average_is_of_the_finite_alone_and_of_nothing_changes_nothing():
    found = averaged(3, [0, 1, 0], [[np.nan, 0.0], [np.inf, 1.0], [1.0, 0.0]])
    # Row 0 has one that is finite; row 1 none: it stays, rather than go to 0.25.
    expected = [[0.75, 0.25], [0.5, 0.5], [0.5, 0.5]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rows_are_written_as_they_are_in_one_table_alone():
    tables = ExampleTables([Table("kept", 1, initial=1.0), Table("other", 2)], 70_000)
    ids = np.random.default_rng(0).permutation(70_000)[:69_000]  # in two chunks
    values = np.arange(69_000) / 2
    tables.write("kept", ids, values)
    expected = np.ones(70_000)
    expected[ids] = values
    np.testing.assert_array_equal(tables.kept.numpy()[:, 0], expected)
    assert not tables.other.numpy().any()


def test_fresh_first_values_are_draws_that_hang_on_seed_table_and_id():
    tables = tables_of(40_000, 3, init_std=0.5, seed=7)
    ids = np.arange(40_000)
    found = {name: np.asarray(rows) for name, rows in tables.first_rows(ids).items()}
    draws = np.concatenate([found["u"], found["v"]], axis=1)
    # N(0, 0.5^2), 160,000 draws: mean and standard deviation within 5 standard errors;
    # 4.55% of a normal distribution is further than two deviations from its mean.
    assert abs(draws.mean()) < 5 * 0.5 / 160_000**0.5
    assert abs(draws.std() - 0.5) < 5 * 0.5 / 320_000**0.5
    assert abs((np.abs(draws) > 1.0).mean() - 0.0455) < 5 * (0.0455 / 160_000) ** 0.5
    assert np.abs(np.corrcoef(draws, rowvar=False) - np.eye(4)).max() < 0.03
    np.testing.assert_array_equal(
        tables.first_rows(np.array([9, 3]))["v"], found["v"][[9, 3]]
    )
    other = tables_of(40_000, 3, init_std=0.5, seed=8).first_rows(ids)
    assert abs(np.corrcoef(np.ravel(other["v"]), found["v"].ravel())[0, 1]) < 0.02


def test_fresh_first_values_without_a_seed_are_those_of_keras_seed():
    def fresh():
        keras.utils.set_random_seed(3)
        return np.asarray(tables_of(5, 2).first_rows(np.arange(5))["v"])

    np.testing.assert_array_equal(fresh(), fresh())
    assert not np.array_equal(fresh(), tables_of(5, 2).first_rows(np.arange(5))["v"])


def test_first_and_neutral_rows_that_are_not_drawn():
    tables = ExampleTables([Table("kept", 2, initial=0.25)], 3)
    first_rows = tf.function(  # of batches of any size
        tables.first_rows, input_signature=[tf.TensorSpec([None], tf.int64)]
    )
    for found in (tables.first_rows([1, 2]), first_rows(tf.constant([1, 2], tf.int64))):
        assert np.asarray(found["kept"]).tolist() == [[0.25, 0.25]] * 2
    tables.write("kept", [0], [[1.0, 2.0]])
    tables.write_neutral(np.array([0]))
    assert np.asarray(tables.rows([0])["kept"]).tolist() == [[0.25, 0.25]]
    drawn = tables_of(2, 2)
    drawn.write_neutral(np.array([1]))
    assert np.asarray(drawn.rows([1])["v"]).tolist() == [[0.0, 0.0]]


def test_level_tables_start_at_their_std_where_nothing_has_moved():
    tables = tables_of(100_000, 3, init_std=1e-4)
    tables.level = ("u",)
    v = np.array(tables.v)
    tables.write("u", np.array([70_000]), [[0.5]])
    tables.start_level(np.setdiff1d(np.arange(100_000), [3]))
    u = np.array(tables.u)[:, 0]
    assert u[70_000] == 0.5
    assert u[3] != np.float32(1e-4)
    assert (np.delete(u, [3, 70_000]) == np.float32(1e-4)).all()
    np.testing.assert_array_equal(tables.v, v)
    first = tables.first_rows(np.array([3]))
    assert np.array(first["u"]) == np.float32(1e-4)
    assert (np.array(first["v"]) != np.float32(1e-4)).all()


def test_rows_that_are_kept_stay_whatever_is_brought():
    tables = ExampleTables([Table("target", 1, initial=0.5)], 3)
    tables.update(
        np.array([0, 2]),
        {"target": np.float32([[1.0], [1.0]])},
        lambda old, new: {"target": old["target"] + new["target"]},
        kept=np.array([[False], [True]]),
    )
    assert tables.target.numpy().tolist() == [[1.5], [0.5], [0.5]]


@pytest.mark.parametrize("device", [None, "cpu"])
def test_grown_tables_are_in_their_order_and_on_their_device(device):
    tables = tables_of(70_000, 2, init_std=0.5, seed=1, device=device)
    before = {name: one.numpy() for name, one in tables.by_name().items()}
    tables.grow(140_000)  # in several pieces, old and new
    assert [one.path for one in tables.variables] == [
        f"{tables.name}/u",
        f"{tables.name}/v",
    ]
    fresh = tables.first_rows(np.arange(70_000, 140_000))
    for name, one in tables.by_name().items():
        np.testing.assert_array_equal(one.numpy()[:70_000], before[name])
        np.testing.assert_array_equal(one.numpy()[70_000:], fresh[name])


def test_tables_that_memory_has_no_room_for_at_first(monkeypatch):
    tables = tables_of(6, 2, init_std=0.5, seed=1)
    before = {name: one.numpy() for name, one in tables.by_name().items()}
    add_rows, calls = tables._add_rows, iter(range(10))

    def full_once(*arguments, **options):
        if next(calls) == 1:  # of the second table
            raise MemoryError
        return add_rows(*arguments, **options)

    monkeypatch.setattr(tables, "_add_rows", full_once)
    with pytest.raises(MemoryError):
        tables.grow(12)
    tables.grow(9)  # fewer than before, which the first table has already
    fresh = tables.first_rows(np.arange(6, 9))
    for name, one in tables.by_name().items():
        np.testing.assert_array_equal(one.numpy()[:6], before[name])
        np.testing.assert_array_equal(one.numpy()[6:], fresh[name])
    assert tables.num_examples == 9
    assert [one.shape for one in tables.variables] == [(9, 1), (9, 2)]


def test_a_training_says_what_its_rows_take(caplog):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    caplog.set_level("INFO", "sop_keras")
    for method, device, place in (
        (methods.SOP(), None, "(u: 1, v: 3) take 64 bytes beside the network"),
        (methods.ELR(), "cpu", "(target: 3) take 48 bytes in the host's memory"),
        (methods.CrossEntropy(), None, None),
    ):
        caplog.clear()
        model = NoisyLabelModel(network, 4, 3, method=method, table_device=device)
        model.compile("sgd")
        for _ in range(2):  # once alone
            model.fit(np.zeros((4, 2)), np.arange(4) % 3, verbose=0)
        found = [one.message for one in caplog.records if " bytes " in one.message]
        expected = [] if place is None else [f"The rows of 4 examples {place}."]
        assert found == expected
