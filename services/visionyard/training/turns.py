"""Work that takes much memory, a little at once: on threads of its own, and refused where it would wait for long."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from visionyard.kit.errors import Reason, YardError

ResultT = TypeVar("ResultT")
_RETRY_AFTER_S = 2.0


class Turns:
    """Lets a few calls run at once. Belongs to the event loop that uses it first.

    Args:
        executor: Their threads, used by nothing else, so that waiting calls take no thread from the others.
        at_once: How many run at once.
        wait_s: How long a call waits for its turn, in seconds.
        busy: The sentence for those that waited in vain.
    """

    def __init__(self, executor: Executor, at_once: int, wait_s: float, busy: str) -> None:
        self._executor = executor
        self._free = asyncio.Semaphore(at_once)
        self._wait_s = wait_s
        self._busy = busy

    async def take(self, work: Callable[[], ResultT]) -> ResultT:
        """Runs ``work`` in a thread. A call that is given up meanwhile keeps its turn until its thread is done.

        Raises:
            YardError: OVERLOADED, no turn came in time; or what ``work`` raises.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise YardError(Reason.OVERLOADED, self._busy, retry_after_s=_RETRY_AFTER_S) from None
        try:
            running = asyncio.get_running_loop().run_in_executor(self._executor, contextvars.copy_context().run, work)
        except BaseException:
            self._free.release()
            raise
        running.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(running)
