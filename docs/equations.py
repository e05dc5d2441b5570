"""Equations as MathML when the site is built, so that a page needs no script and no network."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

# As pymdownx.arithmatex leaves them in its generic form.
_MARKED = re.compile(
    r'<(?P<tag>div|span) class="arithmatex">\\[\[(](?P<tex>.*?)\\[\])]</(?P=tag)>', re.DOTALL
)

# Norms and absolute values, which MathML would else draw as tall as what stands beside them.
_BAR = re.compile(r"<mo((?! stretchy)[^>]*)>(&#x02016;|&#x0007C;|‖|\|)</mo>")


def on_page_content(html: str, **context: Any) -> str:
    """MkDocs calls this with the HTML of each page."""

    def mathml(found: re.Match[str]) -> str:
        display = "block" if found["tag"] == "div" else "inline"
        tex = unescape(found["tex"]).strip()
        tex = tex.replace("{aligned}", "{split}")  # the name that latex2mathml knows
        # It would keep the backslash.
        tex = re.sub(r"\\texttt\{[^}]*\}", lambda name: name[0].replace(r"\_", "_"), tex)
        made = _BAR.sub(r'<mo stretchy="false"\1>\2</mo>', convert(tex, display=display))
        return f'<div class="equation">{made}</div>' if display == "block" else made

    return _MARKED.sub(mathml, html)
