import shutil

import keras
import numpy as np
import pytest

from sop_keras.training.checkpoint import (
    CheckpointError,
    Checkpoints,
    write_atomically,
)


def network(value: float, trained: bool = True) -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    if trained:
        model.optimizer.build(model.trainable_variables)
    for weight in model.weights:
        weight.assign(np.full(weight.shape, value, "float32"))
    return model


def kernel_value(model: keras.Model) -> float:
    return float(model.weights[0].numpy()[0, 0])


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for epoch in (1, 2, 3):
        checkpoints.save(network(epoch), epoch, {"history": list(range(epoch))})
    return checkpoints


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_nothing_to_restore(tmp_path):
    assert Checkpoints(tmp_path / "none").restore(network(0)) is None


def test_the_newest_is_restored_and_two_are_kept(checkpoints):
    model = network(0)
    state = checkpoints.restore(model)
    assert (state["epoch"], state["history"]) == (3, [0, 1, 2])
    assert kernel_value(model) == 3
    assert names(checkpoints) == ["epoch-00002", "epoch-00003"]


@pytest.mark.parametrize("part", ["model.weights.h5", "state.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_one_falls_back_to_the_one_before(checkpoints, part, share):
    path = checkpoints.folder / "epoch-00003" / part
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    model = network(0)
    assert checkpoints.restore(model)["epoch"] == 2
    assert kernel_value(model) == 2


def test_a_missing_file_falls_back_too(checkpoints):
    (checkpoints.folder / "epoch-00003" / "model.weights.h5").unlink()
    assert checkpoints.restore(network(0))["epoch"] == 2


def test_none_whole_is_an_error_that_changes_nothing(checkpoints):
    for path in checkpoints.folder.glob("*/state.json"):
        path.write_text("{")
    model = network(7)
    with pytest.raises(CheckpointError, match=r"No checkpoint in .* is whole.*remove"):
        checkpoints.restore(model)
    assert kernel_value(model) == 7
    assert names(checkpoints) == ["epoch-00002", "epoch-00003"]


def test_a_kill_while_writing_leaves_a_part_that_is_no_checkpoint(checkpoints):
    # What a kill before the rename leaves behind.
    last = checkpoints.folder / "epoch-00003"
    shutil.copytree(last, checkpoints.folder / "partial-00004")
    assert checkpoints.restore(network(0))["epoch"] == 3
    checkpoints.save(network(4), 4, {})
    assert names(checkpoints) == ["epoch-00003", "epoch-00004"]


def test_the_momentum_of_an_unbuilt_optimizer_is_restored(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    model = network(1)
    x, y = np.ones((4, 2), "float32"), np.ones((4, 3), "float32")
    model.fit(x, y, verbose=0)
    checkpoints.save(model, 1, {})
    other = network(0, trained=False)
    checkpoints.restore(other)
    saved = [v.numpy() for v in model.optimizer.variables]
    restored = [v.numpy() for v in other.optimizer.variables]
    assert len(saved) == len(restored) == 4  # steps, rate, two momentums
    for one, two in zip(saved, restored, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(np.abs(value).max() > 0 for value in saved[2:])


def test_remove(checkpoints):
    checkpoints.remove()
    assert not checkpoints.folder.exists()


def test_write_atomically_leaves_one_file(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
