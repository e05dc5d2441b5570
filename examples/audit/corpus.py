"""Text to learn from: the Python sources of the packages installed here, split by package.

Packages repeat themselves, so whole packages are held out, never files. What the corpus was made
of is written down as a manifest; where a later run finds other sources, it is refused.
"""

from __future__ import annotations

import hashlib
import json
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

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
    """Of the packages and the vocabulary."""


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
    parts = {
        held_out: [
            text for (name, _), files in texts.items() for text in files
            if (name in HELD_OUT) == held_out
        ]
        for held_out in (False, True)
    }  # fmt: skip
    paths = {held_out: cache / f"{digest[:16]}-{held_out}.npy" for held_out in parts}
    if not all(path.exists() for path in paths.values()):
        cache.mkdir(parents=True, exist_ok=True)
        encoded = _encoded(parts, vocabulary)
        for held_out, tokens in encoded.items():
            np.save(paths[held_out], tokens)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    train, held_out = (np.load(paths[part], mmap_mode="r") for part in (False, True))
    return Corpus(train, held_out, digest)


def _check_manifest(path: Path, manifest: dict) -> None:
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


def _encoded(parts: dict[bool, list[bytes]], vocabulary: int) -> dict[bool, np.ndarray]:
    if vocabulary == BYTES:
        return {
            held_out: np.frombuffer(b"\n".join(part), np.uint8).astype(np.uint16)
            for held_out, part in parts.items()
        }
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise ValueError(
            f"vocabulary={vocabulary} needs the package tokenizers: pip install tokenizers, or "
            f"set vocabulary to {BYTES}, which is bytes."
        ) from None
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END],
        show_progress=False,
    )
    texts = {k: [t.decode("utf-8", "replace") for t in part] for k, part in parts.items()}
    every = max(1, sum(map(len, texts[False])) // 20_000_000)  # enough to learn a vocabulary
    tokenizer.train_from_iterator(texts[False][::every], trainer)
    return {held_out: _tokens(tokenizer, part) for held_out, part in texts.items()}


def _tokens(tokenizer: object, texts: list[str]) -> np.ndarray:
    end = tokenizer.token_to_id(END)  # type: ignore[attr-defined]
    groups = [texts[i : i + 256] for i in range(0, len(texts), 256)]

    def encode(group: list[str]) -> np.ndarray:
        encoded = tokenizer.encode_batch_fast(group)  # type: ignore[attr-defined]
        return np.concatenate([np.array([*one.ids, end], np.uint16) for one in encoded])

    with ThreadPoolExecutor(2) as pool:  # one turns numbers into arrays while the other encodes
        return np.concatenate(list(pool.map(encode, groups)))
