"""What blocks, step by step, for a call that streams: the next step is taken while the last one's result is sent."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Generator
from types import TracebackType
from typing import Generic, Self, TypeVar

StepT = TypeVar("StepT")


class Steps(Generic[StepT]):
    """A generator's items, each read in a thread, one ahead of what was asked for.

    Leaving the ``with`` block closes the generator, in a thread and behind the step at hand, and waits for neither: a call that was cancelled may be
    cancelled once more when its server drains, or its loop may end, and what the generator holds (a connection, a lease) must be given back all the same.

    Args:
        steps: The generator. None of its items is None.
    """

    def __init__(self, steps: Generator[StepT, None, None]) -> None:
        self._steps = steps
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> Self:
        self._ahead = self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._ahead.cancel()
        if self._ahead.done() and not self._ahead.cancelled():
            self._ahead.exception()  # looked at, so that nothing is logged about it
        self._loop.run_in_executor(None, self._close)

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
        return self._loop.run_in_executor(None, contextvars.copy_context().run, self._step)

    def _step(self) -> StepT | None:
        with self._one_at_a_time:
            return next(self._steps, None)

    def _close(self) -> None:
        with self._one_at_a_time:
            self._steps.close()
