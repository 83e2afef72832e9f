"""Who may load now: several side by side, or one alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable


class Turns:
    """A lock for readers and writers. Who wants to be alone goes before those who don't mind company. Lives on one event loop."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._together = 0
        self._alone = False
        self._waiting_alone = 0

    @contextlib.asynccontextmanager
    async def take(self, *, alone: bool) -> AsyncIterator[None]:
        """Waits for a turn and holds it for as long as the block lasts.

        Args:
            alone: Whether nobody else may hold one meanwhile.
        """
        async with self._by_oneself() if alone else self._with_others():
            yield

    @contextlib.asynccontextmanager
    async def _with_others(self) -> AsyncIterator[None]:
        await self._until(lambda: not self._alone and not self._waiting_alone)
        self._together += 1
        try:
            yield
        finally:
            self._together -= 1
            self._notify()

    @contextlib.asynccontextmanager
    async def _by_oneself(self) -> AsyncIterator[None]:
        self._waiting_alone += 1
        try:
            await self._until(lambda: not self._alone and not self._together)
            self._alone = True
        finally:
            self._waiting_alone -= 1
            self._notify()
        try:
            yield
        finally:
            self._alone = False
            self._notify()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._changed.wait()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
