"""A real Triton for the tests of the inference room, and the room itself over it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from visionyard.inference.app import Room, wire
from visionyard.inference.config import InferenceSettings
from visionyard.inference.deployment import Wanted
from visionyard.inference.serving import DeploymentState
from visionyard.kit.artifacts.exported import Artifact
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.vision.letterbox import LetterboxMode
from visionyard.local import triton as embedded
from visionyard.local.leftovers import STACK_ID_VARIABLE

DEPLOYMENT = ResourceName("default", "deployments", "front-door")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Triton:
    """A tritonserver that tests may kill and start again on the same port."""

    folder: Path
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    stack_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen[bytes] | None = None

    @property
    def repository(self) -> Path:
        return self.folder / "models"

    def start(self) -> None:
        self.repository.mkdir(exist_ok=True)
        installation = embedded.find_triton()
        embedded.remove_remains(self.stack_id)
        embedded.make_backends(installation, self.folder)
        ports = {"triton": self.port, "triton.metrics": self.metrics_port}
        command = embedded.command(installation, self.folder, self.repository, ports, self.stack_id)
        environment = os.environ | embedded.environment(installation) | {STACK_ID_VARIABLE: self.stack_id}
        with (self.folder / "triton.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 30
        with InferenceServerClient(f"127.0.0.1:{self.port}") as client:
            while True:
                with contextlib.suppress(InferenceServerException):
                    if client.is_server_ready(client_timeout=1):
                        return
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "triton.log").read_text()[-2000:])
                time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)


@pytest.fixture(scope="session")
def one_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    server = Triton(tmp_path_factory.mktemp("triton"))
    yield server
    if server.process is not None:
        server.kill()
    embedded.remove_remains(server.stack_id)


@pytest.fixture
def triton(one_triton: Triton) -> Triton:
    """One Triton for all tests; what an earlier test has deployed is cleared away by the next one's room."""
    if one_triton.process is None or one_triton.process.poll() is not None:
        one_triton.start()
    return one_triton


@pytest.fixture
def settings(triton: Triton) -> InferenceSettings:
    return InferenceSettings(
        s3_endpoint="127.0.0.1:1",
        s3_access_key="unused",
        s3_secret_key="unused",
        triton_url=f"127.0.0.1:{triton.port}",
        model_repository=triton.repository,
        triton_backend="python",
        poll_interval_s=0.2,
    )


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


@contextlib.asynccontextmanager
async def running(settings: InferenceSettings, store: MemoryObjectStore) -> AsyncIterator[Room]:
    """The room, with its reconciler at work."""
    room = wire(settings, CollectorRegistry(), store)
    reconciling = asyncio.create_task(room.reconciler.run())
    try:
        yield room
    finally:
        reconciling.cancel()
        await asyncio.gather(reconciling, return_exceptions=True)
        await room.close()


@pytest.fixture
async def room(settings: InferenceSettings, store: MemoryObjectStore) -> AsyncIterator[Room]:
    async with running(settings, store) as made:
        yield made


async def eventually(holds: Callable[[], bool | Awaitable[bool]], within_s: float = 30.0) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + within_s
    while True:
        outcome = holds()
        if outcome if isinstance(outcome, bool) else await outcome:
            return
        assert time.monotonic() < deadline, "it did not come to hold in time"
        await asyncio.sleep(0.02)


async def deploy(room: Room, artifact: Artifact, name: ResourceName = DEPLOYMENT, letterbox: LetterboxMode = LetterboxMode.RECT) -> None:
    """Makes a deployment and waits until it serves."""
    await asyncio.to_thread(room.deployments.create, name, Wanted(artifact.name.version, artifact.name, letterbox), "")
    await serves(room, artifact, name)


async def serves(room: Room, artifact: Artifact, name: ResourceName = DEPLOYMENT) -> None:
    """Waits until a deployment serves an artifact."""
    await room.reconciler.refresh(name)

    def ready() -> bool:
        alias, deployment = room.table.get(name), room.reconciler.deployment(name)
        return (
            alias is not None
            and deployment is not None
            and alias.state(deployment.wanted.id) is DeploymentState.READY
            and alias.served is not None
            and alias.served.artifact.name == artifact.name
        )

    await eventually(ready)


def picture(width: int = 96, height: int = 64, brightness: int = 204) -> bytes:
    """A plain JPEG."""
    encoded, data = cv2.imencode(".jpg", np.full((height, width, 3), brightness, np.uint8))
    assert encoded
    return data.tobytes()
