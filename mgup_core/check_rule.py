"""A linter of rules: in seconds, on NumPy, it finds what frameworks will not compute alike.

Each finding names the clause of the specification and the remedy. The conformance suite finds the
same faults by comparing backends, but needs the frameworks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, NamedTuple

import array_api_compat
import numpy as np

from .frontend.reserved import check_names, check_state_names
from .numerics.backend import Backend
from .rules.base import Rule
from .step import update_array
from .trace.elementwise import check_elementwise
from .trace.ops import NotElementwise
from .trace.tracer import needed, record

SHAPE = (6, 8)
"""The shape of the test parameter: a matrix, which rules of matrices accept as well."""
ROUNDED_UNLIKE = frozenset({
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "arctan",
    "arcsin", "arccos", "sinh", "cosh", "tanh", "arctan2", "power", "float_power", "cbrt", "hypot",
    "logaddexp",
})  # fmt: skip
"""NumPy's functions that no two libraries round alike."""


class Finding(NamedTuple):
    """One fault of a rule, or one note."""

    level: str
    """``"error"``: some framework refuses the rule or gives other bits; ``"note"``: information."""
    clause: str
    """The clause of the specification; empty if the fault concerns the library only."""
    text: str
    """What is wrong, and the remedy."""

    def __str__(self) -> str:
        return f"{self.level}{f' ({self.clause})' if self.clause else ''}: {self.text}"


@dataclass(frozen=True)
class RuleReport:
    """The findings of :func:`check_rule`; its string has one finding on each line."""

    name: str
    findings: tuple[Finding, ...]
    operations: tuple[str, ...] = ()
    """The operations of an elementwise rule's recorded step, which every target prints."""

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.level != "error" for finding in self.findings)

    def __str__(self) -> str:
        head = f"{self.name}: {'no errors' if self.ok else 'errors'}"
        return "\n".join([head, *(f"  {finding}" for finding in self.findings)])


def check_rule(rule: Rule | type[Rule]) -> RuleReport:
    """Check a rule with NumPy alone.

    Args:
        rule: a :class:`Rule`, or its class, whose defaults are then checked.

    Returns:
        A report, whose ``ok`` is false if the rule has an error. An exception of the rule is a
        finding; this function raises none.

    >>> from mgup_core import AdamW, check_rule
    >>> check_rule(AdamW).ok
    True
    """
    name = rule.__name__ if isinstance(rule, type) else type(rule).__name__
    found = list(_declared(rule))
    if any(finding.level == "error" for finding in found):
        return RuleReport(name, tuple(found))
    made = rule() if isinstance(rule, type) else rule
    operations: tuple[str, ...] = ()
    for check in (_shape, _state_names, _elementwise, _state, _watched, _tiny, _off, _traced_step):
        try:
            with np.errstate(all="ignore"):
                found += check(made)
        except Exception as error:  # an exception of the rule is a finding
            found.append(_error("", f"{check.__name__[1:]}: {type(error).__name__}: {error}"))
        if check is _state and not all(f.level == "note" for f in found):
            break  # the checks that follow step the rule
    if made.elementwise:
        operations = _operations(made)
    found += _executors(made)
    return RuleReport(name, tuple(dict.fromkeys(found)), operations)


def _error(clause: str, text: str) -> Finding:
    return Finding("error", clause, text)


def _declared(rule: Any) -> Iterator[Finding]:
    kind = rule if isinstance(rule, type) else type(rule)
    if not (isinstance(kind, type) and issubclass(kind, Rule)):
        yield _error("", f"{kind!r} is no subclass of mgup_core.Rule.")
        return
    known = {one.name for one in fields(kind)}
    for name, declared in inspect.get_annotations(kind).items():
        if name not in known and "ClassVar" not in str(declared):
            yield _error("", f"{name} is no field: write @dataclass(frozen=True) above the class.")
    for one in fields(kind):
        if one.default is MISSING and one.default_factory is MISSING:
            yield _error("", f"{one.name} has no default, so no driver can make the rule: give it.")
        elif not isinstance(one.default, (int, float, str, bool, type(None))):
            yield Finding("note", "", f"{one.name} is no number or word: checked as it is only.")
    try:
        check_names(kind)
    except ValueError as error:
        yield _error("", str(error))


def _backend(dtype: Any = np.float32, kind: Callable[..., Backend] = Backend) -> Backend:
    return kind(array_api_compat.array_namespace(np.zeros(1)), np.dtype(dtype))


def _data(scale: float = 1.0, dtype: Any = np.float32) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    w, g = (rng.standard_normal(SHAPE).astype(dtype) for _ in range(2))
    return w, (g * scale).astype(dtype)


def _steps(
    rule: Rule, be: Backend, scale: float, t: Any = int, policy: Any = None, n: int = 3
) -> Iterator[Any]:
    """The updates of the first n steps of one parameter, with gradients of the size ``scale``."""
    w, g = _data(scale, be.host_dtype)
    state = rule.init(be, w)
    if rule.couples_parameters:
        return
    for i in range(1, n + 1):
        with np.errstate(all="ignore"):
            update = update_array(be, rule, policy, w, g, state, t(i), lr=0.1, weight_decay=0.1)
        yield update
        w, state = w - update.delta, update.state


def _shape(rule: Rule) -> Iterator[Finding]:
    if reason := rule.accepts(SHAPE):
        yield _error("", f"it refuses a matrix of {SHAPE}: {reason}")


def _elementwise(rule: Rule) -> Iterator[Finding]:
    try:
        check_elementwise(rule)
    except ValueError as error:
        yield _error("N5", str(error))


def _state_names(rule: Rule) -> Iterator[Finding]:
    try:
        check_state_names(rule)
    except ValueError as error:
        yield _error("", str(error))


def _state(rule: Rule) -> Iterator[Finding]:
    """The state after a step has the names, shapes and dtype of the state before, in new arrays."""
    be = _backend()
    w, g = _data()
    state = rule.init(be, w)
    before = {name: x.copy() for name, x in state.items()}
    for x in (w, g, *state.values()):
        x.flags.writeable = False
    given = _given(be, rule, g, w, state)
    taken = rule.accumulate(be, g, w, given, 1)
    made = rule.direction(be, g, w, taken, 1)
    after = rule.finish(be, g, w, taken, 1)
    for what, x in (("u", made.u), ("a", made.a)):
        if x.shape != w.shape:
            yield _error("P1", f"{what} has shape {x.shape}, the parameter {w.shape}.")
        if x.dtype != be.dtype:
            yield _error("N2", f"{what} is {x.dtype}, not {be.dtype}: make scalars by be.scalar.")
    for name, x in before.items():
        if name not in after:
            yield _error("", f"state {name!r} is lost: accumulate and finish return all of it.")
        elif after[name].shape != x.shape:
            yield _error("", f"state {name!r} changes its shape, {x.shape} to {after[name].shape}.")
        elif after[name].dtype != be.dtype:
            yield _error("N2", f"state {name!r} becomes {after[name].dtype}: use be.scalar.")
    extra = after.keys() - before.keys() - given.keys()
    if extra:
        yield _error("", f"state {min(extra)!r} is not among what init gives: add it there.")


def _given(be: Backend, rule: Rule, g: Any, w: Any, state: Any) -> Any:
    """The state as :meth:`Rule.accumulate` takes it."""
    if rule.reads_lr:
        state = {**state, "lr": be.scalar(0.1)}
    totals = rule.totals(be, g, w, state, 1) if rule.couples_parameters else {}
    return {**state, **totals}


class _Seen(np.ndarray):
    """An array that records the NumPy functions which a rule applies to it past the backend."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if not _Watching.inside:
            bare = any(isinstance(x, _Seen) and x.ndim for x in inputs)
            _Watching.calls.add((ufunc.__name__, method, bare))
        plain = [x.view(np.ndarray) if isinstance(x, _Seen) else x for x in inputs]
        if "out" in options:
            options["out"] = tuple(x.view(np.ndarray) for x in options["out"])
        made = getattr(ufunc, method)(*plain, **options)
        return np.asarray(made).view(_Seen)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        made = super().__array_function__(function, types, args, options)
        return made.view(_Seen) if isinstance(made, np.ndarray) else made


class _Watching(Backend):
    """A backend that marks the calls which it makes itself."""

    inside = 0
    calls: ClassVar[set[tuple[str, str, bool]]] = set()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found) or isinstance(found, type) or name == "xp":
            return found

        def watched(*args: Any, **options: Any) -> Any:
            _Watching.inside += 1
            try:
                made = found(*args, **options)
            finally:
                _Watching.inside -= 1
            return made.view(_Seen) if isinstance(made, np.ndarray) else made

        return watched


def _watched(rule: Rule) -> Iterator[Finding]:
    """The backend's operations that a rule calls on NumPy directly."""
    be = _backend(kind=_Watching)
    _Watching.calls = set()
    w, g = (x.view(_Seen) for x in _data())
    state = {name: x.view(_Seen) for name, x in rule.init(be, w).items()}
    given = _given(be, rule, g, w, state)
    with np.errstate(all="ignore"):
        state = rule.accumulate(be, g, w, given, 2)
        rule.direction(be, g, w, state, 2)
        rule.finish(be, g, w, state, 2)
    # A rule that is compared by norm (N7) may round otherwise.
    level = "error" if rule.identical else "note"
    for call in sorted(_Watching.calls):
        if said := _past_the_backend(*call, identical=rule.identical):
            yield Finding(level, *said)


def _past_the_backend(
    name: str, method: str, on_array: bool, *, identical: bool
) -> tuple[str, str] | None:
    """(clause, fault) of a NumPy function that a rule calls directly; ``None`` for no fault."""
    if method in ("reduce", "accumulate") and name in ("add", "multiply"):
        return "N5", f"xp.{_SUMS[name]} adds in an order of its own: use be.total."
    if name == "sqrt":
        return "N4", "xp.sqrt is not correctly rounded everywhere: use be.sqrt."
    if name in ("divide", "true_divide") and on_array:
        return "N4", "x / y is not correctly rounded everywhere: use be.div."
    if name == "multiply" and on_array:
        return "N5", "x * y may be fused with a sum that follows: use be.mul."
    if name in ROUNDED_UNLIKE:
        return "N1", f"no two libraries round {name} alike: see mgup_core.numerics.elementary."
    if name == "matmul" and identical:
        return (
            "N7",
            "it multiplies matrices: use be.matmul, with dtype='exact' (N9) or identical = False.",
        )
    return None


_SUMS = {"add": "sum", "multiply": "prod"}


def _tiny(rule: Rule) -> Iterator[Finding]:
    """Numbers that some frameworks flush to zero and others keep (N6)."""
    single, double = _backend(), _backend(np.float64)
    double.tiny_moment, double.tiny_score = single.tiny_moment, single.tiny_score
    for scale in (1e-12, 1e-18, 1e-21, 1e-24, 1e-28):
        pairs = zip(_steps(rule, single, scale), _steps(rule, double, scale), strict=False)
        for update, wide in pairs:
            for name, x in update.state.items():
                kept = np.abs(x[(x != 0) & (np.abs(x) < single.tiny_moment)])
                if kept.size:
                    yield _error(
                        "N6",
                        f"state {name!r} keeps {kept.min():.1e}, below 2^-100, which some "
                        "frameworks flush to 0 and some do not: make it by ema, or be.flush it.",
                    )
                    return
            near = np.abs(update.delta - wide.delta) <= 1e-2 * np.abs(wide.delta) + 1e-6
            if rule.elementwise and not near.all():
                i = tuple(int(k) for k in np.argwhere(~near)[0])
                yield _error(
                    "N6",
                    f"under gradients of {scale:g} a step is {float(update.delta[i]):.3g} in "
                    f"float32 and {float(wide.delta[i]):.3g} in float64: it hangs on numbers that "
                    "underflow. Keep an eps in the denominator, or be.flush what is tiny.",
                )
                return


def _off(rule: Rule) -> Iterator[Finding]:
    """P11: ``constrain`` must not change a step whose multiplier is 1, which is the rule's own."""
    if rule.couples_parameters:
        return
    be, (w, g) = _backend(), _data()
    state = rule.accumulate(be, g, w, rule.init(be, w), 1)
    made = rule.direction(be, g, w, state, 1)
    rate, _ = rule.rates(be, be.scalar(0.1), be.scalar(0.1), 1, made.size)
    delta = be.mul(rate, made.u)
    if not np.array_equal(rule.constrain(be, delta, w, rate, made), delta, equal_nan=True):
        yield _error("P11", "constrain changes a step whose multiplier is 1: return delta there.")


def _traced_step(rule: Rule) -> Iterator[Finding]:
    """``t`` may be traced: a 0-d integer array whose value a rule must not read."""
    if rule.couples_parameters:
        return

    def traced(i: int) -> Any:
        return np.asarray(i, np.int64)

    for a, b in zip(
        _steps(rule, _backend(), 1.0), _steps(rule, _backend(), 1.0, traced), strict=True
    ):
        if not np.array_equal(a.delta, b.delta, equal_nan=True):
            yield _error(
                "N3",
                "a traced t gives other bits than a Python int: form corrections by "
                "bias_correction or inverse_correction, and branch by at_first.",
            )
            return


def _recorded(rule: Rule) -> Any:
    return record(rule, None, decays=True)


def _operations(rule: Rule) -> tuple[str, ...]:
    try:
        program = _recorded(rule)
    except Exception:  # _executors reports it
        return ()
    return tuple(sorted({s.op for s in needed(program.outputs.values())}))


def _executors(rule: Rule) -> Iterator[Finding]:
    """Which executors of the adapters take the rule."""
    if not rule.elementwise:
        yield Finding(
            "note", "", "elementwise = False: every framework steps it array by array; no blocks, "
            "no kernels, no graph of its own.",
        )  # fmt: skip
        return
    try:
        _recorded(rule)
    except NotElementwise:
        return  # _elementwise has reported it
    except Exception as error:
        yield _error(
            "", f"its step cannot be recorded, so that kernels, LLVM and MindSpore's graphs cannot "
            f"print it: {error}",
        )  # fmt: skip
        return
    yield Finding(  # every target has the operations of a recorded step
        "note", "", "elementwise: blocks and LLVM on the CPU, kernels on CUDA, jit in JAX, one "
        "graph in MindSpore.",
    )  # fmt: skip
