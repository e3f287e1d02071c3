"""The page in a real browser, opened from its file."""

import shutil

import pytest
from browser import started
from untrained_runs import CLASSES, FILES, write_run

from sop_keras.report.write import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")

# Qualities from the lowest on: examples 0, 3, 1, 4, 2.
BY_QUALITY = [0, 3, 1, 4, 2]

SHOWN = """
[...document.querySelectorAll("#gallery > li:not([hidden]) .id")]
  .map((one) => Number(one.textContent.replace("id ", "")))
"""
CHOOSE = """
(() => {{
  const control = document.getElementById({id!r});
  control.value = {value!r};
  control.dispatchEvent(new Event({event!r}));
}})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with started(CHROMIUM, tmp_path_factory.mktemp("chromium") / "profile") as browser:
        yield browser


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_report(write_run(folder / "run", clean=(1, 1, 2, 2, 0, 2)))


@pytest.fixture
def page(browser, path):
    browser.open(path)
    return browser


def choose(page, **values):
    for control, value in values.items():
        event = "input" if control == "text" else "change"
        page.run(CHOOSE.format(id=control, value=value, event=event))
    return page.run(SHOWN)


def text(page, selector):
    return page.run(f"document.querySelector({selector!r}).textContent")


def test_all_labels_are_shown_from_the_lowest_quality_on(page):
    assert page.run(SHOWN) == BY_QUALITY
    assert text(page, "#status") == "5 of 5 shown"
    assert text(page, "#gallery .given") == CLASSES[0]
    assert text(page, "#gallery .suggested") == CLASSES[1]
    assert text(page, "#gallery .file") == FILES[0]
    assert text(page, "#gallery .quality") == "0.010"
    assert text(page, "#gallery .clean") == CLASSES[1]
    assert text(page, "#gallery .verdict") == "wrong label"


def test_sorting(page):
    assert choose(page, direction="-1") == BY_QUALITY[::-1]
    assert choose(page, order="id", direction="1") == [0, 1, 2, 3, 4]
    # Given labels 0, 1, 2, 3, 0; suggested ones 1, 0, 0, 2, 1; equal ones by id.
    assert choose(page, order="given") == [0, 4, 1, 2, 3]
    assert choose(page, order="suggested", direction="-1") == [3, 0, 4, 1, 2]
    assert choose(page, order="suggestedProb", direction="1") == BY_QUALITY[::-1]


def test_filtering(page):
    options = page.run("[...document.getElementById('given').options].map(o => o.text)")
    counts = (2, 1, 1, 1)
    named = [f"{name} ({n})" for name, n in zip(CLASSES, counts, strict=True)]
    assert options == ["all", *named]
    assert choose(page, given="0") == [0, 4]
    assert choose(page, suggested="2") == []
    assert text(page, "#status") == "0 of 5 shown"
    assert page.run("document.getElementById('copy').disabled") is True
    assert choose(page, given="", suggested="0") == [1, 2]
    assert choose(page, suggested="", text=" ALERT(1)") == [1]
    assert choose(page, text="3") == [3]
    assert choose(page, text="") == BY_QUALITY


def test_the_images_are_there(page):
    # Of 16x8 pixels, each shown as 6x6; the plots are larger.
    sizes = page.run("""
    Promise.all([...document.images].map((image) => image.decode())).then(() =>
      [...document.images].map((image) => [image.naturalWidth, image.clientWidth]))
    """)
    assert sizes[-5:] == [[16, 96]] * 5
    assert len(sizes) == 5 + 6
    assert all(natural > 500 for natural, _ in sizes[:-5])
    alts = page.run("[...document.images].map((image) => image.alt)")
    assert all(alts)
    assert alts[-5] == f"Image 0, given label {CLASSES[0]}"


@pytest.mark.parametrize("clipboard", ["there", "missing", "refusing"])
def test_ids_are_copied(page, clipboard):
    # What a page of a file may do differs between browsers.
    page.run("""
    window.copied = [];
    document.addEventListener("copy", () => copied.push(
      document.activeElement.value ?? String(document.getSelection())));
    """)
    stand_in = {
        "there": "{ writeText: async (text) => { copied.push(text); } }",
        "missing": "undefined",
        "refusing": "{ writeText: async () => { throw new Error('no'); } }",
    }[clipboard]
    page.run(
        "Object.defineProperty(navigator, 'clipboard',"
        f" {{ value: {stand_in}, configurable: true }})"
    )
    choose(page, given="0")
    page.run("document.getElementById('copy').click()")
    page.run("new Promise((done) => setTimeout(done, 50))")
    assert text(page, "#status") == "Copied 2 ids."
    page.run("document.querySelectorAll('#gallery li:not([hidden]) button')[1].click()")
    page.run("new Promise((done) => setTimeout(done, 50))")
    assert text(page, "#status") == "Copied id 4."
    assert page.run("copied") == ["0\n4", "4"]
    assert page.run("document.querySelectorAll('textarea').length") == 0


def test_names_run_nothing_and_nothing_leaves_the_page(page, path):
    choose(page, given="0", text="x")
    page.run("new Promise((done) => setTimeout(done, 200))")
    assert page.run("document.querySelectorAll('script').length") == 2
    assert page.run("document.querySelectorAll('[onerror], [onclick]').length") == 0
    assert page.run("document.querySelectorAll('img[src=x], b').length") == 0
    events = [name for name, _ in page.events]
    assert "Page.javascriptDialogOpening" not in events
    # A policy that is violated, and a script that fails, are told of here.
    assert not {"Log.entryAdded", "Runtime.exceptionThrown"} & set(events)
    addresses = [
        event["request"]["url"]
        for name, event in page.events
        if name == "Network.requestWillBeSent"
    ]
    assert addresses[0] == path.as_uri()
    assert all(address.startswith("data:") for address in addresses[1:])
    assert len(addresses) > 1


def test_the_policy_stops_what_would_get_in(page):
    # Not by the script: by hand, to see that the tests above could fail.
    page.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=a()>')")
    page.run(
        "document.body.append(Object.assign("
        "document.createElement('script'), { textContent: 'window.ran = 1' }))"
    )
    page.run("new Promise((done) => setTimeout(done, 200))")
    assert page.run("window.ran === undefined") is True
    entries = [
        e["entry"]["text"] for name, e in page.events if name == "Log.entryAdded"
    ]
    assert any("img-src" in entry for entry in entries)
    assert any("script-src" in entry for entry in entries)


@pytest.mark.parametrize("width", [400, 1300])
def test_a_page_is_not_wider_than_its_window(browser, path, width):
    browser.open(path, width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_dark_pages_have_dark_plots(browser, path):
    chosen = []
    for dark in (False, True):
        browser.open(path, dark=dark)
        chosen.append(browser.run("document.images[0].currentSrc"))
    assert chosen[0] != chosen[1]
    color = "getComputedStyle(document.body).backgroundColor"
    assert browser.run(color) == "rgb(19, 21, 24)"
