"""The review in a real browser: decided by keys, saved, read and applied."""

import shutil
import time

import pytest
from browser import started
from untrained_runs import CLASSES, FILES, many_labels, write_run

from sop_keras.data.datasets.manifest import load_manifest
from sop_keras.label_issues.corrected import correct_labels, write_manifests
from sop_keras.label_issues.decisions import read_decisions
from sop_keras.report.write import write_report
from sop_keras.training.saved_run import load_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")

SIZE = 460  # 200 in the page, 250 in a file, 10 in another one
NUM_CLASSES = len(CLASSES)
CTRL = 2
SECONDS = 30

# Ids are ranks by quality. The class that `many_labels` suggests, by id.
GIVEN, SUGGESTED = many_labels(SIZE).given, many_labels(SIZE).suggested


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with started(CHROMIUM, tmp_path_factory.mktemp("chromium") / "profile") as browser:
        yield browser


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    names = (*FILES, *(f"{number}.png" for number in range(len(FILES), SIZE)))
    folder = tmp_path_factory.mktemp("large") / "run"
    return write_run(folder, labels=many_labels(SIZE), names=names)


@pytest.fixture(scope="module")
def path(run):
    return write_report(run, num_examples=1000)


@pytest.fixture
def page(browser, path):
    """The review, opened where nothing is decided."""
    browser.open(path)
    browser.run("localStorage.clear()")
    browser.reload()
    browser.run("document.getElementById('start').click()")
    return browser


def text(page, name):
    return page.run(f"document.getElementById({name!r}).textContent")


def wait_for(page, name, wanted):
    wait_until(page, f"document.getElementById({name!r}).textContent", wanted)


def wait_until(page, script, wanted):
    """Wait until a text has another in it."""
    end = time.monotonic() + SECONDS
    while wanted not in (found := page.run(script)):
        assert time.monotonic() < end, found
        time.sleep(0.02)


def press(page, *keys):
    for key in keys:
        page.press(key)


def choose_class(page, label):
    """The key 3, some letters of the class, as few as it takes, and Enter."""
    page.press("3")
    page.call("Input.insertText", text=CLASSES[label][:9])
    page.press("Enter")


def saved(page, folder):
    """What Ctrl+S has the browser save."""
    folder.mkdir()
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.events.clear()
    page.press("s", CTRL)
    end = time.monotonic() + SECONDS
    while not is_downloaded(page.events):
        assert time.monotonic() < end
        time.sleep(0.02)
        page.run("0")  # what the browser told meanwhile is among the events
    return folder / "decisions.csv"


def is_downloaded(events):
    """Whether a download is told to be complete: its file may be there before."""
    told = [e["state"] for name, e in events if name == "Page.downloadProgress"]
    return "completed" in told


@pytest.mark.slow
def test_what_is_pressed_is_what_the_manifest_says(page, run, tmp_path):
    expected, kinds = dict(enumerate(GIVEN)), {}
    for one in range(210):  # from the page into the first file
        if one in (199, 200):
            wait_for(page, "where", f"{one + 1} of {SIZE}, id {one}")
        match one % 5:
            case 0:
                kinds[one] = "given"
                page.press("1")
            case 1:
                kinds[one], expected[one] = "suggested", SUGGESTED[one]
                page.press("2")
            case 2:
                expected[one] = (one // 5) % NUM_CLASSES
                choose_class(page, expected[one])
                same = {SUGGESTED[one]: "suggested", GIVEN[one]: "given"}
                kinds[one] = same.get(expected[one], "other")
            case 3:
                kinds[one], expected[one] = "remove", -1
                page.press("4")
            case 4:
                page.press("Space" if one % 2 else "s")
    assert text(page, "progress") == "168 decided, 42 skipped, 250 left"
    decisions = read_decisions(saved(page, tmp_path / "saved"), NUM_CLASSES)
    assert dict(zip(decisions.ids.tolist(), decisions.kinds, strict=True)) == kinds
    assert decisions.conflicts == ()

    data = load_run(run)
    correction = correct_labels(
        data.data.train, data.label_issues(), "keep", NUM_CLASSES, decisions
    )
    written = write_manifests(
        tmp_path / "out", correction.after, None, data.class_names
    )
    after = load_manifest(written.train).train
    found = dict(zip(after.ids.tolist(), after.labels.tolist(), strict=True))
    assert found == {one: label for one, label in expected.items() if label >= 0}


def test_a_class_that_is_typed_is_the_given_one_or_the_suggested_one(page, tmp_path):
    labels = [int(GIVEN[0]), int(SUGGESTED[1])]
    labels.append(min({*range(NUM_CLASSES)} - {GIVEN[2], SUGGESTED[2]}))
    for label in labels:
        choose_class(page, label)
    decisions = read_decisions(saved(page, tmp_path / "saved"), NUM_CLASSES)
    assert decisions.kinds.tolist() == ["given", "suggested", "other"]
    assert decisions.labels.tolist() == labels


def test_progress_outlives_a_reload(page):
    press(page, "1", "2", "s")
    assert text(page, "progress") == f"2 decided, 1 skipped, {SIZE - 3} left"
    assert text(page, "unsaved") == "not saved"
    page.reload()
    # What is not saved is warned of.
    events = [name for name, _ in page.events]
    assert "Page.javascriptDialogOpening" in events
    page.run("document.getElementById('start').click()")
    assert text(page, "progress") == f"2 decided, 1 skipped, {SIZE - 3} left"
    assert text(page, "where") == f"4 of {SIZE}, id 3"
    press(page, "ArrowLeft", "ArrowLeft")
    assert text(page, "state") == f"decided: {CLASSES[SUGGESTED[1]]}"
    chosen = "document.querySelector('[aria-pressed=true]').id"
    assert page.run(chosen) == "choose-suggested"


def test_what_else_the_browser_has_under_the_key_does_no_harm(page):
    press(page, "1", "1")
    time_ = "2024-05-06T07:08:09Z"
    page.run(f"""(() => {{
      const item = Object.keys(localStorage).find((name) => name.endsWith(":0"));
      localStorage.setItem(item.replace(/:0$/, ":1"), "[[");
      localStorage.setItem(item.replace(/:0$/, ":strays"), '{{"a": 1}}');
      localStorage.setItem(item.replace(/:0$/, ":unsaved"), "many");
      localStorage.setItem(item, JSON.stringify([
        7, [3], [4, "given", 99, "{time_}"], [5, "keep", 0, "{time_}"],
        [6, "remove", null, "<b>"], [2, "other", 0, "{time_}"]]));
    }})()""")
    page.reload()
    page.run("document.getElementById('start').click()")
    assert text(page, "progress") == f"1 decided, 0 skipped, {SIZE - 1} left"
    press(page, "1", "1")
    assert text(page, "where") == f"4 of {SIZE}, id 3"


def test_undo_goes_back_one_by_one(page):
    press(page, "1", "4", "ArrowLeft", "2")
    assert text(page, "told") == f"id 1: decided: {CLASSES[SUGGESTED[1]]}."
    page.press("u")
    assert text(page, "where") == f"2 of {SIZE}, id 1"
    assert text(page, "state") == "to be removed"
    press(page, "u", "u", "u")
    assert text(page, "progress") == f"0 decided, 0 skipped, {SIZE} left"
    assert text(page, "where") == f"1 of {SIZE}, id 0"
    assert page.run("document.getElementById('undo').disabled") is True


def test_buttons_do_as_keys(page):
    for name in ("choose-given", "choose-remove", "skip", "undo", "back"):
        page.run(f"document.getElementById({name!r}).click()")
        assert page.run("document.activeElement.id") == "stage"
    assert text(page, "progress") == f"2 decided, 0 skipped, {SIZE - 2} left"
    assert text(page, "where") == f"2 of {SIZE}, id 1"
    # A button that has the focus is pressed by the space bar, which then skips nothing.
    page.run("document.getElementById('choose-suggested').focus()")
    page.press("Space")
    assert text(page, "progress") == f"2 decided, 0 skipped, {SIZE - 2} left"
    assert text(page, "told") == f"id 1: decided: {CLASSES[SUGGESTED[1]]}."


def test_a_class_is_chosen_from_a_list(page):
    page.press("3")
    assert page.run("document.activeElement.id") == "class-name"
    options = "[...document.querySelectorAll('#classes li')].map((o) => o.textContent)"
    assert page.run(options) == list(CLASSES)
    # Those that begin so come first; the last class has none.
    page.call("Input.insertText", text="C")
    assert page.run(options) == [CLASSES[2], CLASSES[0], CLASSES[1]]
    press(page, "ArrowDown")
    assert page.run("document.querySelector('[aria-selected=true]').id") == "class-1"
    # Digits are typed here, and decide nothing.
    page.press("1")
    page.press("Escape")
    assert page.run("document.getElementById('chooser').hidden") is True
    assert page.run("document.getElementById('review').open") is True
    assert text(page, "progress") == f"0 decided, 0 skipped, {SIZE} left"
    page.press("Escape")
    # Then the dialog closes, which the page is told of a little later.
    wait_until(page, "document.activeElement.id", "start")
    assert page.run("document.getElementById('review').open") is False


def test_the_reason_and_what_to_compare_with(page):
    # Of the first: quality 1/920; its noise score is the highest.
    assert text(page, "reason").replace("\N{NO-BREAK SPACE}", " ") == (
        f"The network gives the label “{CLASSES[0]}” 0.11 % and suggests "
        f"“{CLASSES[1]}” with 99.9 %. By quality, 0.001, the label has rank 1 of 460 "
        "from below: an issue. Its noise score, -0.01, is above that of 99.8 % of the "
        "labels."
    )
    titles = (
        "[...document.querySelectorAll('#others h3')].map((one) => one.textContent)"
    )
    assert page.run(titles) == [
        f"Most surely right: {CLASSES[0]}",
        f"Most surely right: {CLASSES[1]}",
    ]
    # The best of class 0 are 456, 452, ...; of class 1, 457, 453, ...
    alts = page.run("[...document.querySelectorAll('#others img')].map((i) => i.alt)")
    assert [int(alt.split()[1].rstrip(",")) for alt in alts] == [
        *range(456, 436, -4),
        *range(457, 437, -4),
    ]
    sizes = page.run("""Promise.all([...review.querySelectorAll("img")].map((image) =>
      image.decode().then(() => image.naturalWidth)))""")
    assert sizes == [16] * 11


def test_a_file_is_gone_on_with(page, tmp_path):
    press(page, "1", "1")
    past, future = "2001-01-01T00:00:00Z", "2101-01-01T00:00:00.5Z"
    path = tmp_path / "decisions.csv"
    path.write_text(
        "\ufeffid;decision;label;time\r\n"
        f'"0";"remove";"";"{past}"\r\n1;other;3;{future}\r\n2;given;2;{future}\r\n'
        f"5000;given;1;{past}\r\n",
        "utf-8",
    )
    open_file(page, path)
    wait_for(page, "told", "3 decisions read from the file. 1 were not later than")
    assert "1 are on examples that this page does not have" in text(page, "told")
    assert text(page, "progress") == f"3 decided, 0 skipped, {SIZE - 3} left"
    assert text(page, "where") == f"4 of {SIZE}, id 3"
    found = read_decisions(saved(page, tmp_path / "saved"), NUM_CLASSES)
    assert found.ids.tolist() == [0, 1, 2, 5000]
    assert found.kinds.tolist() == ["given", "other", "given", "given"]
    assert found.labels.tolist() == [0, 3, 2, 1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("id,label\n", "Its first line must name the columns"),
        ("id,decision,label,time\n1,given,4,2024-05-06T07:08:09Z", "Line 2 is no"),
        ("id,decision,label,time\n1,keep,0,2024-05-06T07:08:09Z", "Line 2 is no"),
        ("id,decision,label,time\n\n1,given,0,6/5/2024", "Line 3 is no decision"),
    ],
)
def test_a_file_that_is_none_changes_nothing(page, tmp_path, content, reason):
    path = tmp_path / "<b>.csv"
    path.write_text(content)
    open_file(page, path)
    wait_for(page, "told", f"<b>.csv was not read. {reason}")
    assert text(page, "progress") == f"0 decided, 0 skipped, {SIZE} left"


def open_file(page, path):
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#open")["nodeId"]
    page.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


def test_names_do_nothing_in_the_review(page, path):
    for _ in range(len(FILES)):
        choose_class(page, 1)
    assert page.run("document.querySelectorAll('[onerror], [onclick]').length") == 0
    assert page.run("document.querySelectorAll('img[src=x], b').length") == 0
    press(page, "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert text(page, "review-file") == FILES[1]
    page.run("document.getElementById('more').click()")
    wait_for(page, "status", "page 1 of 3, 450 of 460 loaded")
    events = [name for name, _ in page.events]
    assert "Page.javascriptDialogOpening" not in events
    assert not {"Log.entryAdded", "Runtime.exceptionThrown"} & set(events)
    addresses = {
        event["request"]["url"].partition(":")[0]
        for name, event in page.events
        if name == "Network.requestWillBeSent"
    }
    assert addresses <= {"file", "data"}
    # Files beside it are scripts: one that the page does not ask for is not run.
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{ src: 'report/examples-2.js', onload() { ran = 1; } }))"
    )
    page.run("new Promise((done) => setTimeout(done, 200))")
    assert page.run("typeof ran") == "undefined"
    assert any(name == "Log.entryAdded" for name, _ in page.events)


@pytest.mark.slow
def test_a_page_that_is_sent_alone_works_with_what_it_has(browser, path, tmp_path):
    alone = tmp_path / path.name
    shutil.copy(path, alone)
    browser.open(alone)
    browser.run("localStorage.clear()")
    browser.reload()
    browser.run("document.getElementById('more').click()")
    wait_for(browser, "status", "report/examples-1.js is not beside the page")
    browser.run("document.getElementById('start').click()")
    for _ in range(199):
        browser.press("ArrowRight")
    assert text(browser, "where") == f"200 of {SIZE}, id 199"
    browser.press("ArrowRight")
    wait_for(browser, "told", "report/examples-1.js is not beside the page")
    assert text(browser, "where") == f"200 of {SIZE}, id 199"
    browser.press("1")
    # On to the first one that is there and free.
    assert text(browser, "where") == f"1 of {SIZE}, id 0"


def test_files_of_another_report_are_not_taken(browser, path, tmp_path):
    shutil.copy(path, tmp_path / path.name)
    shutil.copytree(path.with_suffix(""), tmp_path / "report")
    part = tmp_path / "report" / "examples-1.js"
    content = part.read_text("ascii")
    key = content.split('"')[1]
    part.write_text(content.replace(key, "0" * len(key)), "ascii")
    browser.open(tmp_path / path.name)
    browser.run("document.getElementById('more').click()")
    wait_for(browser, "status", "report/examples-1.js is not beside the page, or not")
    assert browser.run("document.querySelectorAll('#gallery > li').length") == 200
    assert browser.run("document.getElementById('more').hidden") is False


@pytest.mark.parametrize("width", [400, 1300])
@pytest.mark.parametrize("dark", [False, True])
def test_the_review_fits_its_window(browser, path, width, dark):
    browser.open(path, width=width, dark=dark)
    browser.run("document.getElementById('start').click()")
    browser.press("3")
    wide = """[...document.querySelectorAll("#review, #review *")]
      .filter((one) => one.getBoundingClientRect().right > innerWidth).length"""
    assert browser.run(wide) == 0
    color = "getComputedStyle(document.getElementById('review')).backgroundColor"
    assert browser.run(color) == ("rgb(19, 21, 24)" if dark else "rgb(244, 245, 247)")
