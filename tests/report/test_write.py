import json
import re
import resource
from html import unescape

import pytest
from untrained_runs import CLASSES, FILES, write_run

from sop_keras.data.datasets.by_name import DataFiles
from sop_keras.files.atomic import OutputError
from sop_keras.report.write import write_report

CLEAN = (1, 1, 2, 2, 0, 2)
PLOTS = {
    "training_accuracy.png",
    "noise_matrix_estimated.png",
    "label_quality.png",
    "noise_score.png",
}


def texts_of(path):
    """What a reader finds on the page under a name: figures and settings."""
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", path.read_text("utf-8"))
    return {unescape(name): unescape(value) for name, value in pairs}


def test_a_report_of_a_run_whose_clean_labels_are_known(tmp_path):
    folder = write_run(tmp_path / "run", CLEAN)
    path = write_report(folder)
    assert path == folder / "report.html"
    names = {one.name for one in (folder / "report").iterdir()}
    assert names == PLOTS | {"noise_matrix_true.png", "precision_recall.png"}
    texts = texts_of(path)
    # Of six labels one was never trained on; three of five are issues.
    assert texts["Label issues"] == "3<small>of 5 training labels</small>"
    assert texts["Estimated noise rate"].startswith("60.0 %")
    # 0, 3 and 5 are wrong, of which 5 was never trained on.
    assert texts["True noise rate"] == "50.0 %<small>3 wrong labels</small>"
    assert texts["AUROC"].startswith("0.8750")
    assert "Average precision" not in texts  # which the result does not have
    assert texts["Training accuracy"].startswith("75.0 %")
    assert texts["Method"] == "SOP"
    assert texts["alpha_v"] == "10.0"
    assert "lambda_C" not in texts
    assert texts["Flags"] == "--a=<b>"


def test_a_report_that_is_not_to_be_trusted_says_so_at_its_head(tmp_path):
    folder = write_run(tmp_path / "run", CLEAN)
    result = json.loads((folder / "result.json").read_text())
    result["doubts"] = ["||s||_1 is < 0.01.", "Class 3 is lost."]
    (folder / "result.json").write_text(json.dumps(result))
    text = write_report(folder).read_text("utf-8")
    boxes = re.findall(r'<p class="warning" role="note">(.*?)</p>', text)
    assert boxes == ["||s||_1 is &lt; 0.01.", "Class 3 is lost."]
    assert text.index(boxes[0]) < text.index("Label issues")


def test_a_report_where_nobody_knows_what_is_right(tmp_path):
    folder = write_run(tmp_path / "run", method="sop_plus")
    path = write_report(folder, output=tmp_path / "new" / "page.html", num_examples=2)
    assert {one.name for one in (tmp_path / "new" / "page").iterdir()} == PLOTS
    assert not (folder / "report.html").exists()
    text = path.read_text("utf-8")
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', text)[1])
    assert data["classNames"] == list(CLASSES)
    assert [row["file"] for row in data["rows"]] == [FILES[0], FILES[3]]
    assert [row["clean"] for row in data["rows"]] == [None, None]
    texts = texts_of(path)
    assert not {"True noise rate", "AUROC", "Recall"} & set(texts)
    assert texts["Training accuracy"] == "50.0 %<small>given labels</small>"
    assert texts["lambda_C"] == "0.9"


def test_similar_images_are_those_that_are_handed_in(tmp_path):
    folder = write_run(tmp_path / "run")
    text = write_report(folder, similar={3: [4, 1]}).read_text("utf-8")
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', text)[1])
    similar = {row["id"]: row.get("similar") for row in data["rows"]}
    assert [one["id"] for one in similar.pop(3)] == [4, 1]
    assert set(similar.values()) == {None}
    with pytest.raises(ValueError, match=r"`similar` must have ids .*Received: 6"):
        write_report(folder, similar={3: [6]})


def test_what_cannot_be_reported_on_is_refused_before_the_data_are_loaded(tmp_path):
    nowhere = DataFiles(manifest=str(tmp_path / "none.csv"))
    with pytest.raises(
        ValueError, match="is a run of CE, which says nothing about single labels"
    ):
        write_report(write_run(tmp_path / "ce", method="ce"), nowhere)
    folder = write_run(tmp_path / "run")
    with pytest.raises(ValueError, match=r"must end in \.html.*page\.pdf"):
        write_report(folder, nowhere, output="page.pdf")
    with pytest.raises(ValueError, match=r"at least 1\. Received: num_examples=0"):
        write_report(folder, nowhere, num_examples=0)
    with pytest.raises(FileNotFoundError, match=r"none\.csv.*--data_dir"):
        write_report(folder, nowhere)
    (folder / "result.json").unlink()
    with pytest.raises(ValueError, match="the run is not complete"):
        write_report(folder, nowhere)
    with pytest.raises(FileNotFoundError, match="holds runs, choose one: ce, run"):
        write_report(tmp_path)
    for config, text in (
        ("{}", r'run/config\.json has no "method"'),
        ('{"method": "trust"}', r"config\.json was written by the method 'trust'"),
    ):
        (folder / "config.json").write_text(config)
        with pytest.raises(ValueError, match=text):
            write_report(folder, nowhere)
    assert not list(tmp_path.rglob("report*"))


def test_a_page_that_cannot_be_written_leaves_the_one_before(tmp_path):
    folder = write_run(tmp_path / "run")
    before = write_report(folder).read_bytes()
    # The page holds all pictures twice, in light and dark: it is the largest file.
    largest = max(one.stat().st_size for one in (folder / "report").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        with pytest.raises(OutputError, match=r"report\.html could not .*large"):
            write_report(folder, num_examples=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / "report.html").read_bytes() == before
    assert not list(folder.glob("partial-*"))


def test_pictures_do_not_go_through_a_linked_folder(tmp_path):
    folder, elsewhere = write_run(tmp_path / "run"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "report").symlink_to(elsewhere)
    with pytest.raises(OutputError, match=r"run/report is a link to '.*elsewhere'"):
        write_report(folder)
    assert list(elsewhere.iterdir()) == []


def test_a_page_takes_the_place_of_a_link_and_what_it_leads_to_stays(tmp_path):
    folder, mine = write_run(tmp_path / "run"), tmp_path / "mine"
    mine.write_text("mine")
    for name in ("report.html", "partial-report.html"):
        (folder / name).symlink_to(mine)
    write_report(folder)
    assert mine.read_text() == "mine"
    assert not (folder / "report.html").is_symlink()
