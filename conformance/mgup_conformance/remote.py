"""A backend in another interpreter: versions that cannot be installed together, side by side."""

from __future__ import annotations

import atexit
import importlib.util
import multiprocessing
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from .protocol import Array, PolicySpec, RunSpec, check_capabilities
from .shape import TEXT, fault
from .wire import receive, send

SHIPPED = ("mgup_core", "mgup_torch", "mgup_jax", "mgup_mindspore", "mgup_conformance")
"""What goes along, with array_api_compat: the other environment need not have this library."""

_START = "import sys; sys.path.insert(0, {path!r}); from mgup_conformance.serve import serve; "


HELLO = {"name": TEXT, "versions": {TEXT: TEXT}}
"""What the other side says first, beside its capabilities."""


class RemoteError(RuntimeError):
    """What went wrong in the other interpreter, in its own words."""


@lru_cache(maxsize=1)
def _shipment() -> str:
    """A folder of links to the packages that go along, and to nothing else beside them."""
    folder = tempfile.TemporaryDirectory(prefix="mgup-conformance-")
    atexit.register(folder.cleanup)
    for name in (*SHIPPED, "array_api_compat"):
        found = importlib.util.find_spec(name)
        if found is not None and found.submodule_search_locations:
            target = Path(next(iter(found.submodule_search_locations)))
            (Path(folder.name) / name).symlink_to(target.absolute(), target_is_directory=True)
    return folder.name


def _end(process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
    process.kill()
    process.communicate()  # closes the pipes, and takes note of the end
    words.close()


class Remote:
    """A backend of any name, run by another Python.

    Args:
        name: what that interpreter is to load, a shipped name or ``package.module:Class``.
        python: the path of the interpreter.

    Raises:
        ValueError: when there is no such interpreter.
        ImportError: when the backend cannot be loaded there.
    """

    def __init__(self, name: str, python: str) -> None:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        self._where = f"{name} in {python}"
        start = _START.format(path=_shipment()) + f"serve({name!r})"
        try:
            self._process = subprocess.Popen(
                [python, "-c", start],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words,
                # Ctrl-C is for this side, which closes the other; a worker's group has none.
                start_new_session=multiprocessing.parent_process() is None,
            )  # fmt: skip
        except OSError as error:
            self._words.close()
            raise ValueError(f"--python {python}: {error}") from error
        weakref.finalize(self, _end, self._process, self._words)
        try:
            said = self.call("hello")
        except RemoteError as error:
            raise ImportError(f"{self._where}: {str(error).strip().splitlines()[-1]}") from error
        if reason := fault(said, HELLO):
            raise ImportError(f"{self._where} does not speak as this suite does: {reason}.")
        check_capabilities(said.get("offers"))
        inner, self._versions, self._capabilities = said["name"], said["versions"], said["offers"]
        self.name = f"{inner}@{_environment(python)}"

    def call(self, *message: Any) -> Any:
        """Ask the other side.

        Raises:
            RemoteError: with its traceback, or with its last words if it has ended.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            send(stdin, message)
            answer = receive(stdout)
        except (EOFError, OSError):
            code = self._process.wait()
            self._words.seek(0)
            last = self._words.read()[-2000:].decode(errors="replace")
            raise RemoteError(f"{self._where} ended with status {code}.\n{last}") from None
        except ValueError as error:
            raise RemoteError(f"{self._where} does not speak as this suite does: {error}") from None
        if not isinstance(answer, dict) or not answer.keys() & {"error", "value"}:
            raise RemoteError(f"{self._where} does not speak as this suite does: {answer!r:.200}")
        if "error" in answer:
            raise RemoteError(str(answer["error"]))
        return answer["value"]

    def versions(self) -> dict[str, str]:
        return dict(self._versions)

    def capabilities(self) -> dict[str, Any]:
        return dict(self._capabilities)

    def multiplier(self, policy: PolicySpec, a: Array, g: Array, stacked_dims: int) -> Array:
        phi: Array
        phi, *after = self.call("multiplier", policy, a, g, stacked_dims)
        _mirror((a, g), after)
        return phi

    def run(self, spec: RunSpec, params: Sequence[Array]) -> RemoteRun:
        return RemoteRun(self, spec, params)


class RemoteRun:
    """A run on the other side. One goes on at a time: beginning another ends it."""

    def __init__(self, owner: Remote, spec: RunSpec, params: Sequence[Array]) -> None:
        self.owner = owner
        self.weights = owner.call("run", spec, list(params))
        self.kept: list[dict[str, Array]] = [{} for _ in params]
        _mirror(params, self.weights)

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        self.weights, self.kept = self.owner.call("step", list(grads), lr)

    def resume(self) -> None:
        self.weights, self.kept = self.owner.call("resume")

    def params(self) -> list[Array]:
        return list(self.weights)

    def state(self) -> list[dict[str, Array]]:
        return list(self.kept)


def _mirror(given: Sequence[Array], after: Sequence[Array]) -> None:
    """Do here what was done there to what was sent: a backend is to change nothing of it."""
    for x, changed in zip(given, after, strict=True):
        x[...] = changed


def _environment(python: str) -> str:
    """What tells this interpreter from others, in a word: its environment's folder."""
    path = Path(python).absolute()
    inside = path.parent.name in ("bin", "Scripts")
    return path.parent.parent.name if inside else path.name
