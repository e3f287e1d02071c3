import re
from pathlib import Path

import pytest
from communication import Network, communication, markdown, network_of, table_bytes

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "distributed.md"

# The small CNN's: 3x3 convolutions without biases, BatchNorm, a dense layer.
CHANNELS = (24, 48, 96, 128, 128)
KERNELS = 9 * (3 * 24 + 24 * 48 + 48 * 96 + 96 * 128 + 128 * 128)
PARAMETERS = KERNELS + 2 * sum(CHANNELS) + 128 * 10 + 10


def test_network_of():
    assert network_of("cnn", 32, 10) == Network(PARAMETERS, CHANNELS)


def test_two_replicas_of_the_small_cnn():
    # In a ring of two, each sends as many bytes as are reduced, and half of what is
    # gathered. In TensorFlow's graph of this step, 314,815 floats were counted in 29
    # reductions: the parameters, 5 times the channels, 2 times the 10 classes, a size;
    # and 4 gathers.
    sent = communication(Network(PARAMETERS, CHANNELS), 16, 10, 2)
    assert sent.network + sent.rest == 4 * 314_815
    assert sent.network == 4 * 312_674
    # 8 of 16 rows: an id of 8 bytes, a float for u, ten for v, three to record.
    assert sent.rows == 8 * (8 + 4 + 40 + 12)
    assert sent.exchanges == 29 + 4


@pytest.mark.parametrize("replicas", [4, 8])
def test_a_ring(replicas):
    # Reduced: every replica passes on R - 1 pieces of its sums, then R - 1 of the whole
    # sums, each 1/R of all. Gathered: R - 1 times what one of them had.
    pieces = 2 * (replicas - 1)
    sent = communication(Network(1000), 64, 3, replicas)
    assert sent.network == pytest.approx(pieces * 4 * 1000 / replicas)
    assert sent.rest == pytest.approx(pieces * 4 * (2 * 3 + 1) / replicas)
    assert sent.rows == pytest.approx((replicas - 1) * 64 / replicas * 36)


def test_one_device_sends_nothing():
    sent = communication(Network(1000, (8,)), 64, 3, 1)
    assert (sent.total, sent.exchanges) == (0, 0)


def test_table_bytes():
    # As measured: the table of ten million rows and 50 classes is 2,040 MB.
    assert table_bytes(10_000_000, 50) == 2_040_000_000


def test_markdown():
    # A network of 25 MB: 100 MB of 4-byte floats; 1 GB/s is a MB in a millisecond.
    table = markdown(Network(25_000_000), 2, 2, [1, 2], 1.0, 100.0).splitlines()
    assert table[2] == "| 1 | 0.000 | 0.000 | 0.000 | 0 | 0.00 | 0.00 |"
    assert table[3] == "| 2 | 100.000 | 0.000 | 0.000 | 8 | 100.00 | 0.80 |"


def test_the_document_has_these_figures():
    rows = re.findall(
        r"\| .*?K = ([\d,]+), N = [\d,]+, B = ([\d,]+) \| ([\d,]+) \| (.*?) \|$",
        DOCUMENT.read_text("utf-8"),
        flags=re.M,
    )
    assert len(rows) == 5
    for *sizes, rest in rows:
        classes, batch_size, parameters = (int(s.replace(",", "")) for s in sizes)
        sent = communication(Network(parameters), batch_size, classes, 8)
        network, gathered = rest.split(" | ")[:2]
        assert network == f"{sent.network / 1e6:.1f}"
        assert gathered == f"{sent.rows / 1e6:.3f}"
