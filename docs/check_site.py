"""Check the built site: links, anchors, requests to other hosts, and what the API shows.

    make docs                       # builds it, and runs this
    python docs/check_site.py --site site

Exit status 1 with one line for each fault. Signatures are compared with those of the packages that
can be imported here; the others are named.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parent))
import reference

LOADS = {"script": "src", "img": "src", "source": "srcset", "iframe": "src", "link": "href"}
"""What a browser fetches by itself, and not because somebody clicks."""
NOT_LOADED = {"canonical", "prev", "next", "alternate", "edit"}
"""Links in a page's head that name an address and fetch nothing."""


class Page(HTMLParser):
    """The ids of a page, where it leads, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.leads: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """HTMLParser calls this for each tag."""
        given = {name: value or "" for name, value in attrs}
        if name := given.get("id") or (tag == "a" and given.get("name")):
            self.ids.add(name)
        if tag == "a" and "href" in given:
            self.leads.append(given["href"])
        if tag in LOADS and LOADS[tag] in given and given.get("rel") not in NOT_LOADED:
            self.loads.append(given[LOADS[tag]])


def links(site: Path) -> Iterator[str]:
    """Links to pages, files and anchors that are not there, and what comes from other hosts."""
    pages = {p.resolve(): Page(p.read_text(encoding="utf-8")) for p in site.rglob("*.html")}
    for path, page in pages.items():
        name = path.relative_to(site.resolve()).as_posix()
        for address in [*page.leads, *page.loads]:
            parts = urlsplit(address)
            if parts.scheme in ("http", "https") or parts.netloc:
                if address in page.loads:
                    yield f"{name}: loads {address} from another host"
                continue
            if parts.scheme:
                continue
            target = path
            if parts.path:
                base = site if parts.path.startswith("/") else path.parent
                target = (base / unquote(parts.path).lstrip("/")).resolve()
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                yield f"{name}: {address} is not there"
            elif (
                parts.fragment
                and target in pages
                and unquote(parts.fragment) not in pages[target].ids
            ):
                yield f"{name}: {address} has no such anchor"
    for path in site.rglob("*.css"):
        for address in re.findall(r"url\(['\"]?(https?:)?//", path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: loads {address} from another host"


def members(site: Path, sources: Path) -> Iterator[str]:
    """Members that a page of the API asks for by name, and that are not on it."""
    asked = re.compile(r"^::: (\S+)\n    options:\n((?: {6}.*\n)+)", re.MULTILINE)
    for source in sorted(sources.glob("*.md")):
        built = site / "api" / source.stem / "index.html"
        if not built.is_file():
            continue
        ids = Page(built.read_text(encoding="utf-8")).ids
        for path, options in asked.findall(source.read_text(encoding="utf-8")):
            for name in re.findall(r"\w+", "".join(re.findall(r" members: \[(.*)\]", options))):
                if f"{path}.{name}" not in ids:
                    yield f"api/{source.stem}: {path} is shown without {name}"


def tables(site: Path) -> Iterator[str]:
    """Rows of arguments that say other things than the signature does."""
    for path in sorted((site / "api").rglob("index.html")):
        rows: dict[str, dict[str, list[str]]] = {}
        for heading, cells in reference.arguments(path.read_text(encoding="utf-8")):
            if len(cells) == 5:  # attributes have no default, and so no clause
                rows.setdefault(heading, {})[cells[0]] = cells
        for heading, arguments in rows.items():
            yield from _compared(heading, arguments)


def _compared(heading: str, rows: dict[str, list[str]]) -> Iterator[str]:
    try:
        parameters = inspect.signature(_found(heading)).parameters
    except ImportError as missing:
        print(f"{heading}: not compared: {missing}", file=sys.stderr)
        return
    named = {name.lstrip("*") for name in rows}
    if "tau" in named and (missing := set(parameters) - named - {"self"}):  # every optimizer
        yield f"{heading}: {', '.join(sorted(missing))} without a row"
    for name, (_, kind, text, default, _) in rows.items():
        if name.lstrip("*") not in parameters:
            yield f"{heading}: {name} is no argument"
            continue
        of = parameters[name.lstrip("*")]
        needed = of.default is of.empty and of.kind not in (of.VAR_POSITIONAL, of.VAR_KEYWORD)
        if needed != (default == "required"):
            yield f"{heading}: {name} has the default {of.default!r}, and the page says {default}"
        if not kind or not text:
            yield f"{heading}: {name} lacks a type or a meaning"


def _found(heading: str) -> object:
    """The object at a path, whose first words are a package."""
    module, *names = heading.split(".")
    value: object = importlib.import_module(module)
    for name in names:
        if not hasattr(value, name):
            module = f"{module}.{name}"
            value = importlib.import_module(module)
        else:
            value = getattr(value, name)
            module = f"{module}.{name}"
    return value


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--site", type=Path, default=Path("site"), help="default site")
    site = parser.parse_args().site
    if not (site / "index.html").is_file():
        parser.error(f"--site {site} has no index.html: `make docs` builds the site.")
    sources = Path(__file__).parent / "api"
    faults = [*links(site), *members(site, sources), *tables(site)]
    print("\n".join(faults) or "Links, anchors, members and the tables of the API are right.")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
