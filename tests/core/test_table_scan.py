import tracemalloc

import keras
import numpy as np
import pytest
from tiny import IDS, LABELS, NORMS, QUALITY, set_by_hand, tiny_model

from sop_keras import SOPModel
from sop_keras.core.table_scan import scan_tables


@pytest.fixture(scope="module")
def model():
    return set_by_hand(tiny_model())


@pytest.mark.parametrize("rows_at_once", [1, 3, 4, 100])
def test_a_table_by_hand(model, rows_at_once):
    scan = scan_tables(model, LABELS, IDS, rows_at_once)
    np.testing.assert_allclose(scan.norms, NORMS, rtol=1e-5)
    np.testing.assert_allclose(scan.quality, QUALITY, rtol=1e-6)
    # Of s, by row: 0; 0.0025; all three; all three.
    assert scan.sparsity == pytest.approx(8 / 12)
    assert scan.rows_moved == 0.5
    assert scan.predictions.tolist() == [1, 1, 2, -1]
    assert scan.is_known.tolist() == [True, True, True, False]
    assert scan.is_issue.tolist() == [True, False, False, False]
    # 1 is predicted; elsewhere the given label is: the other class of the largest |v|.
    assert scan.suggested[:3].tolist() == [1, 0, 1]
    assert scan.likely_labels.tolist() == [1, 1, 2, 0]
    assert scan.log_u.counts.sum() == 4
    # Off the label: 0; 0.001 three times and 0.002; 0.2 twice and 0.3.
    counts = [row for row in scan.log_v.buckets().tolist() if row[2]]
    assert [count for *_, count in counts] == [1, 3, 1, 2, 1]
    lefts = [left for left, *_ in counts]
    assert lefts == pytest.approx([-16, -3, -2.8, -0.8, -0.6])


def test_a_chunk_of_many_classes_has_fewer_rows():
    # Of 8,192 x 1,000 entries, one array of float64 has 66 MB.
    backbone = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1000)])
    model = SOPModel(backbone, 8192, 1000)
    labels = ids = np.zeros(8192, np.int64)
    tracemalloc.start()
    try:
        scan = scan_tables(model, labels, ids)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50e6
    assert scan.log_v.counts.sum() == 8192 * 999


@pytest.mark.parametrize("rows_at_once", [1, 100])
def test_rows_of_slots_by_hand(rows_at_once):
    backbone = keras.Sequential([keras.Input((2,)), keras.layers.Dense(20)])
    model = SOPModel(
        backbone, 4, 20, init_std=1e-3, table="compact", table_slots=2, seed=0
    )
    model.noise_table.u.assign([[0.1], [1e-3], [0.2], [0.3]])
    v = np.full((4, 20), 1e-3, np.float32)
    v[1, [7, 5]] = 0.5, 0.4
    v[2, [0, 9]] = 0.3, 0.2
    labels, ids = np.array([0, 7, 4, 1]), np.arange(4)
    model.noise_table.write("v", ids, v)
    model.trust([3])  # u and v are 0 there
    record = [[0, 0.5, 0], [7, 0.5, 7], [9, 0.5, 4], [1, 0.5, 1]]
    model.training_record.table.assign(np.array(record))
    scan = scan_tables(model, labels, ids, rows_at_once)
    # u^2 at the label and v^2 off it: of slots as it is, and 1e-6 of every other one.
    norms = [0.01 + 19e-6, 0.16 + 19e-6, 0.04 + 0.09 + 0.04 + 17e-6, 0.0]
    np.testing.assert_allclose(scan.norms, norms, rtol=1e-6)
    # Of s, 0.16 of the second row and all three of the third; 0.01 is not below 0.01.
    assert scan.sparsity == pytest.approx(1 - 5 / 80)
    assert scan.rows_moved == 0.75
    # The other class that grew, where the given one is predicted; else the first other.
    assert scan.suggested.tolist() == [1, 5, 9, 0]
    counts = {round(left, 1): n for left, _, n in scan.log_v.buckets().tolist() if n}
    # 0.3 and 0.4; 0.2; every other one; those of the trusted row.
    assert counts == {-0.6: 1, -0.4: 1, -0.8: 1, -3.0: 54, -16.0: 19}


def test_the_bound_of_s_is_that_of_the_variant():
    backbone = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model = SOPModel(backbone, 1, 2, variant="reference")
    model.noise_table.u.assign([[1.5]])
    model.noise_table.v.assign([[0.0, 0.5]])
    # The reference clamps u^2 = 2.25 to 1; v^2 is 0.25.
    scan = scan_tables(model, np.array([0]), np.array([0]))
    assert scan.norms.tolist() == [1.25]


def test_probabilities_of_0_and_1_give_finite_qualities(model):
    record = model.training_record.table.numpy()
    try:
        model.training_record.table.assign(np.array([[0, 0.0, 1], [0, 1.0, 1]] * 3))
        quality = scan_tables(model, np.array([1, 1]), np.array([0, 1])).quality
    finally:
        model.training_record.table.assign(record)
    # Row 0, label 1: sqrt(||s||_1) is 0.3640055. p_y = 1e-45 is odds of e^103.6 against
    # it, of which e^10 (1 + 93.6163) are believed: 1 / (1 + 0.3640055 * 2084063).
    assert quality[0] == pytest.approx(1.31820e-6, rel=1e-4)
    assert quality[1] == pytest.approx(1)


def test_trusted_labels_are_no_issues():
    model = set_by_hand(tiny_model())
    model.training_record.trust(IDS[[0, 3]])
    scan = scan_tables(model, LABELS, IDS, 3)
    assert scan.quality.tolist() == [1.0, *scan.quality[1:3], 1.0]
    np.testing.assert_allclose(scan.quality[1:3], QUALITY[1:3], rtol=1e-6)
    assert not scan.is_issue.any()
