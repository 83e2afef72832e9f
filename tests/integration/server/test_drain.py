"""Health, reflection, and the way a service ends, within the process and with a real one."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from visionyard.kit.errors import Code, Reason, YardError
from visionyard.kit.objectstore.port import StoreUnavailable
from visionyard.kit.server.app import StartupError
from visionyard.kit.status import from_rpc_error
from visionyard.transfer.v1 import transfer_service_pb2 as pb
from visionyard.transfer.v1 import transfer_service_pb2_grpc as pb_grpc

PROGRAM = Path(__file__).with_name("echo_app.py")
TRANSFER = "visionyard.transfer.v1.TransferService"
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


async def check(channel, service=""):
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return answer.status


async def becomes(running, status):
    async with asyncio.timeout(10):
        while await check(running.channel) != status:
            await asyncio.sleep(0.01)


async def test_health_follows_readiness(serving):
    async with serving() as running:
        running.readiness.error = StoreUnavailable("away")
        await becomes(running, NOT_SERVING)
        assert await check(running.channel, TRANSFER) == NOT_SERVING
        assert await check(running.channel, "liveness") == SERVING
        assert running.sample("visionyard_echo_ready") == 0
        running.readiness.error = None
        await becomes(running, SERVING)
        assert await check(running.channel, TRANSFER) == SERVING
        assert running.sample("visionyard_echo_ready") == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(running.channel, "no.such.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_begins_as_not_serving(echo, serving):
    async def never():
        raise YardError(Reason.STORE_UNAVAILABLE, "not yet")

    async with serving() as running:
        health = type(running.server.health)([TRANSFER], never, lambda _: None)
        assert (health.status_of(""), health.status_of(TRANSFER), health.status_of("other")) == (NOT_SERVING, NOT_SERVING, None)


async def test_watchers_of_health_see_every_change_and_do_not_disturb_each_other(serving):
    async with serving() as running:
        await becomes(running, SERVING)
        stub = health_pb2_grpc.HealthStub(running.channel)
        one, two = (stub.Watch(health_pb2.HealthCheckRequest(service=TRANSFER)) for _ in range(2))
        assert (await one.read()).status == SERVING
        assert (await two.read()).status == SERVING
        one.cancel()
        running.readiness.error = StoreUnavailable("away")
        assert (await two.read()).status == NOT_SERVING
        running.readiness.error = None
        assert (await two.read()).status == SERVING
        strange = stub.Watch(health_pb2.HealthCheckRequest(service="no.such.Service"))
        assert (await strange.read()).status == UNKNOWN


async def test_reflection_lists_the_services(serving):
    async with serving() as running:
        stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        [answer] = [response async for response in call]
    names = {service.name for service in answer.list_services_response.service}
    assert {TRANSFER, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= names


async def test_stopping_withdraws_health_ends_watches_refuses_new_calls_and_lets_the_rest_finish(serving):
    async with serving(drain_s=5.0) as running:
        await becomes(running, SERVING)
        health = health_pb2_grpc.HealthStub(running.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await health.read()).status == SERVING
        watch = running.watch(pb.WriteUploadRequest())
        await watch.read()
        order = []
        unary = asyncio.create_task(running.call("unary", "sleep 1.5"))
        unary.add_done_callback(lambda _: order.append("unary"))
        await running.transfer.entered.wait()
        stopping = asyncio.create_task(running.stop())
        assert (await health.read()).status == NOT_SERVING
        order.append("health")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
        order.append("watch")
        received = from_rpc_error(caught.value)
        assert (received.code, received.reason, received.retry_after_s) == (Code.UNAVAILABLE, "SHUTTING_DOWN", 1.0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.call("unary")
        # gRPC's core itself cancels a call that reaches it between its own shutdown and the client's hearing of it; visionyard.client
        # takes that for a server that stops, as it does UNAVAILABLE (test_transport).
        assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        order.append("refused")
        [response], _ = await unary
        assert response.upload.name
        assert order == ["health", "watch", "refused", "unary"]
        await stopping


@pytest.mark.parametrize("shape", ["unary", "client_stream", "server_stream", "bidi_stream"])
async def test_what_does_not_finish_within_the_drain_is_told_why(serving, shape):
    async with serving(drain_s=0.3) as running:
        task = asyncio.create_task(running.call(shape, "sleep 60"))
        await asyncio.sleep(0.3)
        await running.stop()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await task
        assert from_rpc_error(caught.value).reason == "SHUTTING_DOWN"


async def test_a_taken_address_is_named(serving):
    async with serving() as running:
        with pytest.raises(StartupError, match=rf"gRPC cannot listen on 127\.0\.0\.1:{running.server.port}.*VISIONYARD_LISTEN"):
            async with serving(listen=f"127.0.0.1:{running.server.port}"):
                pass


class Program:
    """The small service as a process of its own."""

    def __init__(self, folder, **environment):
        folder.mkdir()
        self.log = (folder / "log").open("w+")
        self.out = (folder / "out").open("w+")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        variables = {
            "VISIONYARD_LISTEN": self.address,
            "VISIONYARD_METRICS_LISTEN": "127.0.0.1:0",
            "VISIONYARD_S3_ENDPOINT": "127.0.0.1:1",
            "VISIONYARD_S3_ACCESS_KEY": "key",
            "VISIONYARD_S3_SECRET_KEY": "hidden-secret",
            "PYTHONPATH": os.pathsep.join(sys.path),
            **environment,
        }
        self.process = subprocess.Popen([sys.executable, PROGRAM], env={**os.environ, **variables}, stdout=self.out, stderr=self.log)

    def lines(self):
        self.log.seek(0)
        return [json.loads(line) for line in self.log.read().splitlines() if line.startswith("{")]  # gRPC's core may add lines of its own

    def output(self):
        self.out.seek(0)
        return self.out.read().split("\n")[:-1]

    def end(self, seconds=20):
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def program(tmp_path):
    started = []

    def start(**environment):
        started.append(Program(tmp_path / str(len(started)), **environment))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        one.log.close()
        one.out.close()


async def connected(program):
    channel = grpc.aio.insecure_channel(program.address)
    async with asyncio.timeout(30):
        await channel.channel_ready()
        while await check(channel) != SERVING:
            await asyncio.sleep(0.05)
    return channel


async def began(program):
    async with asyncio.timeout(20):
        while "began" not in program.output():
            await asyncio.sleep(0.02)


async def get_upload(channel, script):
    return await pb_grpc.TransferServiceStub(channel).GetUpload(pb.GetUploadRequest(name=script))


async def test_sigterm_withdraws_health_lets_a_call_finish_and_ends_with_0(program):
    server = program()
    channel = await connected(server)
    health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert (await health.read()).status == SERVING
    call = asyncio.create_task(get_upload(channel, "sleep 3"))
    await began(server)
    server.process.send_signal(signal.SIGTERM)
    assert (await health.read()).status == NOT_SERVING
    assert not call.done()
    assert (await call).upload.name
    assert await asyncio.to_thread(server.end) == 0
    assert server.output() == ["began", "task cancelled", "closed"]
    messages = [line["message"] for line in server.lines()]
    assert [text for text in messages if text in {"ready", "listening", "stopping", "stopped"}] == [
        "listening",
        "ready",
        "stopping",
        "stopped",
    ]
    assert any(text.startswith("GetUpload OK") for text in messages)
    await channel.close()


async def test_a_service_keeps_what_it_imported_from_the_garbage_collector(program):
    """Which would stop every thread of the process for 35 ms whenever some thousand objects were made: docs/performance.md."""
    channel = await connected(program())
    await get_upload(channel, "frozen")
    await channel.close()


async def test_a_server_killed_during_an_upload_is_unavailable(program):
    server = program()
    channel = await connected(server)
    sent = asyncio.Event()

    async def chunks():
        while True:
            yield pb.WriteUploadRequest(name="ok", data=b"x" * 1_000_000)
            sent.set()

    call = asyncio.ensure_future(pb_grpc.TransferServiceStub(channel).WriteUpload(chunks()))
    await sent.wait()
    server.process.kill()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert from_rpc_error(caught.value).code is Code.UNAVAILABLE
    await channel.close()


async def test_a_second_signal_ends_the_drain(program):
    server = program(VISIONYARD_DRAIN_S="60")
    channel = await connected(server)
    call = asyncio.create_task(get_upload(channel, "sleep 60"))
    await began(server)
    server.process.send_signal(signal.SIGINT)
    async with asyncio.timeout(20):
        while not any(line["message"] == "stopping" for line in server.lines()):
            await asyncio.sleep(0.02)
    server.process.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(server.end) == 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert from_rpc_error(caught.value).reason == "SHUTTING_DOWN"
    await channel.close()


def test_a_background_task_that_dies_takes_the_process_with_it(program):
    server = program(ECHO_FAILS="task")
    assert server.end() == 1
    [line] = [line for line in server.lines() if line["level"] == "CRITICAL"]
    assert "background task work ended" in line["message"]
    assert "a bug in the dispatcher" in line["exception"]


def test_a_service_that_cannot_start_says_why_in_one_line(program):
    server = program(ECHO_FAILS="startup")
    assert server.end() == 1
    [line] = server.lines()
    assert line["message"] == "the store at x keeps no conditional writes: use another"
    assert "exception" not in line


async def test_two_servers_do_not_share_a_port(program):
    first = program()
    channel = await connected(first)
    second = program(VISIONYARD_LISTEN=first.address)
    assert second.end() == 1
    assert f"cannot listen on {first.address}" in second.lines()[-1]["message"]
    await channel.close()


async def test_a_blocking_call_that_hangs_does_not_hold_up_the_end(program):
    server = program(ECHO_FAILS="thread")
    channel = await connected(server)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.end, 30) == 0
    assert time.monotonic() - began < 15
    await channel.close()


def test_wrong_settings_and_help(program):
    server = program(VISIONYARD_S3_ENDPOINT="")
    assert server.end() == 2
    server.log.seek(0)
    text = server.log.read()
    assert "VISIONYARD_S3_ENDPOINT is not set" in text
    assert "hidden-secret" not in text
    text = subprocess.run(
        [sys.executable, PROGRAM, "--help"], env={"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=True
    ).stdout
    assert "VISIONYARD_S3_ENDPOINT  (required)" in text
