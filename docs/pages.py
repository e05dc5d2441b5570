"""mkdocs hook: anchors of clauses, titles, pages of the root, and what search finds first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_CLAUSE = re.compile(r"^- \*\*([PRNV]\d*[a-z]?(?=[ ,.*])[^*]*)\*\*", re.MULTILINE)
BORROWED = ("changelog.md", "contributing.md", "security.md")
_FIGURE = re.compile(r"!\[([^]]*)\]\((\S*img/[\w-]+)\.svg\)")
_FIRST = ("guides/", "getting-started", "which-mode", "glossary")
"""Pages that a search should name before those that only mention a word."""


def anchors(markdown: str) -> str:
    """A clause's own number where it is written first, the words of a clarification elsewhere."""
    seen: set[str] = set()

    def anchor(found: re.Match[str]) -> str:
        title = found[1]
        name = title.split()[0].rstrip(".")
        if name in seen or name.endswith(","):
            name = re.sub(r"\W+", "-", title).strip("-")
        seen.add(name)
        return f'- <a class="clause" id="{name}" href="#{name}">**{title}**</a>'

    return _CLAUSE.sub(anchor, markdown)


def figures(markdown: str) -> str:
    """Each figure twice, for the light scheme and the dark; one of them is shown, and loaded."""
    return _FIGURE.sub(
        r"![\1](\2.svg#only-light){ loading=lazy } ![\1](\2-dark.svg#only-dark){ loading=lazy }",
        markdown,
    )


def borrowed(uri: str) -> str:
    """A file of the repository's root as a page: links into docs/ lead there, others are words."""
    text = (Path(__file__).parents[1] / f"{uri[:-3].upper()}.md").read_text(encoding="utf-8")
    text = text.replace("](docs/", "](")
    return re.sub(r"\[([^]]+)\]\((?!https?:|#)(?!\S+\.md[#)])[^)]*\)", r"\1", text)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """MkDocs calls this with the source of each page."""
    uri = page.file.src_uri
    if uri in BORROWED:
        return borrowed(uri)
    if uri.startswith(_FIRST):
        page.meta.setdefault("search", {"boost": 3})
    if uri.startswith("api/"):  # which names each argument some thirty times
        page.meta.setdefault("search", {"boost": 0.5})
    return anchors(markdown) if uri == "spec.md" else figures(markdown)


def on_page_context(context: Any, page: Any, **_: Any) -> Any:
    """The browser's title is the page's heading; the menu's word for it may be shorter."""
    heading = next((item.title for item in page.toc), None)
    if heading and not page.is_homepage:
        page.meta.setdefault("title", re.sub(r"<[^>]*>", "", heading))
    return context
