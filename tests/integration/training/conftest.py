"""The training room over a real SeaweedFS, with real workers."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from visionyard.kit.jobs import joblog
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.model import Job, JobKind
from visionyard.kit.names import ProjectName
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.training.arguments import ArgumentTable
from visionyard.training.notifications.outbox import Outbox
from visionyard.training.trainings import Trainings
from visionyard.training.ultralytics_facts import UltralyticsFacts

sys.path.insert(0, str(Path(__file__).parent))

PROJECT = ProjectName("default")


@pytest.fixture(scope="session")
def table() -> ArgumentTable:
    return UltralyticsFacts().table()


class Room:
    """The use cases, and hands for the queue."""

    def __init__(self, store: ObjectStore, table: ArgumentTable, work_dir: Path) -> None:
        self.store = store
        self.outbox = Outbox(store)
        self.trainings = Trainings(store, lambda: table, self.outbox)
        self.work_dir = work_dir

    @asynccontextmanager
    async def dispatching(self) -> AsyncIterator[None]:
        slots = [{"CUDA_VISIBLE_DEVICES": ""}]
        dispatcher = Dispatcher(
            self.store, JobKind.TRAINING, "visionyard.training.worker", slots, self.work_dir, lease_s=6.0, poll_s=0.1, events=self.outbox
        )
        task = asyncio.create_task(dispatcher.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            for process in self.workers():
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def log(self, job: Job) -> str:
        """What the workers of a job have printed so far."""
        return b"".join(data for _, data in joblog.LogReader(self.store, job.name, 0).read(job.attempt)).decode(errors="replace")

    def workers(self) -> list[psutil.Process]:
        """Every process that a worker of this room is or has started."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("VISIONYARD_WORKER_SCRATCH", "").startswith(str(self.work_dir)):
                    found.append(process)
        return found

    async def until(self, condition: Callable[[], Any], seconds: float) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := await asyncio.to_thread(condition):
                return value
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within {seconds} s")


@pytest.fixture
def room(
    s3_store: ObjectStore, seaweed_settings: dict[str, str], table: ArgumentTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Room:
    for name, value in seaweed_settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VISIONYARD_HEARTBEAT_S", "0.5")
    monkeypatch.setenv("VISIONYARD_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    return Room(s3_store, table, tmp_path)
