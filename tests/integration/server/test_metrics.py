"""What is counted, under go-grpc-prometheus's names, in all four RPC shapes."""

import asyncio
import urllib.request

import grpc
import pytest
from prometheus_client import CollectorRegistry, Counter

from visionyard.kit.server.app import StartupError
from visionyard.kit.server.metrics_endpoint import MetricsEndpoint

SHAPES = ["unary", "client_stream", "server_stream", "bidi_stream"]
RECEIVED = {"unary": 1, "client_stream": 2, "server_stream": 1, "bidi_stream": 2}
SENT = {"unary": 1, "client_stream": 1, "server_stream": 3, "bidi_stream": 2}


@pytest.mark.parametrize("shape", SHAPES)
async def test_known_methods_begin_at_zero(serving, labels, shape):
    async with serving() as running:
        of = labels.of(shape)
        for name in (
            "grpc_server_started_total",
            "grpc_server_msg_received_total",
            "grpc_server_msg_sent_total",
            "grpc_server_handling_seconds_count",
        ):
            assert running.sample(name, **of) == 0
        assert running.sample("grpc_server_handled_total", grpc_code="OK", **of) == 0
        assert running.sample("grpc_server_handled_total", grpc_code="DeadlineExceeded", **of) == 0


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_good_call_and_a_refused_one_are_counted(serving, labels, shape):
    async with serving() as running:
        of = labels.of(shape)
        await running.call(shape)
        assert running.sample("grpc_server_msg_received_total", **of) == RECEIVED[shape]
        assert running.sample("grpc_server_msg_sent_total", **of) == SENT[shape]
        with pytest.raises(grpc.aio.AioRpcError):
            await running.call(shape, "yard")
        assert running.sample("grpc_server_started_total", **of) == 2
        assert running.sample("grpc_server_handled_total", grpc_code="OK", **of) == 1
        await running.becomes(1, "grpc_server_handled_total", grpc_code="InvalidArgument", **of)
        assert running.sample("grpc_server_handling_seconds_count", **of) == 2


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_call_that_the_client_breaks_off_is_counted_cancelled(serving, labels, shape):
    async with serving() as running:
        task = asyncio.create_task(running.call(shape, "sleep 60"))
        if shape == "bidi_stream":
            while running.sample("grpc_server_msg_received_total", **labels.of(shape)) == 0:
                await asyncio.sleep(0.01)
        else:
            await running.transfer.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            while running.sample("grpc_server_handled_total", grpc_code="Canceled", **labels.of(shape)) == 0:
                await asyncio.sleep(0.01)


async def test_a_stream_whose_client_is_gone_is_closed_at_once(serving, labels):
    """The handler is suspended in a write then, not in its own code; it must not wait for the garbage collector."""
    async with serving() as running:
        task = asyncio.create_task(running.call("server_stream", "ok", data=b"endless"))
        await running.transfer.entered.wait()
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            while "closed" not in running.transfer.seen:
                await asyncio.sleep(0.01)
        await running.becomes(1, "grpc_server_handled_total", grpc_code="Canceled", **labels.of("server_stream"))


def test_the_endpoint_gives_metrics_and_names_a_taken_address():
    registry = CollectorRegistry()
    Counter("visionyard_echo_things_total", "Things.", registry=registry).inc()
    with MetricsEndpoint(registry, "127.0.0.1:0") as endpoint:
        text = urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics").read().decode()
        assert "visionyard_echo_things_total 1.0" in text
        assert "process_resident_memory_bytes" in text
        with pytest.raises(StartupError, match=rf"127\.0\.0\.1:{endpoint.port}: it is in use.*VISIONYARD_METRICS_LISTEN"):
            MetricsEndpoint(CollectorRegistry(), f"127.0.0.1:{endpoint.port}").__enter__()
