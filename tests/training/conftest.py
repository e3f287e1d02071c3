import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[1]):
    sys.path.insert(0, str(folder))

from small_checkpoints import saved  # noqa: E402


@pytest.fixture
def checkpoints(tmp_path):
    return saved(tmp_path / "checkpoints")
