import json
import math

import pytest

from sop_keras.training.execution import Execution


def test_the_defaults_are_one_device_and_half_an_hour():
    settings = Execution().settings()
    assert json.loads(json.dumps(settings)) == settings
    assert settings == {
        "strategy": "none",
        "table_device": None,
        "jit_compile": None,
        "steps_per_execution": 1,
        "checkpoint_minutes": 30.0,
        "noise_monitor": True,
    }


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("strategy", "tpu", "none, mirrored, multi_worker"),
        ("table_device", "gpu", "one of cpu"),
        ("steps_per_execution", 0, "at least 1"),
        ("checkpoint_minutes", -1.0, "at least 0"),
        ("checkpoint_minutes", math.nan, "finite"),
        ("checkpoint_minutes", math.inf, "finite"),
    ],
)
def test_values_out_of_range_are_refused(name, value, expected):
    with pytest.raises(ValueError, match=f"{name}.*{expected}.*{name}="):
        Execution(**{name: value})
