import csv
import json
import sys

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sop_keras.label_issues import export
from sop_keras.label_issues.export import read_label_issues, write_label_issues
from sop_keras.label_issues.find import COLUMNS

SUFFIXES = (".csv", ".parquet", ".json")
CLASSES = ("cat", "dog", "eel")

# Three thirds and the like, which no short text has, and very small ones.
NAN = float("nan")
ISSUES = pd.DataFrame(
    {
        "id": [7, 3, 2**31 - 1, 5, 0],
        "given_label": [0, 1, 2, 0, 1],
        "suggested_label": [1, 2, 0, 2, 0],
        "label_quality": [0.9999999999999999, 1e-20, NAN, 1e-20, 1 / 3],
        "noise_score": [-15.123456789012345, -0.1, NAN, 0.3, -1 / 3],
        "given_label_prob": [0.1, 0.2, 1 / 7, 0.4, 0.0],
        "suggested_label_prob": [0.9, 0.8, 6 / 7, 0.6, 5e-324],
        "is_label_issue": [False, True, False, True, True],
    }
)
NEGATIVE = ISSUES.assign(suggested_label=[1, 2, -1, 2, 0])
# The lowest quality first; of the two that are equal, id 3 is before 5.
ORDER = [1, 3, 4, 0, 2]


def files_of(texts):
    """One text each of the ids of ISSUES."""
    return dict(zip(ISSUES["id"], texts, strict=True))


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def column(path, name):
    """A column, as other programs read it."""
    if path.suffix == ".csv":
        header, *rows = rows_of(path)
        return [row[header.index(name)] for row in rows]
    if path.suffix == ".json":
        return [record[name] for record in json.loads(path.read_text("utf-8"))]
    return pq.read_table(path)[name].to_pylist()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rows_at_once", [2, 1000])
def test_round_trip_to_the_last_bit(suffix, rows_at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_ROWS_AT_ONCE", rows_at_once)
    path = tmp_path / f"issues{suffix}"
    write_label_issues(ISSUES, path, CLASSES, files=files_of("abcde"))
    expected = ISSUES.iloc[ORDER].reset_index(drop=True)
    pd.testing.assert_frame_equal(read_label_issues(path), expected, check_exact=True)
    assert column(path, "given_class") == ["dog", "cat", "dog", "cat", "eel"]
    assert column(path, "suggested_class") == ["eel", "eel", "cat", "dog", "cat"]
    assert column(path, "file") == list("bdeac")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_names_in_series_are_taken_by_place(tmp_path):
    path = tmp_path / "issues.csv"
    # By label, 0 would be the last one.
    files = pd.Series(list("abcde"), index=[4, 3, 2, 1, 0])
    classes = pd.Series(CLASSES, index=[2, 1, 0])
    # The ids of arrays are their places.
    write_label_issues(ISSUES.assign(id=range(5)), path, classes, files)
    assert column(path, "file") == list("bdeac")
    assert column(path, "given_class") == ["dog", "cat", "dog", "cat", "eel"]


def test_files_belong_to_ids_not_to_rows(tmp_path):
    path = tmp_path / "issues.csv"
    by_array = ISSUES.assign(id=range(5))
    files = [f"{one}.jpg" for one in range(5)]
    for table in (by_array, by_array.sort_values("label_quality"), by_array[3:]):
        write_label_issues(table, path, files=dict(enumerate(files)))
        ids = column(path, "id")
        assert column(path, "file") == [f"{one}.jpg" for one in ids]
    write_label_issues(by_array, path, files=files)
    assert column(path, "file") == [f"{one}.jpg" for one in column(path, "id")]
    # A list says nothing of which row is whose, once rows have moved or are missing.
    for table, given in (
        (by_array.sort_values("label_quality"), files),
        (by_array[::-1], files),
        (by_array[3:], files[3:]),
        (ISSUES, files),
    ):
        with pytest.raises(ValueError, match=r"are sorted, or a part: .* files=\{id:"):
            write_label_issues(table, path, files=given)
    text = r"no text for 2 of the 5 ids of `issues`; the first is 3\. Received: 3 texts"
    with pytest.raises(ValueError, match=text):
        write_label_issues(by_array, path, files=dict(enumerate(files[:3])))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_and_no_names(suffix, tmp_path):
    path = tmp_path / f"issues{suffix}"
    write_label_issues(ISSUES[:0], str(path))
    found = read_label_issues(str(path))
    pd.testing.assert_frame_equal(found, ISSUES[:0].reset_index(drop=True))


def test_columns_and_text_of_csv(tmp_path):
    path = tmp_path / "issues.csv"
    write_label_issues(ISSUES.assign(more=1), path, CLASSES, files=files_of("xxxxx"))
    header, first, *_ = path.read_text("utf-8").splitlines()
    names = [*COLUMNS[:3], "given_class", "suggested_class", *COLUMNS[3:], "file"]
    assert header == ",".join(f'"{name}"' for name in names)
    assert first == '3,1,2,"dog","eel",1e-20,-0.1,0.2,0.8,True,"x"'
    write_label_issues(ISSUES, path)
    assert rows_of(path)[0] == list(COLUMNS)


def test_types_of_parquet(tmp_path):
    path = tmp_path / "issues.parquet"
    write_label_issues(ISSUES, path, CLASSES)
    schema = pq.read_schema(path)
    types = [str(schema.field(name).type) for name in schema.names]
    texts = ["string", "string"]
    assert types == ["int64"] * 3 + texts + ["double"] * 4 + ["bool"]


def test_json_is_strict(tmp_path):
    path = tmp_path / "issues.json"
    write_label_issues(ISSUES, path)

    def refuse(constant):
        raise AssertionError(constant)

    records = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    assert records[-1] == {
        "id": 2**31 - 1,
        "given_label": 2,
        "suggested_label": 0,
        "label_quality": None,
        "noise_score": None,
        "given_label_prob": 1 / 7,
        "suggested_label_prob": 6 / 7,
        "is_label_issue": False,
    }


FORMULAS = [
    *("=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\tx", "\rx", '"=1"'),
    *("  =1", "\u00a0=1", "\u200b=1", "\ufeff@x", "＝1", "＋1", "－1", "＠x"),
]
# A cell begins behind what separates cells or rows, for some spreadsheets; and a quote
# is written twice, which is an empty text for them.
INNER_FORMULAS = {
    "a;=cmd|' /C calc'!A0": "a;'=cmd|' /C calc'!A0",
    "a\t@x": "a\t'@x",
    "a| \u200b＋1;-2": "a|' \u200b＋1;'-2",
    'a;"=1': "a;'\"=1",
    "a\n=1\r-1": "a\n'=1\r'-1",
    "\t=1": "'\t'=1",
    "\r=1": "'\r'=1",
    "\n=1": "'\n'=1",
}
HARMLESS = ["a=1", "1-2", "'=1", "", " ", "<script>alert(1)</script>", 'a,"b"', "a;b"]
HARMLESS += ["a; b=1", "a|b-1", "a,=1"]


@pytest.mark.parametrize(
    ("text", "neutral"),
    [*((text, f"'{text}") for text in FORMULAS), *INNER_FORMULAS.items()],
)
def test_formulas_are_neutralised_in_csv_alone(text, neutral, tmp_path):
    classes, files = ("a", text, "c"), files_of([text] * 5)
    for suffix in SUFFIXES:
        path = tmp_path / f"issues{suffix}"
        write_label_issues(ISSUES, path, classes, files)
        expected = neutral if suffix == ".csv" else text
        assert column(path, "file") == [expected] * 5
        assert column(path, "given_class")[0] == expected
        assert column(path, "suggested_class")[3] == expected
        # Numbers are numbers, negative ones too.
        assert str(column(path, "noise_score")[0]) == "-0.1"
        assert len(read_label_issues(path)) == 5


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_are_as_they_were(text, tmp_path):
    for suffix in SUFFIXES:
        path = tmp_path / f"issues{suffix}"
        write_label_issues(ISSUES, path, CLASSES, files_of([text] * 5))
        assert column(path, "file") == [text] * 5


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a\nb\r\nc\rd", "a\nb\r\nc\rd"),
        ("a\0b", r"a\x00b"),
        ("\0=1", r"\x00=1"),
        ("\ud800", r"\ud800"),
        ("caf\udce9", r"caf\udce9"),
        ("类别 \U0001f600 \x1b[31m\u2028", "类别 \U0001f600 \x1b[31m\u2028"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_do_not_break_the_file(text, written, suffix, tmp_path):
    path = tmp_path / f"issues{suffix}"
    write_label_issues(ISSUES, path, ("a", "b", text), files_of([text] * 5))
    assert column(path, "file") == [written] * 5
    assert column(path, "given_class")[4] == written
    pd.testing.assert_frame_equal(
        read_label_issues(path), ISSUES.iloc[ORDER].reset_index(drop=True)
    )


def test_the_old_file_stays_where_writing_fails(tmp_path):
    path = tmp_path / "issues.csv"
    write_label_issues(ISSUES, path)
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        write_label_issues(ISSUES, path, files=files_of([None] * 5))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ISSUES, "i.xlsx"), r"ends in \.csv, \.parquet, \.json\. Received: '.*xlsx'"),
        ((ISSUES, "i"), r"ends in \.csv, \.parquet, \.json"),
        ((ISSUES.drop(columns="id"), "i.csv"), "`issues` is .* no column 'id'"),
        ((ISSUES, "i.csv", CLASSES[:2]), "Received: 2 names, and the label 2"),
        ((NEGATIVE, "i.csv", CLASSES), "Received: 3 names, and the label -1"),
        ((ISSUES, "i.csv", None, ["a"]), "Received: 1 texts for 5 rows"),
    ],
)
def test_what_cannot_be_written(arguments, message, tmp_path):
    issues, name, *more = arguments
    with pytest.raises(ValueError, match=message):
        write_label_issues(issues, tmp_path / name, *more)
    assert not list(tmp_path.iterdir())


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    path = tmp_path / "i.parquet"
    write_label_issues(ISSUES, path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for call in (
        lambda: write_label_issues(ISSUES, path),
        lambda: read_label_issues(path),
    ):
        with pytest.raises(ImportError, match=r"needs pyarrow.*extra \[parquet\]"):
            call()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_lack_columns(suffix, tmp_path):
    path = tmp_path / f"issues{suffix}"
    table = ISSUES.drop(columns=["label_quality", "is_label_issue"])
    if suffix == ".csv":
        table.to_csv(path, index=False)
    elif suffix == ".json":
        table.to_json(path, orient="records")
    else:
        table.to_parquet(path)
    text = r"issues\.\w+ is no table .* no column 'label_quality', 'is_label_issue'\."
    with pytest.raises(ValueError, match=text):
        read_label_issues(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_are_not_there_or_cut_off(suffix, tmp_path):
    path = tmp_path / f"issues{suffix}"
    with pytest.raises(FileNotFoundError, match="no table of label issues"):
        read_label_issues(path)
    write_label_issues(ISSUES, path, CLASSES, files_of(["some file"] * 5))
    content = path.read_bytes()
    # In the last row: after its id and in its last cell.
    for length in (0, content.rfind(b"2147483647") + 5, len(content) - 4):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cannot be read as .*: .*Write it again"):
            read_label_issues(path)


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        (".csv", b",True", b",maybe"),
        (".csv", b"0.8", b"much"),
        (".csv", b"\n3,", b"\n3.5,"),
        (".csv", b"\n3,", b"\n,"),
        (".json", b"true", b"1"),
        (".json", b"0.8", b'"much"'),
        (".json", b'"id": 3', b'"id": null'),
        (".json", b'"id": 3', b'"id": 1e400'),
    ],
)
def test_cells_that_cannot_be(suffix, old, new, tmp_path):
    path = tmp_path / f"issues{suffix}"
    write_label_issues(ISSUES, path, CLASSES)
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(ValueError, match=r"cannot be read as .*: .*Write it again"):
        read_label_issues(path)


@pytest.mark.parametrize("text", ['{"id": 1}', "[1, 2]", "3"])
def test_json_of_another_kind(text, tmp_path):
    path = tmp_path / "issues.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="not a list of records"):
        read_label_issues(path)


@pytest.mark.parametrize(
    ("version", "asks"), [("2.2.3", True), ("3.0.0rc1", True), ("3.10.0", False)]
)
def test_pandas_is_asked_for_exact_floats_where_they_are_not_its_default(version, asks):
    assert bool(export._exact_floats(version)) is asks


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_decided_is_read_back(suffix, tmp_path):
    path = tmp_path / f"issues{suffix}"
    said = ["", "given", "", "remove", "other"]
    write_label_issues(ISSUES.assign(decision=said, is_outlier=False), path, CLASSES)
    found = read_label_issues(path)
    assert list(found) == [*COLUMNS, "decision"]
    assert found["decision"].tolist() == [said[place] for place in ORDER]
    write_label_issues(ISSUES.assign(decision=["x" * 99, *said[1:]]), path)
    with pytest.raises(ValueError, match=r"its column 'decision' has 'x{40}'"):
        read_label_issues(path)
    write_label_issues(ISSUES[:0].assign(decision=[]).astype({"decision": str}), path)
    assert len(read_label_issues(path)) == 0
