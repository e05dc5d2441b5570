"""Delays the handlers of signals while a step is half done."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from .._notices import note

_NUMBERS = sorted(map(int, signal.valid_signals()))

# `signal` makes an enum of every number and handler, which takes half a millisecond a step.
getsignal, set_handler = _signal.getsignal, _signal.signal


class HeldSignals:
    """A context in which handlers of signals run only at :meth:`let_in` and at the end.

    Python runs handlers in the main thread, between any two instructions. A handler that raises, as
    Ctrl-C's does, would leave a parameter half stepped, and one that saves a checkpoint would save
    it so. No handler runs in other threads, and there the context does nothing.

    Args:
        news: says how far the work is. The text becomes the message of an empty exception that
            a handler raises, and a note of any other.

    >>> done = []
    >>> with HeldSignals(lambda: f"{len(done)} of 3 are done.") as signals:
    ...     for piece in range(3):
    ...         signals.let_in()
    ...         done.append(piece)
    """

    def __init__(self, news: Callable[[], str]) -> None:
        self._news = news
        self._handlers: dict[int, Any] = {}
        self._caught: dict[int, FrameType | None] = {}

    def __enter__(self) -> HeldSignals:
        self._hold()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._let_go()
        self._handle()

    def let_in(self) -> None:
        """Run the handlers that have been waiting, and raise what they raise."""
        if self._caught:
            self._let_go()
            self._handle()  # a handler may set handlers
            self._hold()

    def _hold(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            for number in _NUMBERS:
                handler = getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    set_handler(number, self._catch)
        except ValueError:  # the main thread of a subinterpreter, which has no signals
            self._handlers.clear()
        except BaseException:
            self._let_go()
            raise

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self._caught[number] = frame

    def _let_go(self) -> None:
        """Restore the handlers, even if one of them raises meanwhile."""
        try:
            while self._handlers:
                number, handler = next(iter(self._handlers.items()))
                set_handler(number, handler)
                del self._handlers[number]
        except BaseException:
            self._let_go()
            raise

    def _handle(self) -> None:
        """Call the handler of each caught signal, even if one before it raises."""
        try:
            while self._caught:
                number, frame = self._caught.popitem()
                handler = getsignal(number)
                if callable(handler):
                    handler(number, frame)
        except BaseException as error:
            note(error, self._news())
            self._handle()
            raise
