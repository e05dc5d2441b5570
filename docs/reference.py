"""mkdocs hook of the API pages: every public name of a package, and the clause of each argument."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = "api/"
_HEADING = re.compile(r"^::: (\w+)\.(\w+)$", re.MULTILINE)
_REST = re.compile(r"^::: (\w+)\.\*$", re.MULTILINE)
_CLAUSE = re.compile(r"\b(?:P\d+|R\d+[cp]?|N\d+)\b")
_ROW = re.compile(r'(<tr class="doc-section-item">)(.*?)(\s*</tr>)', re.DOTALL)
_CELL = re.compile(r"<td>(.*?)</td>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_CLAUSES = {
    "tau": "P3", "alpha": "P6 P7", "gamma": "P6 P7", "mode": "P4 P8 P9 P10 P11", "ties": "P8",
    "tau_min": "P9", "stacked_dims": "P5", "scope": "P4", "lr": "R0", "learning_rate": "R0",
    "weight_decay": "R0", "weight_decay_mask": "R0", "decay": "R0c", "state_dtype": "R5",
    "update_dtype": "R5", "ns_dtype": "N9", "product_dtype": "N9",
}  # fmt: skip
"""Of arguments whose meaning is the same everywhere, for texts that do not say it themselves."""


def public(package: str) -> list[str]:
    """The names in ``__all__`` of a package, in their order."""
    (file,) = (
        path
        for folder in ("", "adapters", "conformance")
        if (path := ROOT / folder / package / "__init__.py").is_file()
    )
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{file} has no __all__")


def headings(markdown: str) -> str:
    """``::: package.*`` becomes a heading for each public name that the page does not have yet.

    Names in the page's words, as other names of a function are, get none.
    """

    def rest(found: re.Match[str]) -> str:
        package = found[1]
        named = {name for of, name in _HEADING.findall(markdown) if of == package}
        return "\n".join(
            f"::: {package}.{name}"
            for name in public(package)
            if name not in named and not _in_words(name, markdown)
        )

    return _REST.sub(rest, markdown)


def _in_words(name: str, markdown: str) -> bool:
    """Whether a sentence begins its list of other names before "are other names of"."""
    return any(f"`{name}`" in line.split("are other names of")[0]
               for line in markdown.splitlines() if "are other names of" in line)  # fmt: skip


def clauses(html: str) -> str:
    """A column with the clauses of each argument, those of its text or those of its name."""

    def row(found: re.Match[str]) -> str:
        cells = _CELL.findall(found[2])
        name, text = (unescape(_TAG.sub("", cell)).strip() for cell in (cells[0], cells[-2]))
        own = dict.fromkeys(_CLAUSE.findall(text)) or _CLAUSES.get(name.lstrip("*"), "").split()
        links = ", ".join(f'<a href="../../spec/#{clause}">{clause}</a>' for clause in own)
        return f"{found[1]}{found[2]}\n<td>{links}</td>{found[3]}"

    def table(found: re.Match[str]) -> str:
        if "<th>Default</th>" not in found[0]:
            return found[0]
        head = "<th>Default</th>\n          <th>Clause</th>"
        return _ROW.sub(row, found[0].replace("<th>Default</th>", head))

    return re.sub(r"<table>.*?</table>", table, html, flags=re.DOTALL)


def arguments(html: str) -> Iterator[tuple[str, list[str]]]:
    """Each row of a table of arguments, with the path of the heading above it."""
    path = ""
    for found in re.finditer(rf'<h\d id="([^"]+)"|{_ROW.pattern}', html, re.DOTALL):
        if found[1]:
            path = found[1]
            continue
        cells = [unescape(_TAG.sub("", cell)) for cell in _CELL.findall(found[3])]
        yield path, [" ".join(cell.split()) for cell in cells]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """MkDocs calls this with the source of each page."""
    return headings(markdown) if page.file.src_uri.startswith(FOLDER) else markdown


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """MkDocs calls this with the HTML of each page."""
    return clauses(html) if page.file.src_uri.startswith(FOLDER) else html
