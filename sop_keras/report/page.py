"""The page of a report: one file that needs no other for its first examples.

Names of files and classes come from people: in HTML they are escaped; what the script
needs is JSON in an element that is not run, and the script puts it in the page as text.
The page's content security policy allows the one script and the one style sheet, by
their hashes, and images that are in the page. Where further examples are in files
beside it, which are scripts, it also allows those that the page's own script asks for,
by a random word that is not known before it is drawn.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template
from typing import Any

from sop_keras.files.shown_text import shown
from sop_keras.label_issues.decisions import Decisions
from sop_keras.report.headline import Statistic

DECISIONS = "decisions.csv"
"""What decisions are saved as, where no file of earlier ones has that name."""

# What becomes of decisions on images, and on what there are features of alone.
_APPLIED = "<code>sop-keras correct_labels</code> applies"
_LEARNT = "<code>sop-keras audit --decisions</code> learns from"

_STYLES = ("page.css", "review.css", "sections.css")
# In this order: they become one.
_SCRIPTS = (
    "page.js",
    "parts.js",
    "decisions.js",
    "gallery.js",
    "review.js",
    "sections.js",
)


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
class First:
    """The examples that are in the page, and what it must know of the others.

    Args:
        rows: as `gallery_rows` gives them, with `reason`, and maybe `similar`.
        right_ones: by class, as `Comparisons.of_classes` gives them.
        later_ids: of the examples in files beside the page, in their order.
        part_size: how many are in each of these files.
        key: of the run, which the files have as well.
        more_rows: examples of the page's sections, as `rows`. Defaults to none.
    """

    rows: Sequence[Mapping[str, Any]]
    right_ones: Mapping[int, Sequence[Mapping[str, Any]]]
    later_ids: Sequence[int]
    part_size: int
    key: str
    more_rows: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Section:
    """What is found beside wrong labels.

    Args:
        name: in addresses within the page: letters and `-`.
        title: its heading.
        text: what it is.
        groups: ids of the examples that are shown, in groups that belong together; of
            what belongs to nothing, one each. Defaults to none.
        is_same: whether those of a group show the same. Defaults to `False`.
        more: how many more each group has than are shown. Defaults to none.
        header: of a table. Defaults to `()`: there is none.
        rows: of this table. Defaults to none.
    """

    name: str
    title: str
    text: str
    groups: Sequence[Sequence[int]] = ()
    is_same: bool = False
    more: Sequence[int] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


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
        first: the examples.
        folder: the address of the files of the others, relative to the page.
        sections: what is found beside. Defaults to none.
        has_images: whether examples are images; if not, they are named by text.
            Defaults to `True`.
        decisions: the name of the file that decisions are saved as. Defaults to
            `DECISIONS`.
        earlier: decisions that this file has as well, where the page has none of the
            same id. Defaults to `None`: there are none.
    """

    title: str
    summary: str
    warnings: Sequence[str]
    statistics: Sequence[Statistic]
    settings: Mapping[str, str]
    plots: Sequence[Plot]
    changes: Sequence[tuple[int, int, int]]
    class_names: Sequence[str]
    first: First
    folder: str
    sections: Sequence[Section] = ()
    has_images: bool = True
    decisions: str = DECISIONS
    earlier: Decisions | None = None


def render(page: Page) -> str:
    """The page as HTML."""
    style = "\n".join(map(_asset, _STYLES))
    parts = "\n".join(map(_asset, _SCRIPTS))
    script = f'(() => {{\n"use strict";\n\n{parts}}})();\n'
    first = page.first
    allowed = [_hash(script)]
    data = {
        "classNames": [shown(name) for name in page.class_names],
        "rows": [shown_row(row) for row in first.rows],
        "rightOnes": first.right_ones,
        "laterIds": first.later_ids,
        "partSize": first.part_size,
        "key": first.key,
        "decisions": page.decisions,
        "earlier": [] if page.earlier is None else page.earlier.rows(),
        "moreRows": [shown_row(row) for row in first.more_rows],
        "sections": [
            {
                "name": one.name,
                "isSame": one.is_same,
                "groups": one.groups,
                "more": one.more,
            }
            for one in page.sections
            if one.groups
        ],
    }
    if first.later_ids:
        nonce = secrets.token_urlsafe(24)
        allowed.append(f"'nonce-{nonce}'")
        data |= {"folder": page.folder, "nonce": nonce}
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {' '.join(allowed)}; base-uri 'none'; form-action 'none'"
    )
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
        sections="".join(map(_section, page.sections)),
        links="".join(
            f' <a href="#{one.name}-title">{_shown(one.title)}</a>'
            for one in page.sections
        ),
        kind="images" if page.has_images else "texts",
        applied=_APPLIED if page.has_images else _LEARNT,
        decisions=_shown(page.decisions),
        num_rows=f"{len(first.rows) + len(first.later_ids):,}",
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


def shown_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose texts do nothing but be read."""
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


def _section(one: Section) -> str:
    parts = [
        f'<section aria-labelledby="{one.name}-title">'
        f'<h2 id="{one.name}-title">{_shown(one.title)}</h2><p>{_shown(one.text)}</p>'
    ]
    if one.groups:
        parts.append(
            f'<p class="start"><button id="{one.name}-start" class="main" '
            'type="button">Go through them</button></p>'
            f'<ol id="{one.name}" class="groups"></ol>'
        )
    if one.rows:
        header = "".join(f'<th scope="col">{_shown(name)}</th>' for name in one.header)
        rows = "".join(
            f"<tr>{''.join(f'<td>{_shown(cell)}</td>' for cell in row)}</tr>"
            for row in one.rows
        )
        parts.append(
            f'<div class="card"><table><thead><tr>{header}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )
    return "".join([*parts, "</section>"])


def _png_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _changes(page: Page) -> str:
    names = page.class_names
    return "".join(
        f"<tr><td>{_shown(names[given])}</td><td>{_shown(names[suggested])}</td>"
        f"<td>{count:,}</td></tr>"
        for given, suggested, count in page.changes
    )
