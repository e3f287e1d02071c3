import json

import numpy as np

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.training.experiment import Experiment
from sop_keras.training.experiment_data import load_data
from sop_keras.training.run_folder import RunFolder, read_scale


def test_a_run_says_with_what_its_images_are_standardised(tmp_path):
    experiment, files = Experiment(dataset="digits"), DataFiles()
    data = load_data(experiment, files)
    folder = RunFolder(tmp_path, experiment, files)
    assert read_scale(tmp_path) is None
    folder.begin(data)
    mean, std = read_scale(tmp_path)
    # Of scikit-learn's digits, 0 to 16, as pixels: those of the data set's docstring.
    np.testing.assert_allclose([*mean, *std], [0.306, 0.376], atol=5e-4)
    # A run of an earlier version does not say it, and goes on all the same.
    path = tmp_path / "data.json"
    there = json.loads(path.read_text())
    assert there.pop("standardised") == {"mean": list(mean), "std": list(std)}
    folder.check_data(data)
    path.write_text(json.dumps(there))
    folder.check_data(data)
    assert read_scale(tmp_path) is None
