import numpy as np
from full_size import convolutions, multiply_adds, network_of, products

# Places of the map by 9 by channels in by channels out: 31x31, 15x15 twice, 7x7 twice,
# and 3x3, of widths 64, 128, 256; the whitening's 31*31*12*24, its bias and the head.
BLOCKS = 9 * (961 * 24 * 64 + 225 * 64 * 64 + 225 * 64 * 128 + 49 * 128 * 128)
BLOCKS += 9 * (49 * 128 * 256 + 9 * 256 * 256)
WHITENING = 961 * 12 * 24


def test_multiply_adds_of_the_fast_network():
    network = network_of("fast_cnn")
    assert BLOCKS == 65_152_512
    forward = BLOCKS + WHITENING + 24 + 2_560
    assert multiply_adds(network) == forward == 65_431_864
    # The whitening is forward alone; before its bias nothing trains.
    expected = 3 * (BLOCKS + 2_560) + WHITENING + 2 * 24
    assert multiply_adds(network, training=True) == expected


def test_multiply_adds_of_the_others():
    # As their docstrings have it: 10.1 million and 1.16 thousand million.
    small, large = network_of("cnn"), network_of("resnet34")
    assert (
        multiply_adds(small)
        == 9
        * (1024 * 3 * 24 + 256 * 24 * 48 + 64 * 48 * 96 + 16 * (96 * 128 + 128 * 128))
        + 1_280
    )
    assert round(multiply_adds(large) / 1e9, 2) == 1.16
    first = next(one for one in products(small))
    assert (first.trains, first.hands_back, first.passes) == (True, False, 2)
    assert all(one.passes == 3 for one in products(small)[1:])


def test_all_convolutions_are_taken():
    step = convolutions(network_of("cnn"), batch_size=2)
    ends = step()
    assert len(ends) == 5 * 3 - 1
    assert np.isfinite(ends).all()
