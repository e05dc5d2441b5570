"""Imports run downward: no circle of modules, no arrow up, those for type checkers included.

Read from the sources, so that no framework has to be installed.

No clause: CONTRIBUTING.md, "How the code is laid out".
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

import mgup_core

ROOT = pathlib.Path(mgup_core.__file__).parents[1]
PACKAGES = {
    # In the checkout, or beside each other where the wheel is installed.
    name: next(
        path for part in ("", "adapters", "conformance") if (path := ROOT / part / name).is_dir()
    )
    for name in (
        "mgup_core",
        "mgup_kernels",
        "mgup_torch",
        "mgup_jax",
        "mgup_mindspore",
        "mgup_keras",
        "mgup_conformance",
    )
}
LAYERS = {
    "mgup_core": """
        _typing _checks _notices | selection | numerics | policy ranking rules transforms | frontend
        | statistics | step | trace | optimizer host check_rule | check_rule
    """,
    "mgup_kernels": """
        layout tuning device cuda_driver | compiled batches ordered_keys | sample_bracket apply
        | radix_select verify ties codegen | one_pass sizes | memory | plan
    """,
    "mgup_torch": """
        notices | kernels llvm | selection | backend groups arguments
        | distributed statistics model_groups | fitting | parameter_step | executors | base
        | factory | averaging wrapped_groups | inner_step | muon wrapper contrib | optimizers
        | integrations
    """,
    "mgup_jax": """
        arguments kernels | rounding numbers mesh_axes selection | backend | pytrees settings
        | shard_map state parameter_step | given | in_place | transformation wrapper | muon
        | module_types optimizers
    """,
    "mgup_mindspore": """
        arguments numpy2 operations | program | emitter | selection | backend
        | arrays groups training | host | cells fit model_groups | runtime | base | factory
        | muon | optimizers | integrations
    """,
    "mgup_keras": "optimizers",
}
"""The layers, lowest first: a module imports from earlier layers and from its own folder only."""

Graph = dict[str, set[str]]


def modules(package: str) -> dict[str, pathlib.Path]:
    root = PACKAGES[package]
    names = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        names[".".join((package, *parts)).removesuffix(".__init__")] = path
    return names


def imports(name: str, path: pathlib.Path, known: set[str]) -> Iterator[str]:
    """The modules of its own package that a module imports, wherever the import stands."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield from (x for x in (inner if inner in known else base,) if x in known)


def graph(package: str) -> Graph:
    paths = modules(package)
    return {name: set(imports(name, path, set(paths))) - {name} for name, path in paths.items()}


def circle(edges: Graph) -> list[str] | None:
    """The modules of one circle in the order in which they import each other, or ``None``."""
    done: set[str] = set()

    def follow(name: str, trail: list[str]) -> list[str] | None:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name not in done:
            for other in sorted(edges[name]):
                if found := follow(other, [*trail, name]):
                    return found
            done.add(name)
        return None

    for name in sorted(edges):
        if found := follow(name, []):
            return found
    return None


def arrows_up(package: str, edges: Graph) -> list[str]:
    level = {
        f"{package}.{part}": i
        for i, layer in enumerate(LAYERS[package].split("|"))
        for part in layer.split()
    }

    def place(name: str) -> tuple[str, int]:
        part = ".".join(name.split(".")[:2])
        return part, level[part]

    up = []
    for name in sorted(edges.keys() - {package}):
        part, here = place(name)
        for other in sorted(edges[name]):
            if other == package:
                up.append(f"{name} -> {other}")
                continue
            target, there = place(other)
            if target != part and there > here:
                up.append(f"{name} -> {other}")
    return up


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle(package):
    edges = graph(package)
    assert sum(map(len, edges.values())) >= len(edges) / 2
    found = circle(edges)
    assert found is None, " -> ".join(found or [])


@pytest.mark.parametrize("package", LAYERS)
def test_no_arrow_up(package):
    assert arrows_up(package, graph(package)) == []
