import os

import numpy as np
import pandas as pd
import pytest

from sop_keras.label_issues.decisions import decisions_in, is_settled, read_decisions

TIME = "2024-05-06T07:08:09.123Z"
PLAIN = f"""id,decision,label,time
7,given,2,{TIME}
3,remove,,2024-05-06T07:08:10Z
5,other,0,2024-05-06T07:08:11+00:00
4,suggested,1,{TIME}
"""


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def told(decisions):
    columns = (decisions.ids, decisions.kinds, decisions.labels)
    return list(zip(*(column.tolist() for column in columns), strict=True))


OF_PLAIN = [(3, "remove", -1), (4, "suggested", 1), (5, "other", 0), (7, "given", 2)]


def test_decisions_come_in_the_order_of_ids(tmp_path):
    found = read_decisions(write(tmp_path / "a.csv", PLAIN), num_classes=3)
    assert told(found) == OF_PLAIN
    assert len(found) == 4
    assert found.ids.dtype == found.labels.dtype == np.int64
    assert found.times.astype(str).tolist() == [
        "2024-05-06T07:08:10.000",
        "2024-05-06T07:08:09.123",
        "2024-05-06T07:08:11.000",
        "2024-05-06T07:08:09.123",
    ]
    assert found.conflicts == ()


def test_rows_are_those_of_a_file(tmp_path):
    found = read_decisions(write(tmp_path / "a.csv", PLAIN), num_classes=3)
    assert found.rows() == [
        (3, "remove", None, "2024-05-06T07:08:10.000Z"),
        (4, "suggested", 1, "2024-05-06T07:08:09.123Z"),
        (5, "other", 0, "2024-05-06T07:08:11.000Z"),
        (7, "given", 2, "2024-05-06T07:08:09.123Z"),
    ]
    table = pd.DataFrame({"id": [2], "given_label": [1], "suggested_label": [0]})
    of_table = decisions_in(table.assign(decision="given"))
    assert of_table.rows() == [(2, "given", 1, "1970-01-01T00:00:00.000Z")]


def quoted(text):
    lines = (line.split(",") for line in text.splitlines())
    return "".join(",".join(f'"{one}"' for one in line) + "\n" for line in lines)


def turned(text):
    """Columns the other way round, with one more, and rows without values."""
    lines = [",".join(["x", *line.split(",")[::-1]]) for line in text.splitlines()]
    return "\n".join([*lines, ",,,,", ""])


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PLAIN, "utf-8-sig"),
        (PLAIN.replace(",", ";"), "utf-8"),
        (PLAIN.replace(",", ";").replace("\n", "\r\n"), "utf-8-sig"),
        (PLAIN.replace(",", "\t"), "utf-8"),
        (PLAIN.replace("\n", "\r"), "utf-8"),
        (quoted(PLAIN), "utf-8"),
        (quoted(PLAIN), "utf-8-sig"),
        (PLAIN.replace(",", " , "), "utf-8"),
        (turned(PLAIN), "utf-8"),
        (PLAIN.rstrip("\n"), "utf-8"),
    ],
)
def test_what_spreadsheets_make_of_it_is_read(tmp_path, text, encoding):
    path = write(tmp_path / "a.csv", text, encoding)
    assert told(read_decisions([path], num_classes=3)) == OF_PLAIN


def test_the_last_row_of_an_id_counts_within_a_file(tmp_path):
    path = write(tmp_path / "a.csv", f"{PLAIN}7,remove,,{TIME}\n3,given,1,{TIME}\n")
    found = read_decisions(path, num_classes=3)
    assert told(found)[0] == (3, "given", 1)
    assert told(found)[-1] == (7, "remove", -1)
    assert found.conflicts == ()


def test_files_that_say_different_things_decide_nothing(tmp_path):
    one = write(tmp_path / "one.csv", PLAIN)
    # 7 is said in other words, 5 and 3 in another way, 4 not at all; 9 is new.
    other = write(
        tmp_path / "other.csv",
        "id,decision,label,time\n"
        f"7,suggested,2,{TIME}\n5,given,1,{TIME}\n3,given,1,{TIME}\n9,given,0,{TIME}\n",
    )
    found = read_decisions([one, other], num_classes=3)
    assert told(found) == [(4, "suggested", 1), (7, "given", 2), (9, "given", 0)]
    assert [conflict.id for conflict in found.conflicts] == [3, 5]
    assert str(found.conflicts[0]) == f"id 3: {one}: remove, {other}: given 1"
    assert found.conflicts[1].said == (
        (str(one), "other", 0),
        (str(other), "given", 1),
    )


def test_no_decisions(tmp_path):
    found = read_decisions(
        write(tmp_path / "a.csv", PLAIN.splitlines()[0]), num_classes=3
    )
    assert len(found) == 0
    assert found.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"-1,given,0,{TIME}", r"Line 6 of .*a\.csv .* the id '-1' is not an integer"),
        (f"1E+05,given,0,{TIME}", r"the id '1E\+05'"),
        (f"1.0,given,0,{TIME}", r"the id '1\.0'"),
        (f"٣,given,0,{TIME}", "the id '٣'"),
        (f",given,0,{TIME}", "the id ''"),
        (f"{2**70},given,0,{TIME}", "the id '1180"),
        (f"1,keep,0,{TIME}", "'keep' is not one of given, suggested, other, remove"),
        (f"1,\x1b[2J,0,{TIME}", r"the decision '\\\\x1b\[2J'"),
        (f"1,given,3,{TIME}", "the label '3' is not the number of a .*, from 0 to 2"),
        (f"1,given,-1,{TIME}", "the label '-1'"),
        (f"1,given,,{TIME}", "the label ''"),
        (f"1,other,cat,{TIME}", "the label 'cat'"),
        (f"1,remove,0,{TIME}", "the label of what is removed is '0'"),
        ("1,given,0,06/05/2024 07:08", "time '06/05/2024 07:08' is not ISO 8601"),
        ("1,given,0,2024-02-30T07:08:09Z", "the time '2024-02-30T"),
        ("1,given,0,2024-05-06T07:08:09+02:00", "the time"),
        ("1,given,0,", "the time ''"),
        ("1,given,0", "it has 3 values, not 4"),
        (f"1,given,0,{TIME},", "it has 5 values, not 4"),
        (f'"1,given,0,{TIME}', "unexpected end of data"),
        (f"1,given,0,{'x' * 70000}", "it has 65,536 characters or more"),
    ],
)
def test_what_is_no_decision_is_refused_with_its_line(tmp_path, line, message):
    path = write(tmp_path / "a.csv", f"{PLAIN}{line}\n")
    with pytest.raises(ValueError, match=message):
        read_decisions(path, num_classes=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its first line must name the columns id, decision, label, time"),
        (b"id,decision,label\n", "Received: 'id,decision,label'"),
        (b"id decision label time\n", "no file of decisions"),
        (b"id,decision,label,time,id\n", "has the column 'id' more than once"),
        (PLAIN.encode("utf-16"), "UTF-16"),
        (PLAIN.encode() + b"1,given,\xff,", "is not text in UTF-8"),
        (b"\xff\n", "is not text in UTF-8"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_decisions(path, num_classes=3)


def test_a_file_must_be_there_and_be_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file of decisions .*none\.csv"):
        read_decisions(tmp_path / "none.csv", num_classes=3)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a pipe"):
        read_decisions(tmp_path / "pipe", num_classes=3)
    with open(tmp_path / "large", "wb") as file:
        file.write(b"a" * 4096)
        file.truncate(2**28 + 1)
    with pytest.raises(OSError, match="at most 268,435,456"):
        read_decisions(tmp_path / "large", num_classes=3)


# An audit's table: 8 was confirmed, 6 is a 2, 5 is a 1, 4 was removed; 2 and 3 open.
AUDITED = pd.DataFrame(
    {
        "id": [3, 8, 6, 4, 5, 2],
        "given_label": [0, 0, 1, 2, 0, 1],
        "suggested_label": [1, 1, 2, 2, 1, 0],
        "label_quality": [0.1, 1.0, np.nan, np.nan, np.nan, 0.9],
        "noise_score": [-1.0, np.nan, np.nan, np.nan, np.nan, -9.0],
        "decision": ["", "given", "suggested", "remove", "other", ""],
    }
)
IN_TABLE = [(4, "remove", -1), (5, "other", 1), (6, "suggested", 2), (8, "given", 0)]


def test_a_table_has_what_was_decided_before_it():
    assert told(decisions_in(AUDITED)) == IN_TABLE
    assert is_settled(AUDITED).tolist() == [False, True, True, True, True, False]
    # Without decisions, what a model trusts has the quality 1 and no noise score.
    alone = AUDITED.drop(columns="decision")
    assert len(decisions_in(alone)) == 0
    assert is_settled(alone).tolist() == [False, True, False, False, False, False]


def test_files_count_over_what_was_decided_before(tmp_path):
    one = write(tmp_path / "one.csv", f"id,decision,label,time\n6,other,0,{TIME}\n")
    rows = f"id,decision,label,time\n8,remove,,{TIME}\n5,given,0,{TIME}\n"
    two = write(tmp_path / "two.csv", rows)
    rows = f"id,decision,label,time\n8,given,0,{TIME}\n2,given,1,{TIME}\n"
    three = write(tmp_path / "three.csv", rows)
    found = read_decisions([one, two, three], num_classes=3).over(decisions_in(AUDITED))
    # On 8 the files disagree: nothing is decided, whatever the table has.
    expected = [(2, "given", 1), (4, "remove", -1), (5, "given", 0), (6, "other", 0)]
    assert told(found) == expected
    assert [one.id for one in found.conflicts] == [8]
