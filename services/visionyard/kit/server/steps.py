"""What blocks, step by step, for a call that streams: the next step is taken while the last one's result is sent."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Generic, Self, TypeVar

StepT = TypeVar("StepT")
ResultT = TypeVar("ResultT")


_log = logging.getLogger(__name__)


class Steps(Generic[StepT]):
    """A generator's items, each read in a thread, one ahead of what was asked for.

    Leaving the ``with`` block closes the generator, in a thread and behind the step at hand, and waits for neither: a call that was cancelled may be
    cancelled once more when its server drains, or its loop may end, and what the generator holds (a connection, a lease) must be given back all the same.

    Args:
        steps: The generator. None of its items is None.
    """

    def __init__(self, steps: Generator[StepT, None, None]) -> None:
        self._steps = steps
        self._lock = threading.Lock()
        self._stepping = False
        self._left = False

    def __enter__(self) -> Self:
        self._ahead = self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._ahead.cancel()
        if self._ahead.done() and not self._ahead.cancelled():
            self._ahead.exception()  # looked at, so that nothing is logged about it
        with self._lock:
            self._left = True
            if self._stepping:
                return  # whoever steps closes
        try:
            self._run(self._close)
        except RuntimeError:  # the loop has ended, and nobody is held up any more
            self._close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StepT:
        """The next item. What the generator raises comes where its item would have."""
        item = await self._ahead
        if item is None:
            raise StopAsyncIteration
        self._ahead = self._begin()
        return item

    def _begin(self) -> asyncio.Future[StepT | None]:
        self._loop = asyncio.get_running_loop()
        return self._run(self._step)

    def _run(self, work: Callable[[], ResultT]) -> asyncio.Future[ResultT]:
        return self._loop.run_in_executor(None, contextvars.copy_context().run, work)

    def _step(self) -> StepT | None:
        with self._lock:
            if self._left:
                return None
            self._stepping = True
        try:
            return next(self._steps, None)
        finally:
            if self._ends_left():
                self._close()

    def _ends_left(self) -> bool:
        """Ends the step; whether it was left meanwhile."""
        with self._lock:
            self._stepping = False
            return self._left

    def _close(self) -> None:
        try:
            self._steps.close()
        except Exception:  # noqa: BLE001 - whoever asked has gone
            _log.exception("a stream that was broken off could not be closed")
