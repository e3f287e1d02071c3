import numpy as np
import pytest

from sop_keras.backbones.cnn import cnn


def test_parameter_count():
    # Convolutions 9 * (3*24 + 24*48 + 48*96 + 96*128 + 128*128) = 310,536; BatchNorm
    # 2 * (24 + 48 + 96 + 128 + 128) = 848; classifier 128 * 10 + 10 = 1,290.
    model = cnn((32, 32, 3), 10, seed=0)
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert count == 310_536 + 848 + 1_290 == 312_674


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((32, 32, 3), [(16, 16), (8, 8), (4, 4), (4, 4), (4, 4)]),
        ((28, 28, 1), [(14, 14), (7, 7), (3, 3), (3, 3), (3, 3)]),
        ((8, 9, 1), [(4, 4), (2, 2), (1, 1), (1, 1), (1, 1)]),
    ],
)
def test_layer_shapes(shape, sides):
    model = cnn(shape, 7, seed=0)
    filters = (24, 48, 96, 128, 128)
    for number, (side, channels) in enumerate(zip(sides, filters, strict=True), 1):
        output = model.get_layer(f"relu{number}").output
        assert output.shape == (None, *side, channels)
    images = np.random.default_rng(0).normal(size=(3, *shape))
    assert model.predict(images, verbose=0).shape == (3, 7)


def test_refuses_images_that_pool_to_nothing():
    with pytest.raises(ValueError, match=r"at least 8x8 pixels.*\(7, 8, 1\)"):
        cnn((7, 8, 1), 10)
