"""The page of a report, all in one file that loads nothing.

Names of files and classes come from people: in HTML they are escaped; what the script
needs is JSON in an element that is not run, and the script puts it in the page as text.
The page's content security policy allows the one script and the one style sheet, by
their hashes, and images that are in the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template
from typing import Any

from sop_keras.files.shown_text import shown
from sop_keras.report.headline import Statistic


@dataclass(frozen=True)
class Plot:
    """A plot on the page.

    Args:
        name: of its file, without the suffix.
        caption: what it shows.
        light: PNG for a light page.
        dark: PNG for a dark page.
    """

    name: str
    caption: str
    light: bytes
    dark: bytes


@dataclass(frozen=True)
class Page:
    """What is on the page; texts are plain, whatever characters are in them.

    Args:
        title: of the page.
        summary: the line below it.
        warnings: what the reader must know first.
        statistics: the numbers at its head.
        settings: by name.
        plots: in their order.
        changes: the most frequent label issues: given label, suggested label, how many.
        class_names: one a class.
        gallery: rows as `gallery_rows` gives them.
    """

    title: str
    summary: str
    warnings: Sequence[str]
    statistics: Sequence[Statistic]
    settings: Mapping[str, str]
    plots: Sequence[Plot]
    changes: Sequence[tuple[int, int, int]]
    class_names: Sequence[str]
    gallery: Sequence[Mapping[str, Any]]


def render(page: Page) -> str:
    """The page as HTML."""
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    data = {
        "classNames": [shown(name) for name in page.class_names],
        "rows": [_shown_row(row) for row in page.gallery],
    }
    return Template(_asset("page.html")).substitute(
        policy=policy,
        style=style,
        script=script,
        title=_shown(page.title),
        summary=_shown(page.summary),
        warnings="".join(map(_warning, page.warnings)),
        statistics="".join(map(_statistic, page.statistics)),
        settings="".join(
            f"<div><dt>{_shown(name)}</dt><dd>{_shown(value)}</dd></div>"
            for name, value in page.settings.items()
        ),
        plots="".join(map(_plot, page.plots)),
        changes=_changes(page),
        num_rows=str(len(page.gallery)),
        data=json_for_script(data),
    )


def json_for_script(value: Any) -> str:
    """JSON that can stand in a `<script>` element, whatever texts are in it.

    All but ASCII is escaped, U+2028 and half surrogates among it, and so is what could
    end the element or begin a comment.

    Args:
        value: what JSON knows, without NaN and infinities.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _asset(name: str) -> str:
    return (
        resources.files("sop_keras.report").joinpath("assets", name).read_text("utf-8")
    )


def _hash(content: str) -> str:
    """How a content security policy names an inline element of this content."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _shown(text: str) -> str:
    """Text as HTML, with what does other than be read escaped."""
    return escape(shown(text))


def _shown_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: shown(value) if isinstance(value, str) else value
        for name, value in row.items()
    }


def _warning(text: str) -> str:
    return f'<p class="warning" role="note">{_shown(text)}</p>'


def _statistic(one: Statistic) -> str:
    return (
        f"<div><dt>{_shown(one.name)}</dt><dd>{_shown(one.value)}"
        f"<small>{_shown(one.note)}</small></dd></div>"
    )


def _plot(plot: Plot) -> str:
    dark, light = (_png_uri(content) for content in (plot.dark, plot.light))
    return (
        f'<figure id="{_shown(plot.name)}"><picture>'
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{_shown(plot.caption)}"></picture>'
        f"<figcaption>{_shown(plot.caption)}</figcaption></figure>"
    )


def _png_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _changes(page: Page) -> str:
    names = page.class_names
    return "".join(
        f"<tr><td>{_shown(names[given])}</td><td>{_shown(names[suggested])}</td>"
        f"<td>{count:,}</td></tr>"
        for given, suggested, count in page.changes
    )
