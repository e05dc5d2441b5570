"""Handlers of signals wait while something is half done."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_NUMBERS = sorted(map(int, signal.valid_signals()))

# ``signal`` makes an enum of every number and handler: half a millisecond for those of one step.
getsignal, set_handler = _signal.getsignal, _signal.signal


class HeldSignals:
    """In this context, handlers of signals run only at :meth:`let_in`, and when it ends.

    Python runs them in the main thread, between any two of its instructions. One that raises, as
    Ctrl-C's does, would leave whatever was at work half done, and one that saves a checkpoint would
    see it so. In other threads, which no handler runs in, the context does nothing.

    Args:
        news: how far the work is; whatever a handler raises is told it, an empty KeyboardInterrupt
            as its message and others as a note.

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
        """Run the handlers that have been waiting; what they raise is raised here."""
        if self._caught:
            self._let_go()
            self._handle()  # it may set handlers
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
        except ValueError:  # the main thread of another interpreter, where there are no signals
            self._handlers.clear()
        except BaseException:
            self._let_go()
            raise

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self._caught[number] = frame

    def _let_go(self) -> None:
        """Put the handlers back, even if one of them raises meanwhile."""
        try:
            while self._handlers:
                number, handler = next(iter(self._handlers.items()))
                set_handler(number, handler)
                del self._handlers[number]
        except BaseException:
            self._let_go()
            raise

    def _handle(self) -> None:
        """Call the handlers of what was caught, each, even if one before it raises."""
        try:
            while self._caught:
                number, frame = self._caught.popitem()
                handler = getsignal(number)
                if callable(handler):
                    handler(number, frame)
        except BaseException as error:
            _tell(error, self._news())
            self._handle()
            raise


def _tell(error: BaseException, news: str) -> None:
    if isinstance(error, KeyboardInterrupt) and not error.args:
        error.args = (news,)
    else:  # add_note is Python 3.11's
        error.__notes__ = [*getattr(error, "__notes__", ()), news]
