"""What the reconciler does in which order when the service starts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry
from tests.unit.inference.test_deployments import NAME, artifact, version, wanted
from tests.unit.inference.test_loader import Directories, Server

from visionyard.inference.deployments import Deployments
from visionyard.inference.loader import Loader
from visionyard.inference.metrics import Metrics
from visionyard.inference.reconciler import Reconciler
from visionyard.inference.serving import ServingTable
from visionyard.kit.artifacts.exported import Artifact
from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.memory import MemoryObjectStore


class SlowlyCleared(Directories):
    """A repository on a slow disk."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def clear_staging(self) -> None:
        time.sleep(0.2)
        self.done.append("cleared")

    def write(self, model: str, artifact: Artifact, fetch: Callable[[Path], None]) -> None:
        self.done.append("written")


async def test_nothing_is_written_before_what_an_earlier_service_left_is_cleared_away() -> None:
    store, repository, triton = MemoryObjectStore(), SlowlyCleared(), Server({})
    of = version(store, 1)
    deployments = Deployments(store, Documents(store))
    deployments.create(NAME, wanted(of, artifact(store, of, "a")), "")
    loader = Loader(store, repository, triton, 5.0)
    reconciler = Reconciler(deployments, loader, repository, triton, ServingTable(), Metrics(CollectorRegistry()), 0.05)
    await reconciler.refresh(NAME)  # a request that comes before the service has begun to reconcile
    running = asyncio.create_task(reconciler.run())
    try:
        async with asyncio.timeout(10):
            while "written" not in repository.done or not reconciler.ready:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.4)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert repository.done.count("cleared") == 1
    assert repository.done[0] == "cleared"
