import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from untrained_runs import CLASSES, FILES

from sop_keras.label_issues.decisions import Decisions
from sop_keras.report.headline import Statistic
from sop_keras.report.page import First, Page, Plot, json_for_script, render

HOSTILE = (*CLASSES, *FILES, "<!--<script>", "\u2028\u2029", "\ud800", "]]>&amp;")


class Elements(HTMLParser):
    """The elements of a page, and the texts of those that have text alone."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags:
            self.texts.append((self.tags[-1][0], data))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def contents(self, tag):
        return [data for name, data in self.texts if name == tag and data.strip()]


@pytest.fixture(scope="module")
def page():
    names = list(HOSTILE)
    row = {"id": 3, "given": 0, "suggested": 1, "file": "".join(FILES)}
    return Page(
        title=names[0],
        summary=names[1],
        warnings=[names[2]],
        statistics=[Statistic(*names[:3])],
        settings={names[3]: names[4]},
        plots=[Plot("some", names[5], b"\x89PNG light", b"\x89PNG dark")],
        changes=[(0, 1, 1234)],
        class_names=names,
        first=first([row]),
        folder="report",
    )


def first(rows, later_ids=()):
    """The examples of a page, with one that is right."""
    right = {"id": 4, "given": 0, "picture": "data:", "width": 8, "height": 8}
    return First(rows, {0: [right]}, list(later_ids), 250, "0f")


@pytest.mark.parametrize("text", HOSTILE)
def test_json_in_a_script_is_the_same_text_and_ends_nothing(text):
    value = {"a": [text, 0.5, None, True], text: 1}
    embedded = json_for_script(value)
    assert json.loads(embedded) == value
    assert not re.search("[<>&]", embedded)
    assert embedded.isascii()


def test_numbers_that_are_none_have_no_place_in_json():
    with pytest.raises(ValueError, match="JSON"):
        json_for_script([float("nan")])


def test_names_make_no_elements(page):
    elements = Elements(render(page))
    plain = Elements(
        render(
            replace(
                page,
                title="a",
                summary="b",
                warnings=["c"],
                statistics=[Statistic("c", "d")],
                settings={"e": "f"},
                changes=[],
                class_names=["g"],
                first=first([]),
            )
        )
    )
    # The rows of a table are all that there is more of.
    more = [tag for tag, _ in elements.tags if tag not in ("tr", "td")]
    assert more == [tag for tag, _ in plain.tags if tag not in ("tr", "td")]
    allowed = {name for _, attributes in plain.tags for name in attributes}
    assert {name for _, attributes in elements.tags for name in attributes} == allowed
    assert not [name for name in allowed if name.startswith("on")]
    assert elements.contents("h1") == [HOSTILE[0]]
    assert elements.contents("td") == [HOSTILE[0], HOSTILE[1], "1,234"]


def test_decisions_are_saved_as_the_file_that_is_named(page):
    for name, one in (
        ("decisions.csv", page),
        ("decisions2.csv", replace(page, decisions="decisions2.csv")),
    ):
        text = render(one)
        elements = Elements(text)
        assert json.loads(elements.contents("script")[0])["decisions"] == name
        assert f"Save {name} " in elements.contents("button")
        # The script and the message take it from there.
        assert text.count("decisions.csv") == (2 if one is page else 0)


def test_the_script_is_told_of_earlier_decisions(page):
    def told(one):
        return json.loads(Elements(render(one)).contents("script")[0])["earlier"]

    assert told(page) == []
    times = np.array(["2024-05-06T07:08:09.123"] * 2, "datetime64[ms]")
    kinds = np.array(["given", "remove"])
    earlier = Decisions(np.array([3, 8]), kinds, np.array([1, -1]), times)
    assert told(replace(page, earlier=earlier)) == [
        [3, "given", 1, "2024-05-06T07:08:09.123Z"],
        [8, "remove", None, "2024-05-06T07:08:09.123Z"],
    ]


def test_the_script_is_told_of_all_names(page):
    elements = Elements(render(page))
    data, _ = elements.contents("script")
    told = json.loads(data)
    # Two of them are not seen: an end of line and paragraph, and half of a pair.
    shown = [
        {"\u2028\u2029": r"\u2028\u2029", "\ud800": r"\ud800"}.get(name, name)
        for name in HOSTILE
    ]
    assert (told["classNames"], told["rows"]) == (shown, page.first.rows)
    assert told["rightOnes"]["0"][0]["id"] == 4
    assert (told["laterIds"], told["key"]) == ([], "0f")
    assert not {"nonce", "folder"} & set(told)


def test_nothing_but_the_pages_own_script_and_style_may_run(page):
    elements = Elements(render(page))
    (policy,) = [
        attributes["content"]
        for attributes in elements.all("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("img-src") == "data:"
    for rule in ("base-uri", "form-action"):
        assert rules.pop(rule) == "'none'"
    (style,), (_, script) = elements.contents("style"), elements.contents("script")
    assert rules == {
        f"{kind}-src": f"'sha256-{_digest(content)}'"
        for kind, content in (("style", style), ("script", script))
    }
    assert elements.all("script") == [{"id": "data", "type": "application/json"}, {}]


def test_files_beside_the_page_are_allowed_by_a_word_of_each_page(page):
    page = replace(page, first=first(page.first.rows, later_ids=[7, 9]))
    words = []
    for _ in range(2):
        text = render(page)
        data, script = Elements(text).contents("script")
        told = json.loads(data)
        assert (told["laterIds"], told["folder"]) == ([7, 9], "report")
        words.append(told["nonce"])
        sources = re.search(r"script-src ([^;]*);", text)[1]
        assert sources == f"'sha256-{_digest(script)}' 'nonce-{words[-1]}'"
    assert words[0] != words[1]
    assert len(words[0]) == 32


def _digest(content):
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def test_the_page_names_no_address_but_its_own_content(page):
    text = render(page)
    for _, attributes in Elements(text).tags:
        for name in ("src", "srcset", "href", "action"):
            value = attributes.get(name) or "data:"
            assert value.startswith(("data:", "#"))
    assert not re.search(r"https?://|@import|url\(", text)


def test_pictures_are_for_a_light_and_for_a_dark_page(page):
    elements = Elements(render(page))
    (dark,) = elements.all("source")
    assert dark["media"] == "(prefers-color-scheme: dark)"
    light = next(one for one in elements.all("img") if "src" in one)
    for uri, kind in ((dark["srcset"], b"dark"), (light["src"], b"light")):
        assert base64.b64decode(uri.split(",")[1]) == b"\x89PNG " + kind
    assert light["alt"] == HOSTILE[5]
