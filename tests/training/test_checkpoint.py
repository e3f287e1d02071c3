import re
import shutil

import keras
import numpy as np
import pytest
from small_checkpoints import FILES, NAMES, kernel_value, names, network, progress

from sop_keras import NoisyLabelModel, SOPModel, methods
from sop_keras.training.checkpoint import CheckpointError, Checkpoints
from sop_keras.training.progress import metric_values, restore_metrics


def test_nothing_to_restore(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none")
    assert checkpoints.restore(network(0)) is None
    assert checkpoints.newest is None


def test_the_newest_is_restored_and_two_are_kept(checkpoints):
    model = network(0)
    assert checkpoints.restore(model) == progress(2)
    assert kernel_value(model) == 3
    assert names(checkpoints) == NAMES[1:]
    assert checkpoints.newest == NAMES[2]


def test_a_million_batches_come_after_the_ones_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (999_999, 1_000_000, 1_000_001):
        checkpoints.save(network(step), progress(0, step))
    assert checkpoints.restore(network(0)).step == 1_000_001


def test_progress_comes_back_to_the_last_bit(tmp_path):
    # 1/3 in single and double precision: neither is a short decimal number.
    metrics = [np.float32(1) / np.float32(3), np.arange(3, dtype="float32") / 7]
    history = [{"epoch": 1, "loss": 1 / 3}]
    values = {"seconds": 2 / 3, "history": history, "metrics": metrics}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(network(1), progress(1, 2, **values))
    restored = checkpoints.restore(network(0))
    assert (restored.seed, restored.seconds, restored.history) == (5, 2 / 3, history)
    for one, other in zip(metrics, restored.metrics, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("part", FILES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_one_falls_back_to_the_one_before(checkpoints, part, share):
    path = checkpoints.folder / NAMES[2] / part
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    model = network(0)
    assert checkpoints.restore(model) == progress(1, 7)
    assert kernel_value(model) == 2


def test_a_state_cut_off_at_any_byte_is_none(checkpoints):
    path = checkpoints.folder / NAMES[2] / "state.json"
    content = path.read_bytes()
    model = network(0)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert checkpoints.restore(model).step == 7


@pytest.mark.parametrize("part", FILES)
def test_a_missing_file_falls_back_too(checkpoints, part):
    (checkpoints.folder / NAMES[2] / part).unlink()
    assert checkpoints.restore(network(0)) == progress(1, 7)


def test_a_damaged_one_is_not_kept_as_one_of_two(checkpoints):
    (checkpoints.folder / NAMES[2] / "state.json").write_text("{")
    checkpoints.restore(network(0))
    assert names(checkpoints) == NAMES[1:]
    checkpoints.save(network(4), progress(3))
    assert names(checkpoints) == [NAMES[1], "epoch-00003-step-000000"]


def test_a_damaged_one_is_replaced_by_a_good_one_of_its_name(checkpoints):
    (checkpoints.folder / NAMES[2] / "state.json").write_text("{")
    checkpoints.restore(network(0))
    checkpoints.save(network(9), progress(2))
    model = network(0)
    assert checkpoints.restore(model) == progress(2)
    assert kernel_value(model) == 9
    assert names(checkpoints) == NAMES[1:]


def test_none_whole_is_an_error_that_changes_nothing(checkpoints):
    for path in checkpoints.folder.glob("*/state.json"):
        path.write_text("{")
    model = network(7)
    with pytest.raises(CheckpointError, match=r"No checkpoint in .* is whole.*remove"):
        checkpoints.restore(model)
    assert kernel_value(model) == 7
    assert names(checkpoints) == NAMES[1:]


def test_a_kill_while_writing_leaves_a_part_that_is_no_checkpoint(checkpoints):
    # What a kill before the rename leaves behind.
    last = checkpoints.folder / NAMES[2]
    for name in ("partial-epoch", "partial-0123456789abcdef-epoch"):
        shutil.copytree(last, checkpoints.folder / f"{name}-00002-step-000003")
    assert checkpoints.restore(network(0)) == progress(2)
    checkpoints.save(network(4), progress(3))
    assert names(checkpoints) == [NAMES[2], "epoch-00003-step-000000"]


def test_the_momentum_of_an_unbuilt_optimizer_is_restored(tmp_path):
    def compiled():
        backbone = keras.Sequential([keras.layers.Dense(3)])
        model = NoisyLabelModel(backbone, 4, 3, method=methods.CrossEntropy())
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
        return model

    checkpoints = Checkpoints(tmp_path)
    model, other = compiled(), compiled()
    x, y = np.ones((4, 2), "float32"), np.array([0, 1, 2, 0])
    model.fit(x, y, verbose=0)
    checkpoints.save(model, progress(1))
    other(x)  # it has weights now
    assert not other.optimizer.built
    checkpoints.restore(other)
    saved = [v.numpy() for v in model.optimizer.variables]
    restored = [v.numpy() for v in other.optimizer.variables]
    assert len(saved) == len(restored) == 4  # steps, rate, two momentums
    for one, two in zip(saved, restored, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(np.abs(value).max() > 0 for value in saved[2:])


def test_the_state_of_all_optimizers_is_restored(tmp_path):
    """Sums of accumulated gradients and the scale of a float16 loss among it."""

    def compiled():
        keras.utils.set_random_seed(0)
        policy = keras.DTypePolicy("mixed_float16")
        backbone = keras.Sequential(
            [keras.Input((2,)), keras.layers.Dense(3, dtype=policy)]
        )
        model = SOPModel(backbone, num_examples=5, num_classes=3, dtype=policy)
        sgd = keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2)
        model.compile(sgd, u_optimizer=10.0, v_optimizer=10.0)
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        return model

    def states(model):
        optimizers = (model.optimizer, model.u_optimizer, model.v_optimizer)
        return [v for optimizer in optimizers for v in optimizer.variables]

    model, other = compiled(), compiled()
    for number, variable in enumerate(states(model)):
        variable.assign(np.full(variable.shape, 3 + number))
    names = " ".join(variable.path for variable in states(model))
    assert {"dynamic_scale", "accumulator", "momentum"} <= set(
        re.findall("dynamic_scale|accumulator|momentum", names)
    )
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model, progress(1))
    checkpoints.restore(other)
    for number, variable in enumerate(states(other)):
        np.testing.assert_array_equal(variable.numpy(), 3 + number)


def test_metrics_of_a_model_that_has_not_trained_go_on(tmp_path):
    x, y = np.ones((4, 2), "float32"), np.array([0, 1, 2, 0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    models = [network(1), network(1)]
    for model in models:
        model.compile("sgd", loss, metrics=["accuracy"])
    # All logits are equal: class 0 is predicted, right for 2 of 4; the loss is ln 3.
    models[0].evaluate(x, y, verbose=0)
    restore_metrics(models[1], metric_values(models[0]), num_classes=3)
    results = models[1].get_metrics_result()
    assert float(results["accuracy"]) == 0.5
    assert float(results["loss"]) == pytest.approx(np.log(3))


def test_remove(checkpoints):
    checkpoints.remove()
    assert not checkpoints.folder.exists()
