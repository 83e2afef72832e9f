"""A small room for the server's tests: one service of Visionyard's own with three RPC shapes, and one made here with the fourth.

What a call does is told by its first message's ``name``: ``ok``, ``yard``, ``crash``, ``store``, ``full``, ``sleep 0.5``, ... Run as a program it is a service.
"""

import asyncio
import errno
import gc
import os
import sys
from functools import partial

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool

from visionyard.kit.config import ServiceSettings, parse_command_line
from visionyard.kit.errors import FieldViolation, Reason, YardError
from visionyard.kit.objectstore.port import StoreFull, StoreUnavailable
from visionyard.kit.request_id import get_request_id
from visionyard.kit.server.builder import App, BackgroundTask, Service, StartupError, run
from visionyard.transfer.v1 import transfer_service_pb2 as pb
from visionyard.transfer.v1 import transfer_service_pb2_grpc as pb_grpc

TRANSFER = "visionyard.transfer.v1.TransferService"
ECHO = "visionyard.tests.v1.EchoService"
MESSAGES = 3


def declare_echo():
    """Puts the bidirectional test service into the descriptor pool, as generated code would."""
    file = descriptor_pb2.FileDescriptorProto(
        name="visionyard/tests/v1/echo.proto",
        package="visionyard.tests.v1",
        syntax="proto3",
        dependency=["visionyard/transfer/v1/transfer_service.proto"],
    )
    service = file.service.add(name="EchoService")
    for name in ("Echo", "WatchNothing"):
        service.method.add(
            name=name,
            input_type=".visionyard.transfer.v1.WriteUploadRequest",
            output_type=".visionyard.transfer.v1.ReadFileResponse",
            client_streaming=name == "Echo",
            server_streaming=True,
        )
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())


async def act(script, context):
    """Does what the script says; returns when the call is to go well."""
    word, _, rest = script.partition(" ")
    if word == "yard":
        raise YardError(Reason.INVALID_FIELD, "name: not so", {"field": "name"}, (FieldViolation("name", "not so"),), retry_after_s=1.5)
    if word == "huge":
        raise YardError(
            Reason.INVALID_FIELD, "界" * 100_000, {str(n): "界" * 9000 for n in range(99)}, (FieldViolation("f", "界" * 9000),) * 99
        )
    if word == "crash":
        raise RuntimeError("secret detail")
    if word == "store":
        raise StoreUnavailable("connect to 10.1.2.3 refused")
    if word == "full":
        raise StoreFull("507")
    if word == "disk":
        raise OSError(errno.ENOSPC, "No space left on device", "/private/path")
    if word == "group":
        async with asyncio.TaskGroup() as group:
            group.create_task(act("yard", context))
            group.create_task(asyncio.sleep(60))
    if word == "abort":
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "by hand")
    if word == "sleep":
        await asyncio.sleep(float(rest))


class Transfer(pb_grpc.TransferServiceServicer):
    """Records what it saw in ``seen``."""

    def __init__(self):
        self.seen = []
        self.entered = asyncio.Event()

    async def GetUpload(self, request, context):
        self.seen.append(("request_id", get_request_id()))
        self.entered.set()
        try:
            await act(request.name, context)
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        return pb.GetUploadResponse(upload=pb.Upload(name=get_request_id()))

    async def WriteUpload(self, request_iterator, context):
        received = 0
        async for request in request_iterator:
            if not received:
                self.entered.set()
                await act(request.name, context)
            received += 1
        return pb.WriteUploadResponse(upload=pb.Upload(name=get_request_id(), committed_bytes=received))

    async def ReadFile(self, request, context):
        self.entered.set()
        try:
            for number in range(MESSAGES):
                if number == MESSAGES - 1:
                    await act(request.name, context)
                yield pb.ReadFileResponse(offset=number, data=b"x" * request.offset)
            while request.path == "endless":
                yield pb.ReadFileResponse(data=b"x" * 65536)
        except BaseException as error:
            self.seen.append(type(error).__name__)
            raise
        finally:
            self.seen.append("closed")


class Echo:
    """The fourth shape, and a watch that never ends."""

    async def Echo(self, request_iterator, context):
        async for request in request_iterator:
            await act(request.name, context)
            yield pb.ReadFileResponse(offset=request.offset)

    async def WatchNothing(self, request, context):
        yield pb.ReadFileResponse()
        await asyncio.Event().wait()


def add_echo(servicer, server):
    types = {"request_deserializer": pb.WriteUploadRequest.FromString, "response_serializer": pb.ReadFileResponse.SerializeToString}
    handlers = {
        "Echo": grpc.stream_stream_rpc_method_handler(servicer.Echo, **types),
        "WatchNothing": grpc.unary_stream_rpc_method_handler(servicer.WatchNothing, **types),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ECHO, handlers),))


class Readiness:
    """A readiness that a test switches."""

    def __init__(self):
        self.error = None

    async def __call__(self):
        if self.error:
            raise self.error


def make_app(transfer, readiness, **options):
    services = [
        Service(TRANSFER, partial(pb_grpc.add_TransferServiceServicer_to_server, transfer)),
        Service(ECHO, partial(add_echo, Echo())),
    ]
    return App(services, readiness, **options)


class LoudTransfer(Transfer):
    """Says on stdout when a call has begun; knows the script ``frozen`` besides."""

    async def GetUpload(self, request, context):
        print("began", flush=True)
        if request.name == "frozen" and not gc.get_freeze_count():
            raise RuntimeError("the collector goes through what was imported")
        return await super().GetUpload(request, context)


async def build(settings, registry):
    """The program's app: the environment says what goes wrong."""
    if os.environ.get("ECHO_FAILS") == "startup":
        raise StartupError("the store at x keeps no conditional writes: use another")

    async def work():
        if os.environ.get("ECHO_FAILS") == "task":
            raise RuntimeError("a bug in the dispatcher")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("task cancelled", flush=True)
            raise

    async def close():
        print("closed", flush=True)
        if os.environ.get("ECHO_FAILS") == "thread":
            import time

            asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)

    return make_app(LoudTransfer(), Readiness(), tasks=[BackgroundTask("work", work)], close=close)


if __name__ == "__main__":
    declare_echo()
    sys.exit(run("echo", parse_command_line(ServiceSettings, "echo"), build))
