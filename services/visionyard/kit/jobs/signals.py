"""Waiting for a signal, but no longer than so long."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def signalled(event: asyncio.Event, seconds: float) -> None:
    """Waits until an event is set, or for so many seconds.

    Not by ``asyncio.wait_for``: in Python 3.11 that swallows a cancellation which comes in the moment in which the event is set
    (https://github.com/python/cpython/issues/86296), and whoever waits for the cancelled task waits for ever.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
