"""The support matrix, clauses by backends, as a page: Markdown for the docs, HTML to send."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence

from .clauses import CLAUSES
from .report import (
    MAKERS,
    Plain,
    commit,
    failures,
    place,
    skipped,
    summary,
    totals,
    untrained,
    verdict,
    versions,
)
from .visible import visible

TITLE, OF_ONE_RUN = "Support matrix", "Conformance report"
LEGEND = (
    "A cell counts the cases that cite the clause and passed. Those skipped, because the backend "
    "does not offer what they ask for, are counted apart; the reasons are below. A dash: no case "
    "was run."
)
LEVELS_LEGEND = (
    "“By rounding” are cases that are not identical, in which each step, from the state that the "
    "implementation was in, differs by no more than some units in the last place (clause V). Of a "
    "case that is different the clause of its mistake is charged alone; of the others of that case "
    "nothing is known, and they are “not judged”."
)
PROCESSORS_LEGEND = (
    "A run is on one processor. What others gave is kept from the run before, with its date and "
    "commit: it knows nothing of the cases that were added since."
)
FAILED_LEGEND = (
    "What a case asks: mgup-conformance show CASE writes its inputs and the answers as NumPy "
    "arrays, with a script that runs a backend on them without this suite."
)

Table = Sequence[Sequence[str]]


def _cell(one: Plain, clause: str) -> str:
    counts, verdicts = one["clauses"].get(clause, {}), one.get("verdicts", {}).get(clause, {})
    failed, error, passed, left_out = (
        counts.get(status, 0) for status in ("failed", "error", "passed", "skipped")
    )
    bad = failed + error
    by_rounding, unknown = verdicts.get("rounding", 0), verdicts.get("not judged", 0)
    said = [f"**FAILED {bad}**"] if bad else []
    said += [f"{passed}"] if passed else []
    said += [f"{by_rounding} by rounding"] if by_rounding else []
    said += [f"{unknown} not judged"] if unknown else []
    said += [f"{left_out} skipped"] if left_out else []
    return ", ".join(said) or "–"


def _clauses(plain: Plain) -> dict[str, Table]:
    """A table for each place that a backend ran in: beside each other they would be too wide."""
    untouched, tables = _untouched(plain), dict[str, Table]()
    for where in dict.fromkeys(map(place, plain["backends"])):
        backends = [one for one in plain["backends"] if place(one) == where]
        head = ["clause", "what it says", *(one["name"] for one in backends)]
        rows = [
            [clause, CLAUSES[clause], *(_cell(one, clause) for one in backends)]
            for clause in CLAUSES
            if clause not in untouched
        ]
        tables[where or "Not said where"] = [head, *rows]
    return tables


def _untouched(plain: Plain) -> list[str]:
    """The clauses of which every case was skipped on every backend."""
    return [
        clause
        for clause in CLAUSES
        if all(
            one["clauses"][clause]["skipped"] and set(_cell(one, clause).split()[1:]) == {"skipped"}
            for one in plain["backends"]
        )
    ]


def _backends(plain: Plain) -> Table:
    head = ["backend", "versions", "host", "date", "set", "cases"]
    rows = [
        [one["name"], versions(one), one["host"], one["date"], one["set"], totals(one)]
        for one in plain["backends"]
    ]
    return [head, *rows]


def _processors(plain: Plain) -> Table:
    """What was run on whose processors; a maker of whose nothing was is said, too."""
    rows = []
    for maker in sorted(set(MAKERS.values())):
        found: dict[tuple[str, str, str], list[str]] = {}
        for one in plain["backends"]:
            own, _, kind = one.get("processor", "").partition(": ")
            if own == maker:
                run = kind, one["date"], commit(plain, one)
                found.setdefault(run, []).append(f"{one['name']}: {totals(one)}")
        rows += [[maker, *of, "; ".join(said)] for of, said in found.items()]
        rows += [] if found else [[maker, "not run", "", "", ""]]
    return [["maker", "processor", "date", "commit", "cases"], *rows]


def _reasons(plain: Plain) -> list[str]:
    return [
        f"{reason}: {n} skipped" for one in plain["backends"] for reason, n in skipped(one).items()
    ]


def _levels(plain: Plain) -> Table:
    rows = [
        [one["name"], line] for one in plain["backends"] for line in summary(one)
    ]  # fmt: skip
    return [["backend", "what came out"], *rows] if rows else []


def _provenance(plain: Plain) -> list[str]:
    judged: dict[str, list[str]] = {}
    for one in plain["backends"]:
        suite = one.get("suite", plain.get("suite", {}))
        said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in suite.items())
        judged.setdefault(said, []).append(one["name"])
    lines = [
        f"Suite{' of ' + ', '.join(names) if len(judged) > 1 else ''}: {said}."
        for said, names in judged.items()
        if said
    ]
    commands = dict.fromkeys(one.get("command", "") for one in plain["backends"])
    return lines + [f"Command: {command}" for command in commands if command]


def _page(
    plain: Plain,
    title: str,
    heading: Callable[[int, str], str],
    paragraph: Callable[[str], str],
    table: Callable[[Table], str],
    items: Callable[[Sequence[str]], str],
    verbatim: Callable[[str], str],
) -> str:
    """The one page, whatever it is written in."""
    plain = visible(plain)
    parts = [heading(1, title), table(_backends(plain)), *map(paragraph, _provenance(plain))]
    if levels := _levels(plain):
        parts += [heading(2, "Levels"), paragraph(LEVELS_LEGEND), table(levels)]
    tables = _clauses(plain)
    if any("processor" in one for one in plain["backends"]):
        parts.append(heading(2, "Processors"))
        parts += [paragraph(PROCESSORS_LEGEND)] if len(tables) > 1 else []
        parts.append(table(_processors(plain)))
    parts += [heading(2, "Clauses"), paragraph(LEGEND)]
    for where, rows in tables.items():
        parts += [*([heading(3, where)] if len(tables) > 1 else []), table(rows)]
    if untouched := _untouched(plain):
        parts.append(paragraph(f"Skipped everywhere: {', '.join(untouched)}."))
    if lines := [f"{one['name']}: {line}" for one in plain["backends"] for line in untrained(one)]:
        parts.append(items(lines))
    if reasons := _reasons(plain):
        parts += [heading(2, "Skipped"), items(reasons)]
    if bad := failures(plain):
        parts += [heading(2, "Failed"), paragraph(FAILED_LEGEND)]
        for name, result in bad:
            lines = [f"{name}: {result['message']}", verdict(result)]
            parts.append(verbatim("\n".join(filter(None, lines))))
    return "\n".join(parts)


def markdown_line(text: str) -> str:
    """Text as Markdown on one line: what would make a tag, a link or emphasis is spelled out.

    Two stars stay: they are the suite's own mark of what failed.
    """
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), ("[", "&#91;")):
        text = text.replace(mark, entity)
    text = re.sub(r"(?<!\*)\*(?!\*)", "&#42;", text)
    return " ".join(text.split())


def markdown_table(rows: Table) -> str:
    """A table in Markdown, of which the first row is the head."""

    def line(row: Sequence[str]) -> str:
        cells = (markdown_line(cell).replace("\\", "\\\\").replace("|", "\\|") for cell in row)
        return f"| {' | '.join(cells)} |"

    head, *rest = map(line, rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *rest, ""])


def markdown(plain: Plain, title: str = TITLE) -> str:
    """The page in Markdown."""
    return _page(
        plain,
        title,
        heading=lambda level, text: f"{'#' * level} {markdown_line(text)}\n",
        paragraph=lambda text: f"{markdown_line(text)}\n",
        table=markdown_table,
        items=lambda texts: "".join(f"- {markdown_line(text)}\n" for text in texts),
        verbatim=_fenced,
    )


def _fenced(text: str) -> str:
    """A code block that nothing in ``text`` closes: its fence is longer than any row of ticks."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}\n"


STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em}"
    "body{color-scheme:light dark}p{overflow-wrap:anywhere}div{overflow-x:auto}"
    "table{border-collapse:collapse}td,th{border:1px solid #8888;padding:.2em .6em;text-align:left}"
    "td{min-width:6em;vertical-align:top}strong{color:#d00030}"
    "pre{background:#8881;padding:.6em;white-space:pre-wrap;overflow-wrap:anywhere}"
)


def page(plain: Plain, title: str = TITLE) -> str:
    """The page in HTML, by itself in one file."""

    def cell(kind: str, text: str) -> str:
        safe = html.escape(text)
        if safe.startswith("**"):  # the one mark that a cell may have
            safe = safe.replace("**", "<strong>", 1).replace("**", "</strong>", 1)
        return f"<{kind}>{safe}</{kind}>"

    def table(rows: Table) -> str:
        head = "".join(cell("th", text) for text in rows[0])
        body = "".join(
            f"<tr>{''.join(cell('td', text) for text in row)}</tr>\n" for row in rows[1:]
        )
        return f"<div><table>\n<tr>{head}</tr>\n{body}</table></div>"

    content = _page(
        plain,
        title,
        heading=lambda level, text: f"<h{level}>{html.escape(text)}</h{level}>",
        paragraph=lambda text: f"<p>{html.escape(text)}</p>",
        table=table,
        items=lambda texts: f"<ul>{''.join(f'<li>{html.escape(t)}</li>' for t in texts)}</ul>",
        verbatim=lambda text: f"<pre>{html.escape(text)}</pre>",
    )
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>MGUP: {html.escape(title)}</title><style>{STYLE}</style>"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{content}\n</body></html>\n'
    )
