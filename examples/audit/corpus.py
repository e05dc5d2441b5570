"""Text to learn from: the Python sources of the packages installed here, split by package.

Packages repeat themselves, so whole packages are held out, never files. What the corpus was made
of is written down as a manifest; where a later run finds other sources, it is refused.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

HELD_OUT = ("networkx", "aiohttp", "skimage", "statsmodels", "mypy", "hypothesis")
"""Packages that nothing is trained on."""
SKIPPED = {"_vendor", "vendor", "_vendored", "vendored", "thirdparty", "third_party", "__pycache__",
           "site-packages", "dist-packages", "idlelib", "lib2to3"}  # fmt: skip
MOST_OF_ONE = 12_000_000
"""Bytes of one package: some would be most of the corpus."""
END = "<|end|>"
BYTES = 256  # a vocabulary that needs no training, and no tokenizers


@dataclass(frozen=True)
class Package:
    """One package's part of the corpus."""

    name: str
    version: str
    files: int
    bytes: int
    sha256: str
    held_out: bool


@dataclass(frozen=True)
class Corpus:
    """Tokens, uint16, and what they were made of."""

    train: np.ndarray
    held_out: np.ndarray
    sha256: str
    """Of what it was made of, the vocabulary included."""
    tokenizer: Path | None = None
    """Its file; ``None`` for plain bytes."""


def load_corpus(folder: Path, cache: Path, vocabulary: int, *, most: int = 160_000_000) -> Corpus:
    """The corpus of this machine, tokenized once into ``cache``.

    Args:
        folder: where the manifest is kept with the runs; it is written at the first use.
        vocabulary: of a byte-level BPE; 256 is plain bytes.
        most: bytes at most, of packages in the order of their names' hashes.

    Raises:
        ValueError: where the manifest is of other sources, or there is too little text.
    """
    texts = dict(_texts(most))
    packages = [
        Package(name, version, len(files), sum(map(len, files)), _sha256(files), name in HELD_OUT)
        for (name, version), files in texts.items()
    ]
    manifest = {
        "vocabulary": vocabulary,
        "packages": [asdict(package) for package in packages],
    }
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    manifest = {"sha256": digest, **manifest}
    path = folder / f"corpus-{vocabulary}.json"
    _check_manifest(path, manifest)
    train, held_out = (
        [file for (name, _), files in texts.items() for file in files if (name in HELD_OUT) == out]
        for out in (False, True)
    )
    cache.mkdir(parents=True, exist_ok=True)
    tokenizer = None
    if vocabulary != BYTES:
        tokenizer = cache / f"{digest[:16]}-tokenizer.json"
        if not tokenizer.exists():
            _learn(train, vocabulary, tokenizer)
    tokens = encoded(cache, digest, tokenizer, lambda: (train, held_out))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return Corpus(*tokens, digest, tokenizer)


def _check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    if not path.exists():
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if before == manifest:
        return
    was, now = ({p["name"]: p for p in m.get("packages", ())} for m in (before, manifest))
    other = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
    raise ValueError(
        f"the corpus is another than that of the runs beside {path} (sha256 "
        f"{manifest['sha256'][:12]}, was {before.get('sha256', '?')[:12]}): "
        f"{len(other)} packages differ, among them {', '.join(other[:5])}. Losses on different "
        "texts cannot be compared: continue where those packages are installed, or give another "
        "folder with --out."
    )


def _sha256(files: list[bytes]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(len(file).to_bytes(8, "big") + file)
    return digest.hexdigest()


# -- the sources -----------------------------------------------------------------------------------


def _texts(most: int) -> Iterator[tuple[tuple[str, str], list[bytes]]]:
    """Each package's distinct files; the held-out ones first, whose copies none trains on."""
    seen: set[bytes] = set()
    folders = sorted(_packages(), key=lambda p: (p[0] not in HELD_OUT, _order(p[0])))
    for name, version, folder in folders:
        files, size = [], 0
        for path in sorted(folder.rglob("*.py")):
            if SKIPPED.intersection(path.relative_to(folder).parts) or size >= MOST_OF_ONE:
                continue
            text = path.read_bytes()
            digest = hashlib.sha256(text).digest()
            if digest not in seen and text.strip():
                seen.add(digest)
                files.append(text)
                size += len(text)
        if files:
            yield (name, version), files
        most -= size
        if most <= 0:
            return


def _order(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _packages() -> Iterator[tuple[str, str, Path]]:
    """(name, version, folder) of each package and of the standard library."""
    paths = sysconfig.get_paths()
    yield "stdlib", sysconfig.get_python_version(), Path(paths["stdlib"])
    owners = metadata.packages_distributions()
    for folder in sorted(Path(paths["purelib"]).iterdir()):
        if folder.is_dir() and folder.name in owners:
            yield folder.name, metadata.version(owners[folder.name][0]), folder


# -- tokens ----------------------------------------------------------------------------------------


def encoded(
    cache: Path,
    digest: str,
    tokenizer: Path | None,
    texts: Callable[[], tuple[list[bytes], list[bytes]]],
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of training and of held-out texts, made once into ``cache``."""
    paths = [cache / f"{digest[:16]}-{held_out}.npy" for held_out in (False, True)]
    if not all(path.exists() for path in paths):
        for path, part in zip(paths, texts(), strict=True):
            np.save(path, _tokens(part, tokenizer))
    train, held_out = (np.load(path, mmap_mode="r") for path in paths)
    return train, held_out


def _tokenizers() -> Any:
    try:
        return importlib.import_module("tokenizers")
    except ImportError:
        raise ValueError(
            f"a vocabulary other than {BYTES}, which is bytes, needs the package tokenizers: pip "
            "install tokenizers."
        ) from None


def _learn(texts: list[bytes], vocabulary: int, path: Path) -> None:
    """Write the tokenizer that suits the texts."""
    package = _tokenizers()
    byte_level = package.pre_tokenizers.ByteLevel
    tokenizer = package.Tokenizer(package.models.BPE())
    tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
    tokenizer.decoder = package.decoders.ByteLevel()
    trainer = package.trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=byte_level.alphabet(),
        special_tokens=[END],
        show_progress=False,
    )
    decoded = [text.decode("utf-8", "replace") for text in texts]
    every = max(1, sum(map(len, decoded)) // 20_000_000)  # enough to learn a vocabulary
    tokenizer.train_from_iterator(decoded[::every], trainer)
    tokenizer.save(str(path))


def _tokens(texts: list[bytes], path: Path | None) -> np.ndarray:
    if path is None:
        return np.frombuffer(b"\n".join(texts), np.uint8).astype(np.uint16)
    tokenizer = _tokenizers().Tokenizer.from_file(str(path))
    end = tokenizer.token_to_id(END)
    groups = [texts[i : i + 256] for i in range(0, len(texts), 256)]

    def encode(group: list[bytes]) -> np.ndarray:
        found = tokenizer.encode_batch_fast([text.decode("utf-8", "replace") for text in group])
        return np.concatenate([np.array([*one.ids, end], np.uint16) for one in found])

    with ThreadPoolExecutor(2) as pool:  # one turns numbers into arrays while the other encodes
        return np.concatenate(list(pool.map(encode, groups)))
