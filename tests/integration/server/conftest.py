"""A server of the kit on a free port, and one way to call any of the four RPC shapes."""

import asyncio
import importlib.util
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry

from visionyard.kit.config import ServiceSettings
from visionyard.kit.server.builder import RunningServer
from visionyard.transfer.v1 import transfer_service_pb2 as pb
from visionyard.transfer.v1 import transfer_service_pb2_grpc as pb_grpc

HERE = Path(__file__).parent
SHAPES = ["unary", "client_stream", "server_stream", "bidi_stream"]


@pytest.fixture(scope="session")
def echo():
    """The module of the small room; its test service is declared once a process."""
    specification = importlib.util.spec_from_file_location("echo_app", HERE / "echo_app.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["echo_app"] = module
    specification.loader.exec_module(module)
    module.declare_echo()
    return module


@dataclass
class Running:
    """A server under test."""

    server: RunningServer
    transfer: object
    readiness: object
    registry: CollectorRegistry
    channel: grpc.aio.Channel
    settings: ServiceSettings

    def sample(self, name, **labels):
        value = self.registry.get_sample_value(name, labels)
        assert value is not None, f"there is no {name}{labels}"
        return value

    async def becomes(self, expected, name, **labels):
        """Waits for a metric: a client may see a refusal before the server has counted it."""
        async with asyncio.timeout(5):
            while self.sample(name, **labels) != expected:
                await asyncio.sleep(0.005)

    async def call(self, shape, script="ok", *, messages=2, data=b"", **options):
        """One call of the shape; returns its responses and the trailing metadata, or raises AioRpcError."""
        stub = pb_grpc.TransferServiceStub(self.channel)
        requests = [pb.WriteUploadRequest(name=script, offset=number, data=data) for number in range(messages)]
        if shape == "unary":
            call = stub.GetUpload(pb.GetUploadRequest(name=script + data.decode()), **options)
            return [await call], dict(await call.trailing_metadata())
        if shape == "client_stream":
            call = stub.WriteUpload(iter(requests), **options)
            return [await call], dict(await call.trailing_metadata())
        if shape == "server_stream":
            call = stub.ReadFile(pb.ReadFileRequest(name=script, path=data.decode()), **options)
        else:
            call = self.echo(iter(requests), **options)
        responses = [response async for response in call]
        return responses, dict(await call.trailing_metadata())

    @property
    def echo(self):
        return self.channel.stream_stream(
            "/visionyard.tests.v1.EchoService/Echo", pb.WriteUploadRequest.SerializeToString, pb.ReadFileResponse.FromString
        )

    @property
    def watch(self):
        return self.channel.unary_stream(
            "/visionyard.tests.v1.EchoService/WatchNothing", pb.WriteUploadRequest.SerializeToString, pb.ReadFileResponse.FromString
        )


@dataclass
class Labels:
    """The metrics' labels of each shape's method."""

    by_shape: dict = field(
        default_factory=lambda: {
            "unary": ("visionyard.transfer.v1.TransferService", "GetUpload"),
            "client_stream": ("visionyard.transfer.v1.TransferService", "WriteUpload"),
            "server_stream": ("visionyard.transfer.v1.TransferService", "ReadFile"),
            "bidi_stream": ("visionyard.tests.v1.EchoService", "Echo"),
        }
    )

    def of(self, shape):
        service, method = self.by_shape[shape]
        return {"grpc_type": shape, "grpc_service": service, "grpc_method": method}


@pytest.fixture
def labels():
    return Labels()


def make_settings(**changes):
    values = {
        "listen": "127.0.0.1:0",
        "metrics_listen": "127.0.0.1:0",
        "s3_endpoint": "store.example:9000",
        "s3_access_key": "the-access-key",
        "s3_secret_key": "the-secret-key",
        "health_interval_s": 0.05,
        "max_request_bytes": 65_536,
        "drain_s": 2.0,
    }
    return ServiceSettings(**{**values, **changes})


@pytest.fixture
def serving(echo):
    """An asynchronous context: ``async with serving(drain_s=1.0) as running``."""

    @asynccontextmanager
    async def start(app=None, **changes):
        settings = make_settings(**changes)
        registry = CollectorRegistry()
        transfer, readiness = echo.Transfer(), echo.Readiness()
        server = RunningServer("echo", settings, echo.make_app(transfer, readiness, **(app or {})), registry)
        await server.start()
        hurry = asyncio.Event()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.max_metadata_size", 65_536)])
        stopped = []
        running = Running(server, transfer, readiness, registry, channel, settings)
        running.stop = lambda: stopped.append(1) or server.stop(hurry)
        try:
            yield running
        finally:
            await channel.close()
            if not stopped:
                hurry.set()
                await server.stop(hurry)

    return start
