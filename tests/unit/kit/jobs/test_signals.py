"""A wait that is woken and cancelled in the same moment."""

from __future__ import annotations

import asyncio

import pytest

from visionyard.kit.jobs.signals import signalled


async def test_a_cancellation_is_heard_in_the_moment_of_the_signal() -> None:
    woken, rounds = asyncio.Event(), []

    async def work() -> None:
        while len(rounds) < 3:
            woken.clear()
            rounds.append(1)
            await signalled(woken, 0.2)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    woken.set()
    task.cancel()  # the signal is on its way, and whoever waits for it has not run yet
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(rounds) == 1


async def test_it_ends_by_signal_or_by_time() -> None:
    woken = asyncio.Event()
    await signalled(woken, 0.001)
    woken.set()
    async with asyncio.timeout(5):
        await signalled(woken, 3600)
