import pandas as pd
import pytest

from sop_keras.data.datasets.manifest import load_manifest


def write(path, text):
    path.write_text(text)
    return path


@pytest.fixture
def manifest(tmp_path):
    """Writes a manifest of training examples and returns its path."""
    return lambda text: write(tmp_path / "train.csv", text)


def test_integers_as_columns_of_floats_have_them(manifest, tmp_path):
    # As pandas, a spreadsheet and numpy.savetxt write 0, 1, 2, 12.
    texts = ["0.0", "1.", "2.000000000000000000e+00", "1.2e1"]
    rows = "".join(f"{i}.jpg,{text}\n" for i, text in enumerate(texts))
    dataset = load_manifest(manifest("path,label\n" + rows), num_classes=13)
    assert dataset.train.labels.tolist() == [0, 1, 2, 12]
    table = pd.DataFrame({"path": ["a", "b", "c"], "label": [0.0, 2.0, 1.0]})
    table.to_parquet(tmp_path / "t.parquet")
    assert load_manifest(tmp_path / "t.parquet").train.labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    "text",
    ["NaN", "nan", "None", "N/A", "n/a", "NA", "null", "NULL", "<NA>", "-"],
)
def test_what_says_that_there_is_no_label(text, manifest):
    rows = f"path,label,clean_label\na,x,x\nb, {text} ,x\nc,y,{text}\nd,{text},x\n"
    # Lines 3 and 5 in one column, 4 in the other.
    message = (
        rf"a label that is no value, such as '{text}' \(rename .* class\): lines 3, 5\n"
        rf"  a clean_label that is no value, such as '{text}' .*: line 4$"
    )
    with pytest.raises(ValueError, match=message):
        load_manifest(manifest(rows))


def test_an_image_under_two_labels(manifest, caplog, tmp_path):
    text = (
        "path,label,clean_label\na.jpg,x,x\nb.jpg,x,x\n./a.jpg,y,x\nb.jpg,x,x\n"
        f"{tmp_path}//c.jpg,y,y\nsub/../c.jpg,x,y\n"
    )
    dataset = load_manifest(manifest(text))
    # a has lines 2 and 4, c lines 6 and 7; b is listed twice under one label.
    assert "2 images are listed more than once, under another label" in caplog.text
    assert "(lines 2, 4, 6, 7)" in caplog.text
    assert "another clean_label" not in caplog.text
    assert dataset.train.labels.tolist() == [0, 0, 1, 0, 1, 0]


def test_an_image_that_is_trained_and_tested_on(manifest, caplog, tmp_path):
    test = write(tmp_path / "test.csv", "path,label\nd.jpg,x\n./b.jpg,y\n")
    load_manifest(manifest("path,label\na.jpg,x\nb.jpg,y\n"), test_manifest=test)
    assert f"{test}: 1 of its 2 images are in the training manifest" in caplog.text
    assert "(line 3)" in caplog.text


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        ("0 -1 2 -3", None, r"integer from 0 to 2 \(num.*'-1': lines 3, 5$"),
        ("0 1.5 2", None, r"not an integer from 0 to 2 \(.*, such as '1\.5': line 3$"),
        ("0 -0.0 1", None, r"not an integer from 0 to 1 \(.*'-0\.0': line 3$"),
        ("-1 -2", None, r"not an integer from 0 to 0 .*'-1': lines 2, 3$"),
        ("0 1 2 3", 3, r"an integer from 0 to 2 \(num_classes=3\).*'3': line 5$"),
        # 100,056 classes for two: of as many as there may be, and of more.
        (
            "100055 100023 100055",
            None,
            "2 different labels, 100023, 100055, and .* make 100056 classes, 100054 "
            r"of them .* use names .* \(such as class_100023\).* num_classes=100056\.$",
        ),
        ("0 1048576", None, r"make 1048577 classes.* or number them from 0\.$"),
        ("1048576 0", 1048576, "integer from 0 to 1048575 .*'1048576': line 2$"),
        ("0 99999999999999999999", 2, "'99999999999999999999': line 3$"),
        (
            "cat 3 dog",
            None,
            "a label that is a number, where others are names: line 3$",
        ),
        (
            "0 1 dog -2",
            None,
            "a label that is a name, where others are numbers: line 4$",
        ),
        ("cat dog", 3, r"the names of 2 classes\. Received: num_classes=3\. Leave it"),
    ],
)
def test_labels_that_cannot_be_used(labels, num_classes, message, manifest):
    rows = "".join(f"{i}.jpg,{label}\n" for i, label in enumerate(labels.split()))
    with pytest.raises(ValueError, match=message):
        load_manifest(manifest("path,label\n" + rows), num_classes=num_classes)


def test_true_labels_that_cannot_be_used(manifest):
    text = "path,label,clean_label\na,0,0\nb,1,x\nc,1,0\n"
    message = "a clean_label that is a name, where others are numbers: line 3$"
    with pytest.raises(ValueError, match=message):
        load_manifest(manifest(text))
    text = "path,label,clean_label\na,0,0\nb,1,5\nc,1,\n"
    with pytest.raises(ValueError, match=r"an empty clean_label: line 4$"):
        load_manifest(manifest(text))
    text = "path,label,clean_label\na,0,0\nb,1,5\n"
    message = r"a clean_label that is not an integer from 0 to 1 .*'5': line 3$"
    with pytest.raises(ValueError, match=message):
        load_manifest(manifest(text), num_classes=2)
