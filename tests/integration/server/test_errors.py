"""What a client sees of what a handler raises, in all four RPC shapes."""

import json
import logging

import grpc
import pytest

from visionyard.kit.errors import Code, FieldViolation
from visionyard.kit.status import from_rpc_error

SHAPES = ["unary", "client_stream", "server_stream", "bidi_stream"]


async def refusal(running, shape, script, **options):
    """The error of a call. One message only: grpc.aio's client says INTERNAL by itself where it still sends while the server refuses."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.call(shape, script, messages=1, **options)
    return caught.value


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_yard_error_arrives_whole(serving, shape):
    async with serving() as running:
        error = await refusal(running, shape, "yard", metadata=(("x-request-id", "r-1"),))
    received = from_rpc_error(error)
    assert received.code is Code.INVALID_ARGUMENT
    assert received.reason == "INVALID_FIELD"
    assert received.message == "name: not so"
    assert received.metadata == {"field": "name"}
    assert received.violations == (FieldViolation("name", "not so"),)
    assert received.retry_after_s == 1.5
    assert dict(error.trailing_metadata())["x-request-id"] == "r-1"


async def test_the_largest_error_there_can_be_arrives(serving):
    async with serving() as running:
        received = from_rpc_error(await refusal(running, "unary", "huge"))
    assert (received.reason, len(received.message)) == ("INVALID_FIELD", 2000)
    assert received.violations


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_unexpected_error_tells_the_request_id_and_nothing_else(serving, shape, caplog):
    async with serving() as running:
        with caplog.at_level(logging.INFO):
            error = await refusal(running, shape, "crash", metadata=(("x-request-id", "r-2"),))
    received = from_rpc_error(error)
    assert (received.code, received.reason, received.metadata) == (Code.INTERNAL, "INTERNAL", {"request_id": "r-2"})
    assert "secret detail" not in str(error)
    assert "RuntimeError" not in str(error)
    [record] = [record for record in caplog.records if record.exc_info]
    assert "secret detail" in str(record.exc_info[1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("script", "code", "reason", "metadata"),
    [
        ("store", Code.UNAVAILABLE, "STORE_UNAVAILABLE", {"endpoint": "store.example:9000"}),
        ("full", Code.RESOURCE_EXHAUSTED, "DISK_FULL", {"path": "store"}),
        ("disk", Code.RESOURCE_EXHAUSTED, "DISK_FULL", {"path": "server"}),
        ("group", Code.INVALID_ARGUMENT, "INVALID_FIELD", {"field": "name"}),
    ],
)
async def test_known_failures_get_their_reason(serving, shape, script, code, reason, metadata):
    async with serving() as running:
        received = from_rpc_error(await refusal(running, shape, script))
    assert (received.code, received.reason, received.metadata) == (code, reason, metadata)
    assert "10.1.2.3" not in received.message
    assert "/private" not in received.message


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_handlers_own_abort_passes(serving, shape):
    async with serving() as running:
        error = await refusal(running, shape, "abort")
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "by hand")


@pytest.mark.parametrize("shape", SHAPES)
async def test_calls_go_well_and_bring_back_the_request_id(serving, shape):
    async with serving() as running:
        responses, trailing = await running.call(shape, metadata=(("x-request-id", "r-3"),))
    assert len(responses) == {"unary": 1, "client_stream": 1, "server_stream": 3, "bidi_stream": 2}[shape]
    assert trailing["x-request-id"] == "r-3"
    if shape in {"unary", "client_stream"}:
        assert responses[0].upload.name == "r-3"


async def test_a_request_id_that_is_none_is_replaced(serving):
    async with serving() as running:
        [response], trailing = await running.call("unary", metadata=(("x-request-id", 'a"b\\nc'),))
    assert len(trailing["x-request-id"]) == 36
    assert response.upload.name == trailing["x-request-id"]


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_line_a_call(serving, shape, caplog):
    with caplog.at_level(logging.INFO, "visionyard.calls"):
        async with serving() as running:  # its end waits for the calls', so both lines are written
            await running.call(shape, metadata=(("x-request-id", "r-4"),))
            await refusal(running, shape, "yard")
    good, bad = [record for record in caplog.records if record.name == "visionyard.calls"]
    assert (good.code, bad.code, bad.reason) == ("OK", "INVALID_ARGUMENT", "INVALID_FIELD")
    assert good.method.startswith("/visionyard.")
    assert good.duration_ms > 0
    assert good.peer.startswith("ipv4:127.0.0.1:")
    json.dumps([good.code, good.method, good.duration_ms, good.peer])


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_request_above_the_limit_is_told_so(serving, shape):
    async with serving() as running:
        error = await refusal(running, shape, "x" * 70_000)
    received = from_rpc_error(error)
    assert (received.code, received.reason, received.metadata["limit_bytes"]) == (Code.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", "65536")
    assert int(received.metadata["size_bytes"]) > 70_000


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_request_above_grpcs_own_limit_gets_the_same_reason(serving, shape):
    async with serving() as running:
        error = await refusal(running, shape, "x" * (18 * 1024 * 1024))
        received = from_rpc_error(error)
        assert (received.code, received.reason) == (Code.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE")
        await running.call("unary")  # and the connection lives


async def test_a_call_that_ends_while_the_client_still_sends_is_no_internal_error(serving):
    """grpc.aio's client makes an INTERNAL of it by itself, now and then."""
    async with serving() as running:
        codes = set()
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.call("bidi_stream", "x" * (18 * 1024 * 1024), messages=3)
            codes.add(from_rpc_error(caught.value).code)
    assert codes <= {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED}


@pytest.mark.parametrize("shape", SHAPES)
async def test_bytes_that_are_no_message_are_refused(serving, shape):
    async with serving() as running:
        method = {
            "unary": "/visionyard.transfer.v1.TransferService/GetUpload",
            "client_stream": "/visionyard.transfer.v1.TransferService/WriteUpload",
            "server_stream": "/visionyard.transfer.v1.TransferService/ReadFile",
            "bidi_stream": "/visionyard.tests.v1.EchoService/Echo",
        }[shape]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in running.channel.stream_stream(method)(iter([b"\xff\xff\xff"])):
                pass
    received = from_rpc_error(caught.value)
    assert (received.code, received.reason) == (Code.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_an_unknown_method_is_unimplemented(serving):
    async with serving() as running:
        for path in ("/no.such.Service/Method", "/visionyard.transfer.v1.TransferService/NoSuch"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.channel.unary_unary(path)(b"")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        await running.becomes(
            2, "grpc_server_handled_total", grpc_type="unknown", grpc_service="unknown", grpc_method="unknown", grpc_code="Unimplemented"
        )
