"""Lets calls finish when the service stops, and refuses new ones with SHUTTING_DOWN.

Endless streams (watches) are ended at once, since nothing would come of waiting; what is still running when the time is up is ended too. Both get
SHUTTING_DOWN with RetryInfo instead of a broken connection, so a client knows that trying again helps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.server.interceptors.chain import Call, Layer, Tap

_RETRY_S = 1.0


class Drain(Layer):
    """The drain's layer.

    Args:
        endless_methods: Paths of streams that are never done, besides those named ``Watch...``.
    """

    def __init__(self, endless_methods: frozenset[str] = frozenset()) -> None:
        self._endless = endless_methods
        self._running: dict[asyncio.Task[object], Call] = {}
        self._ended: set[asyncio.Task[object]] = set()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[Tap]:
        """See Layer.

        Raises:
            YardError: SHUTTING_DOWN.
        """
        if self._draining:
            raise _shutting_down()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - grpc.aio runs every call in a task; told to mypy
        self._running[task] = call
        self._idle.clear()
        try:
            yield Tap()
        except asyncio.CancelledError as error:
            if task not in self._ended:
                raise
            task.uncancel()
            raise _shutting_down() from error
        finally:
            self._ended.discard(task)
            del self._running[task]
            if not self._running:
                self._idle.set()

    def begin(self) -> None:
        """From now on new calls are refused; endless ones are ended."""
        self._draining = True
        self._end([task for task, call in self._running.items() if self._is_endless(call)])

    async def finish(self, seconds: float) -> int:
        """Waits for the calls that are running, at most so long; then ends them. Returns how many had to be ended."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            late = list(self._running)
            self._end(late)
            return len(late)
        return 0

    def _end(self, tasks: list[asyncio.Task[object]]) -> None:
        for task in tasks:
            if task not in self._ended:
                self._ended.add(task)
                task.cancel()

    def _is_endless(self, call: Call) -> bool:
        return call.method.server_streaming and (call.method.name.startswith("Watch") or call.method.path in self._endless)


def _shutting_down() -> YardError:
    return YardError(
        Reason.SHUTTING_DOWN, "the service is shutting down: try again, it will be back or another takes the call", retry_after_s=_RETRY_S
    )
