"""Deadlines, in all four RPC shapes."""

import time

import grpc
import pytest

from visionyard.kit.errors import Code
from visionyard.kit.server.interceptors import deadlines
from visionyard.kit.status import from_rpc_error

SHAPES = ["unary", "client_stream", "server_stream", "bidi_stream"]


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_server_says_so_before_the_clients_clock_runs_out(serving, labels, shape, monkeypatch):
    monkeypatch.setattr(deadlines, "RETURN_RESERVE_S", 1.0)  # its 20 ms are too few where other tests use the processor too
    async with serving() as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.call(shape, "sleep 60", timeout=1.5)
        received = from_rpc_error(caught.value)
        assert (received.code, received.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        await running.becomes(1, "grpc_server_handled_total", grpc_code="DeadlineExceeded", **labels.of(shape))


async def test_work_that_cannot_finish_is_not_begun(serving):
    async with serving() as running:
        await running.call("unary")
        running.transfer.seen.clear()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.call("unary", timeout=0.025)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert running.transfer.seen == []


async def test_a_unary_call_without_a_deadline_gets_one(serving):
    async with serving(unary_timeout_s=0.2) as running:
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.call("unary", "sleep 60")
        assert from_rpc_error(caught.value).reason == "DEADLINE_EXCEEDED"
        assert time.monotonic() - began < 10
        assert "cancelled" in running.transfer.seen


@pytest.mark.parametrize("shape", ["client_stream", "server_stream", "bidi_stream"])
async def test_a_stream_without_a_deadline_gets_none(serving, shape):
    async with serving(unary_timeout_s=0.1) as running:
        responses, _ = await running.call(shape, "sleep 0.4")
        assert responses
