import codecs

import pytest

from sop_keras.data.datasets.manifest import load_manifest
from sop_keras.files.text_encoding import check_not_utf16
from sop_keras.label_issues.export import read_label_issues

ROWS = "path,label\na.jpg,cat\nb.jpg,dog\n"
MESSAGE = r"list\.csv is not text in UTF-8: it looks like UTF-16.*iconv -f UTF-16"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "list.csv"


# "utf-16" has a mark, of this machine's order; the others have none.
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_that_is_not_utf8(encoding, path):
    path.write_text(ROWS, encoding)
    for read in (check_not_utf16, load_manifest, read_label_issues):
        with pytest.raises(ValueError, match=MESSAGE):
            read(path)


@pytest.mark.parametrize("content", [b"", b"a,\xe9\n", codecs.BOM_UTF8 + b"a\n"])
def test_other_text_is_left_to_its_reader(content, path):
    path.write_bytes(content)
    check_not_utf16(path)


def test_what_the_message_says_to_do_works(path):
    path.write_text(ROWS, "utf-16")
    path.write_bytes(path.read_bytes().decode("utf-16").encode())  # as iconv
    assert load_manifest(path).class_names == ("cat", "dog")
