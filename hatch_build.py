"""The addresses of the distribution, and README.md with addresses in the place of relative links.

An index page shows images by their addresses only. The repository's is given by whoever builds:
``MGUP_REPO_URL=https://host/owner/name python -m build``, and the site's by ``MGUP_SITE_URL``.
Without the first, README.md goes into the distribution as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r'(\]\(|(?:src|srcset|href)=")(?!https?:|#|mailto:)([^)"\s]+)')
_SHOWN = (".png", ".svg")


def absolute(text: str, repository: str) -> str:
    """README's text with its relative links as addresses below ``repository``."""

    def address(found: re.Match[str]) -> str:
        kind = "raw" if found[2].endswith(_SHOWN) else "blob"
        return f"{found[1]}{repository}/{kind}/main/{found[2]}"

    return _LINK.sub(address, text)


class Readme(MetadataHookInterface):
    """Hatch calls it when the distribution's metadata is made."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Give the metadata its readme, and its addresses."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        urls = {"Paper": "https://arxiv.org/abs/2606.17526"}
        if repository := os.environ.get("MGUP_REPO_URL", "").rstrip("/"):
            text = absolute(text, repository)
            urls["Repository"] = repository
            urls["Issues"] = f"{repository}/issues"
            urls["Changelog"] = f"{repository}/blob/main/CHANGELOG.md"
        if site := os.environ.get("MGUP_SITE_URL"):
            urls["Documentation"] = site
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls
