import pytest

from sop_keras.training.stretches import stretches


@pytest.mark.parametrize(
    ("place", "steps_per_execution", "expected"),
    [
        # 4 epochs of 6 batches: from the start, after one epoch, after all.
        ((0, 0), 1, [(0, 4, 0)]),
        ((1, 0), 3, [(1, 4, 0)]),
        ((4, 0), 1, []),
        # Inside an epoch: its rest alone. After the last one there is nothing else.
        ((1, 5), 1, [(1, 2, 5), (2, 4, 0)]),
        ((3, 1), 2, [(3, 4, 1)]),
        # Executions of 4 batches would take 8 of the 6.
        ((1, 0), 4, [(1, 2, 0), (2, 3, 0), (3, 4, 0)]),
        ((2, 4), 4, [(2, 3, 4), (3, 4, 0)]),
    ],
)
def test_the_calls_of_fit(place, steps_per_execution, expected):
    epoch, step = place
    calls = stretches(
        epoch,
        step,
        epochs=4,
        steps_per_epoch=6,
        steps_per_execution=steps_per_execution,
    )
    assert list(calls) == expected
