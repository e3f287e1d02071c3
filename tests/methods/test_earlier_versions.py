"""What earlier versions of this package saved is read, and goes on."""

import golden
import keras
import numpy as np

from sop_keras import SOPModel

# Saved by the commit of that name, after an epoch; its training went on for another.
NAME = "sop_model_of_09fdf15"


def test_a_saved_model_goes_on_as_it_did_there():
    file = golden.arrays(NAME)
    model = keras.saving.load_model(golden.FOLDER / f"{NAME}.keras")
    assert type(model) is SOPModel
    model.fit(
        file["x"],
        file["y"],
        batch_size=5,
        epochs=2,
        initial_epoch=1,
        shuffle=False,
        verbose=0,
    )
    found = {
        "u": model.noise_table.u,
        "v": model.noise_table.v,
        "kernel": model.backbone.weights[0],
        "velocity": model.optimizer.variables[2],
    }
    for name, variable in found.items():
        np.testing.assert_allclose(variable.numpy(), file[name], rtol=1e-5, atol=1e-7)
    assert int(model.u_optimizer.iterations) == int(file["iterations"]) == 6
    assert float(model.u_optimizer.learning_rate) == 1.0
