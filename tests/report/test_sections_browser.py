"""The sections of an audit's page in a real browser: shown, and decided on."""

import json
import shutil

import pytest
from browser import started
from test_review_browser import CTRL, is_downloaded, press, text, wait_until
from untrained_runs import CLASSES, FILES, many_labels, write_run

from sop_keras.label_issues.decisions import read_decisions
from sop_keras.report.write import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")

SIZE = 24
# Ids are ranks by quality. Two are among the three worst, three are not.
RESULT = {
    "outliers": [20, 1],
    "contradictory_duplicates": [[2, 12], [15, 20, *range(16, 20), 21, 22, 23]],
    "alike_classes": [[0, 1, 0.93]],
}
CARDS = "[...document.querySelectorAll('#{} .small-card')]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with started(CHROMIUM, tmp_path_factory.mktemp("chromium") / "profile") as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    names = (*FILES, *(f"{number}.png" for number in range(len(FILES), SIZE)))
    folder = tmp_path_factory.mktemp("audit") / "run"
    write_run(folder, labels=many_labels(SIZE), names=names)
    known = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**known, **RESULT}))
    return folder


@pytest.fixture(scope="module")
def path(folder):
    return write_report(folder, num_examples=3, similar={12: [2, 7], 20: [6]})


@pytest.fixture
def page(browser, path):
    browser.open(path)
    browser.run("localStorage.clear()")
    browser.reload()
    return browser


def shown_ids(page, name):
    script = f"{CARDS.format(name)}.map((one) => Number(one.dataset.id))"
    return page.run(script)


def test_what_is_found_is_shown_with_labels_ids_and_files(page):
    assert page.run("document.querySelectorAll('#gallery > li').length") == 3
    assert shown_ids(page, "outliers") == [20, 1]
    # Of the second group, of nine, the first eight.
    assert shown_ids(page, "duplicates") == [2, 12, 15, 20, 16, 17, 18, 19, 21, 22]
    assert text(page, "duplicates").endswith("and 1 more")
    second = page.run(f"{CARDS.format('outliers')}[1].textContent")
    assert second == f"{CLASSES[1]}id 1Copy{FILES[1]}"
    widths = page.run(
        f"Promise.all({CARDS.format('duplicates')}.map((one) => {{"
        " const image = one.querySelector('img');"
        " return image.decode().then(() => image.naturalWidth); }))"
    )
    assert widths == [16] * 10
    assert page.run("document.querySelectorAll('[onerror], [onclick], b').length") == 0


def test_a_section_is_gone_through_by_itself(page, tmp_path):
    page.run("document.getElementById('duplicates-start').click()")
    assert text(page, "where") == "1 of 10, id 2"
    titles = "[...document.querySelectorAll('#others h3')].map((o) => o.textContent)"
    assert page.run(titles)[0] == "The same once more, and its given labels"
    press(page, "1")
    assert text(page, "where") == "2 of 10, id 12"
    # Of similar ones, that which is the same is not there twice.
    alts = page.run("[...document.querySelectorAll('#others img')].map((i) => i.alt)")
    assert [int(alt.split()[1].rstrip(",")) for alt in alts] == [2, 7]
    press(page, "4")
    assert text(page, "progress") == "2 decided, 0 skipped, 8 left"
    press(page, "Escape")
    wait_until(page, "document.activeElement.id", "duplicates-start")
    said = f"{CARDS.format('duplicates')}.map((one) => one.children[3].textContent)"
    assert page.run(said)[:3] == [f"decided: {CLASSES[2]}", "to be removed", ""]

    # The worst three: 2 is decided there as well, 12 is not among them.
    page.run("document.getElementById('start').click()")
    assert text(page, "progress") == "1 decided, 0 skipped, 2 left"
    press(page, "u")
    assert text(page, "told") == "id 12: as it was."
    press(page, "u")
    assert text(page, "where") == "3 of 3, id 2"
    press(page, "1", "Escape")
    wait_until(page, "document.activeElement.id", "start")

    # A picture opens its example.
    page.run(f"{CARDS.format('outliers')}[0].querySelector('button').click()")
    assert text(page, "where") == "1 of 2, id 20"
    press(page, "2")
    page.reload()
    page.run("document.getElementById('outliers-start').click()")
    assert text(page, "where") == "2 of 2, id 1"
    assert text(page, "progress") == "1 decided, 0 skipped, 1 left"
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.events.clear()
    page.press("s", CTRL)
    while not is_downloaded(page.events):
        page.run("new Promise((done) => setTimeout(done, 20))")
    found = read_decisions(tmp_path / "decisions.csv", len(CLASSES))
    assert found.ids.tolist() == [2, 20]
    assert found.labels.tolist() == [2, many_labels(SIZE).suggested[20]]


def test_a_page_of_more_labels_has_the_decisions_as_well(page, folder, browser):
    page.run("document.getElementById('outliers-start').click()")
    press(page, "1", "4")
    longer = write_report(
        folder, output=folder.parent / "longer.html", num_examples=SIZE
    )
    kept = page.run("JSON.stringify({ ...localStorage })")
    browser.open(longer)
    page.run(f"Object.assign(localStorage, {kept})")
    browser.reload()
    page.run("document.getElementById('start').click()")
    assert text(page, "progress") == f"2 decided, 0 skipped, {SIZE - 2} left"
    # What is undone there does not come back.
    page.run("document.getElementById('close').click()")
    page.run(f"{CARDS.format('outliers')}[0].querySelector('button').click()")
    press(page, "3")
    page.call("Input.insertText", text=CLASSES[3])
    press(page, "Enter")
    browser.reload()
    page.run("document.getElementById('outliers-start').click()")
    press(page, "ArrowLeft")
    assert text(page, "state") == f"decided: {CLASSES[3]}"


def test_an_id_is_copied(page):
    page.run("""
    window.copied = [];
    Object.defineProperty(navigator, "clipboard",
      { value: { writeText: async (text) => { copied.push(text); } } });
    """)
    page.run("document.querySelector('#outliers .copy-one').click()")
    wait_until(page, "document.querySelector('#outliers .copy-one').textContent", "Cop")
    assert page.run("copied") == ["20"]


@pytest.mark.parametrize("width", [400, 1300])
def test_sections_fit_their_window(browser, path, width):
    browser.open(path, width=width, dark=width == 400)
    assert browser.run("document.documentElement.scrollWidth") <= width
    events = [name for name, _ in browser.events]
    assert not {"Log.entryAdded", "Runtime.exceptionThrown"} & set(events)
