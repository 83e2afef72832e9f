"""One grpc.aio interceptor that runs layers around every call, right for all four RPC shapes.

grpc.aio's own way, an interceptor wrapping the handler of the next, means one more async generator for each interceptor of a stream, and
a stream whose client has gone leaves them suspended until the garbage collector finds them: counts and log lines come late or out of
order. So there is one wrapper, which sends a stream's messages by ``context.write`` itself; whatever happens, also a client that is gone in the midst
of a write, is raised inside the layers.

Handlers are coroutines (one response) or async generators (many). Wrappers must be real coroutine functions: grpc.aio looks.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import grpc.aio

from visionyard.kit.errors import Code
from visionyard.kit.server.interceptors.requests import RefusedRequest, guarded

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Method:
    """A method as its path and handler tell it.

    Attributes:
        path: ``/visionyard.dataset.v1.DatasetService/GetDataset``.
        client_streaming: Whether it takes a stream.
        server_streaming: Whether it answers with a stream.
        known: Whether there is such a method here; strangers may ask for anything.
    """

    path: str
    client_streaming: bool
    server_streaming: bool
    known: bool = True

    @property
    def service(self) -> str:
        """``visionyard.dataset.v1.DatasetService``."""
        return self.path.rpartition("/")[0].lstrip("/")

    @property
    def name(self) -> str:
        """``GetDataset``."""
        return self.path.rpartition("/")[2]

    @property
    def streaming(self) -> bool:
        """Whether any side streams."""
        return self.client_streaming or self.server_streaming


@dataclass
class Call:
    """A call on its way through the layers.

    Attributes:
        method: What was called.
        context: grpc.aio's.
        metadata: What came with it, the last value of each key.
        request_id: Set by the outermost layer.
        reason: The name of the reason it was refused for, for the log.
    """

    method: Method
    context: Context
    metadata: Mapping[str, str | bytes] = field(default_factory=dict)
    request_id: str = ""
    reason: str = ""

    def time_remaining_s(self) -> float | None:
        """Seconds to its deadline; None where it has none, though types-grpcio promises a float."""
        return cast("float | None", self.context.time_remaining())


class Tap:
    """What a layer wants to see of a call's messages; sees nothing as it is."""

    def received(self, message: Any) -> None:
        """A request message has come; raises to refuse it."""

    def sent(self) -> None:
        """A response message is about to go."""


class Layer(abc.ABC):
    """Something that happens around every call."""

    @abc.abstractmethod
    def around(self, call: Call) -> AbstractAsyncContextManager[Tap]:
        """Entered before the handler runs, left after its last message; exceptions of the handler and of inner layers come through it."""


def outcome(call: Call, error: BaseException | None) -> Code:
    """With what code a call ended, seen from a layer around the errors' one.

    Anything but an abort is a client (or this server's end) that broke the call off; when its deadline had passed, that is why.
    """
    if error is None:
        return _code(call.context.code())
    if isinstance(error, grpc.aio.AbortError):
        return _code(call.context.code())
    remaining = call.time_remaining_s()
    return Code.DEADLINE_EXCEEDED if remaining is not None and remaining <= 0 else Code.CANCELLED


def _code(code: Any) -> Code:
    """``context.code()`` is None as long as nobody set one."""
    return Code(code.value[0]) if isinstance(code, grpc.StatusCode) else Code.OK


class CallChain(grpc.aio.ServerInterceptor):
    """Runs layers around every call.

    Args:
        layers: The outermost first.
        max_request_bytes: The largest request message that is taken.
    """

    def __init__(self, layers: Sequence[Layer], max_request_bytes: int) -> None:
        self._layers = tuple(layers)
        self._max_request_bytes = max_request_bytes

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Wraps the handler; see grpc.aio.ServerInterceptor."""
        handler: Any = await continuation(handler_call_details)
        path = handler_call_details.method
        metadata = dict(handler_call_details.invocation_metadata)
        if handler is None:
            method = Method("/unknown/unknown", client_streaming=True, server_streaming=True, known=False)
            return grpc.stream_stream_rpc_method_handler(self._many(method, metadata, _unimplemented))
        method = Method(path, handler.request_streaming, handler.response_streaming)
        deserializer = guarded(handler.request_deserializer, self._max_request_bytes)
        make: Callable[..., Any]
        if handler.request_streaming and handler.response_streaming:
            make, behavior = grpc.stream_stream_rpc_method_handler, self._many(method, metadata, handler.stream_stream)
        elif handler.request_streaming:
            make, behavior = grpc.stream_unary_rpc_method_handler, self._one(method, metadata, handler.stream_unary)
        elif handler.response_streaming:
            make, behavior = grpc.unary_stream_rpc_method_handler, self._many(method, metadata, handler.unary_stream)
        else:
            make, behavior = grpc.unary_unary_rpc_method_handler, self._one(method, metadata, handler.unary_unary)
        wrapped: grpc.RpcMethodHandler[Any, Any] = make(behavior, deserializer, handler.response_serializer)
        return wrapped

    def _one(self, method: Method, metadata: Mapping[str, str | bytes], behavior: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """Around a handler that gives one response."""

        async def call_one(request: Any, context: Context) -> Any:
            async with AsyncExitStack() as stack:
                call = Call(method, context, metadata)
                taps = [await stack.enter_async_context(layer.around(call)) for layer in self._layers]
                request = await self._open(stack, method, request, taps)
                response = await behavior(request, context)
                for tap in taps:
                    tap.sent()
                return response

        return call_one

    def _many(self, method: Method, metadata: Mapping[str, str | bytes], behavior: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
        """Around a handler that gives a stream."""

        async def call_many(request: Any, context: Context) -> None:
            async with AsyncExitStack() as stack:
                call = Call(method, context, metadata)
                taps = [await stack.enter_async_context(layer.around(call)) for layer in self._layers]
                request = await self._open(stack, method, request, taps)
                if not inspect.isasyncgenfunction(behavior):
                    raise TypeError(f"the handler of {method.path} is no async generator function")
                responses = await stack.enter_async_context(aclosing(behavior(request, context)))
                async for response in responses:
                    for tap in taps:
                        tap.sent()
                    await context.write(response)

        return call_many

    async def _open(self, stack: AsyncExitStack, method: Method, request: Any, taps: Sequence[Tap]) -> Any:
        """The request, or the stream of requests, as the handler sees it: counted, and refused where it could not be read."""
        if method.client_streaming:
            return await stack.enter_async_context(aclosing(_counted(request, taps)))
        return _accepted(request, taps)


def _accepted(request: Any, taps: Sequence[Tap]) -> Any:
    for tap in taps:
        tap.received(request)
    if isinstance(request, RefusedRequest):
        raise request.error
    return request


async def _counted(requests: Any, taps: Sequence[Tap]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _accepted(request, taps)


async def _unimplemented(_: Any, context: Context) -> AsyncIterator[Any]:
    nothing: tuple[bytes, ...] = ()
    for message in nothing:  # an async generator, as handlers of streams are
        yield message
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method on this server")
