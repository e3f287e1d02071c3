"""What is left of an epoch after which something goes wrong."""

import pytest
from runs import history
from settings import digits

from sop_keras.monitoring import pictures
from sop_keras.training.run import Run


def test_an_epoch_is_kept_where_its_pages_cannot_be_drawn(tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("no picture")

    experiment = digits(epochs=2, decay_epochs=(1,))
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "gallery", fail)  # after the first epoch
        with pytest.raises(RuntimeError, match="no picture"):
            Run(experiment, tmp_path).train(verbose=0)
    assert (tmp_path / "checkpoints/epoch-00001-step-000000").exists()
    (row,) = history(tmp_path)
    assert float(row["noise/mean_s1"]) > 0
    Run(experiment, tmp_path).train(verbose=0)
    assert [one["epoch"] for one in history(tmp_path)] == ["1", "2"]
    assert history(tmp_path)[0] == row
