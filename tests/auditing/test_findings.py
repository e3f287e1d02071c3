import keras
import numpy as np
import pytest

from sop_keras.auditing import findings
from sop_keras.auditing.feature_rows import blocks
from sop_keras.auditing.findings import find_wrong_labels, most_confused
from sop_keras.label_issues.decisions import NO_LABEL, Decisions
from sop_keras.label_issues.detection import auroc
from sop_keras.label_issues.find import COLUMNS

N, K = 600, 3


def blobs(seed=0):
    """Three clouds far apart, and labels of which a fifth say the next class."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, K, N)
    features = rng.normal(size=(N, 16)).astype("float32")
    features[:, :K] += 4 * np.eye(K, dtype="float32")[clean]
    labels = np.where(rng.random(N) < 0.2, (clean + 1) % K, clean)
    return features, clean, labels


@pytest.fixture(scope="module")
def found():
    features, clean, labels = blobs()
    return find_wrong_labels(features, labels, K), clean, labels


def test_the_wrong_labels_are_found(found):
    findings, clean, labels = found
    table = findings.table
    is_wrong = labels != clean
    assert auroc(-table["label_quality"].to_numpy(), is_wrong) > 0.99
    # The clouds hardly touch; of so few labels, some wrong ones are not marked.
    marked = table["is_label_issue"].to_numpy()
    assert (marked & ~is_wrong).sum() <= 3
    assert marked[is_wrong].mean() > 0.75
    right = table["suggested_label"].to_numpy()[is_wrong] == clean[is_wrong]
    assert right.mean() > 0.95
    assert findings.num_wrong == pytest.approx(is_wrong.sum(), rel=0.3)
    low, high = findings.num_wrong_interval
    assert low <= findings.num_wrong <= high
    assert not findings.doubts


def test_the_table(found):
    findings, _, labels = found
    table = findings.table
    assert list(table) == [*COLUMNS, "decision"]
    np.testing.assert_array_equal(table["id"], np.arange(N))
    np.testing.assert_array_equal(table["given_label"], labels)
    assert (table["suggested_label"] != table["given_label"]).all()
    assert set(table["decision"]) == {""}


def test_the_pairs_that_are_confused_most(found):
    findings, _, _ = found
    issues = findings.table[findings.table["is_label_issue"]]
    pairs = {}
    for row in issues.to_dict("records"):
        pair = row["given_label"], row["suggested_label"]
        pairs[pair] = pairs.get(pair, 0) + 1
    expected = sorted(pairs.values(), reverse=True)[:2]
    confused = most_confused(findings.table, 2)
    assert [count for _, _, count in confused] == expected
    assert all(pairs[one, other] == count for one, other, count in confused)


def test_ids_and_rows_are_their_own(found):
    """Rows of features in another order, with rows that no example has between."""
    features, _, labels = blobs()
    places = np.random.default_rng(1).permutation(2 * N)[:N]
    shuffled = np.full((2 * N, 16), np.nan, "float32")
    shuffled[places] = features
    again = find_wrong_labels(
        shuffled, labels, K, ids=np.arange(N) + 1_000, places=places
    ).table
    np.testing.assert_array_equal(again["id"], np.arange(N) + 1_000)
    one = found[0].table.drop(columns="id")
    keras.tree.map_structure(
        np.testing.assert_array_equal,
        {name: again[name].to_numpy() for name in one},
        {name: one[name].to_numpy() for name in one},
    )


def decisions(ids, kinds, labels):
    times = np.zeros(len(ids), "datetime64[ms]")
    return Decisions(np.array(ids), np.array(kinds, object), np.array(labels), times)


def test_what_was_decided_is_never_changed():
    features, clean, labels = blobs()
    wrong = np.flatnonzero(labels != clean)[:3].tolist()
    right = int(np.flatnonzero(labels == clean)[0])
    # Decided against the features, so that only obedience can bring it about.
    ids = [right, *wrong]
    kinds = ["other", "given", "suggested", "remove"]
    said = [(labels[right] + 1) % K, labels[wrong[0]], clean[wrong[1]], NO_LABEL]
    order = np.argsort(ids)
    given = decisions(
        *(np.array(one, object)[order].tolist() for one in (ids, kinds, said))
    )
    findings = find_wrong_labels(features, labels, K, decisions=given)
    table = findings.table.set_index("id").loc[ids]
    assert table["decision"].tolist() == kinds
    np.testing.assert_array_equal(table["given_label"], labels[ids])
    np.testing.assert_array_equal(table["label_quality"], [np.nan, 1.0, np.nan, np.nan])
    assert not table["is_label_issue"].any()
    assert table["suggested_label"].tolist()[0] == said[0]
    assert table["suggested_label"].tolist()[2] == said[2]
    assert len(findings.table) == N


def test_another_class_that_is_the_given_one_confirms_it():
    # As earlier pages saved it: the key 3, and the name of the given class.
    features, clean, labels = blobs()
    one = int(np.flatnonzero(labels != clean)[0])
    given = decisions([one], ["other"], [labels[one]])
    findings = find_wrong_labels(features, labels, K, decisions=given)
    row = findings.table.iloc[one]
    assert (row["decision"], row["label_quality"]) == ("given", 1.0)
    assert row["suggested_label"] == clean[one]


def test_decided_labels_are_counted_as_decided():
    """Once all wrong labels were found by people, as many are estimated, no more."""
    features, clean, labels = blobs()
    ids = np.flatnonzero(labels != clean)
    kinds = ["suggested"] * len(ids)
    given = decisions(ids, kinds, clean[ids])
    findings = find_wrong_labels(features, labels, K, decisions=given)
    assert len(ids) <= findings.num_wrong < 1.1 * len(ids)
    # Seen by people: each class is given for itself, or as often as it was for another.
    rates = findings.judgement.rates
    true = [[(labels[clean == j] == k).mean() for k in range(K)] for j in range(K)]
    np.testing.assert_allclose(rates, true, atol=0.03)


def test_decisions_are_learnt_from():
    """Two clouds that labels cannot tell apart: the decisions can."""
    rng = np.random.default_rng(0)
    clean = np.arange(N) % 2
    features = rng.normal(size=(N, 8)).astype("float32")
    features[:, 0] += 3 * clean
    labels = np.where(rng.random(N) < 0.48, 1 - clean, clean)
    is_wrong = labels != clean
    first = find_wrong_labels(features, labels, 2).table
    ids = np.arange(200)
    kinds = np.where(is_wrong[ids], "suggested", "given").tolist()
    given = decisions(ids, kinds, clean[ids])
    second = find_wrong_labels(features, labels, 2, decisions=given).table
    scores = [
        auroc(-one["label_quality"].to_numpy()[200:], is_wrong[200:])
        for one in (first, second)
    ]
    assert scores[1] > max(scores[0], 0.9)


def test_blocks_are_small_where_classes_are_many(monkeypatch):
    besides = []

    def seen(rows, beside=0):
        besides.append(beside)
        return blocks(rows, beside)

    monkeypatch.setattr(findings, "blocks", seen)
    features, _, labels = blobs()
    find_wrong_labels(features, labels, 40)
    assert len(besides) == 1
    assert besides[0] >= 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((N, 2, 2), "f4")}, r"floats of shape \(n, D\)"),
        ({"features": np.zeros((N, 2), int)}, r"floats of shape \(n, D\)"),
        ({"features": np.zeros((N - 1, 2), "f4")}, "599 rows of features for 600"),
        ({"features": np.ones((N, 4), "f4")}, "alike"),
        ({"labels": np.array(["a"] * N)}, r"integers of shape \(n,\)"),
        ({"labels": np.full(N, 3)}, r"Labels must be in \[0, 3\)"),
        ({"labels": np.zeros(N, int)}, "one class alone"),
        ({"ids": np.zeros(N, int)}, "`ids` must be different"),
        ({"ids": np.arange(3)}, "600 labels, 3 ids"),
        ({"decisions": decisions([N], ["given"], [0])}, "the first has the id 600"),
        ({"decisions": decisions([0], ["given"], [7])}, "on other labels"),
    ],
)
def test_what_cannot_be(change, message):
    features, _, labels = blobs()
    arguments = {"features": features, "labels": labels, "num_classes": K, **change}
    with pytest.raises(ValueError, match=message):
        find_wrong_labels(**arguments)


def test_features_that_are_not_finite():
    features, _, labels = blobs()
    features[5, 3] = np.nan
    with pytest.raises(ValueError, match="place 5"):
        find_wrong_labels(features, labels, K)


def test_too_few():
    features, _, labels = blobs()
    with pytest.raises(ValueError, match=r"At least 20 examples .* Received: 2"):
        find_wrong_labels(features[:2], labels[:2], K)
