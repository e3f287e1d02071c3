import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import workers  # noqa: E402
from cluster import Workers  # noqa: E402

pytestmark = pytest.mark.slow

# As in pyproject.toml.
FILTERS = ("-Werror", "-Wignore:__array__ implementation:DeprecationWarning")
CASES = ("digits", "repeated", "with_index", "arrays")
SECONDS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two workers, and this process alone, left of the same trainings."""
    folder = tmp_path_factory.mktemp("workers")
    command = [*FILTERS, HERE / "workers.py", folder]
    with Workers([command] * 2, folder) as pair:
        workers.train(workers.Worker(None), folder)
        pair.check([0, 0], SECONDS)
    return folder


def arrays(folder, name, case):
    with np.load(folder / f"{name}.npz") as file:
        found = {key: file[key] for key in file.files if key.startswith(f"{case}/")}
    assert found
    return found


@pytest.mark.parametrize("case", CASES)
def test_two_workers_train_like_one_process(folder, case):
    alone = arrays(folder, "0-of-1", case)
    worker = arrays(folder, "0-of-2", case)
    assert alone.keys() == worker.keys()
    for key, expected in alone.items():
        bound = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(
            worker[key], expected, rtol=0, atol=bound, err_msg=key
        )


@pytest.mark.parametrize("case", CASES)
def test_both_workers_end_equal(folder, case):
    # To the last bit: weights, u, v, optimizers, loss and metrics, their history.
    one, other = (arrays(folder, f"{index}-of-2", case) for index in (0, 1))
    assert one.keys() == other.keys()
    for key, expected in one.items():
        np.testing.assert_array_equal(other[key], expected, err_msg=key)


@pytest.mark.parametrize("case", CASES)
def test_the_trainings_that_are_compared_learn(folder, case):
    found = arrays(folder, "0-of-1", case)
    losses = found[f"{case}/found/history loss"]
    assert len(losses) == workers.EPOCHS
    assert losses[-1] < losses[0]


def test_weights_saved_by_the_first_worker_load_in_one_process(folder):
    saved = arrays(folder, "0-of-2", "digits")
    model = workers.digits_model(seed=7)
    model.load_weights(folder / "2.weights.h5")
    loaded = workers.state(model)
    assert len(loaded) == sum("/state/" in key for key in saved)
    for place, value in enumerate(loaded):
        np.testing.assert_array_equal(value, saved[f"digits/state/{place}"])
