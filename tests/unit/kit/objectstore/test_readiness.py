"""A store that keeps its conditional writes is waited for; one that does not ends the service."""

import asyncio

import pytest

from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import StoreUnavailable
from visionyard.kit.objectstore.probe import StoreUnfitError
from visionyard.kit.objectstore.readiness import StoreReadiness
from visionyard.kit.server.health import Health


class Overwriting(MemoryObjectStore):
    """As MinIO was before 2025-09: a create overwrites."""

    def create(self, key, data):
        return self.put(key, data)


class Away(MemoryObjectStore):
    def create(self, key, data):
        raise StoreUnavailable("the store does not answer")


async def polled(store, seconds):
    health = Health(["a"], StoreReadiness(store).ready, lambda _: None)
    return await asyncio.wait_for(health.poll(0.01), seconds)


async def test_an_unfit_store_ends_the_service():
    with pytest.raises(StoreUnfitError):
        await polled(Overwriting(), 20)


async def test_a_store_that_is_away_is_waited_for():
    with pytest.raises(TimeoutError):
        await polled(Away(), 0.3)


async def test_dispatching_begins_only_when_the_writes_were_found_to_hold():
    readiness, began = StoreReadiness(MemoryObjectStore()), asyncio.Event()

    async def dispatch():
        began.set()

    task = asyncio.create_task(readiness.then(dispatch))
    await asyncio.sleep(0.05)
    assert not began.is_set()
    await readiness.ready()
    await asyncio.wait_for(task, 20)
    assert began.is_set()
