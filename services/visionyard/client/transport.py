"""Calls over gRPC: one channel a service, a deadline and an ``x-request-id`` on every call, and patience with servers that are away for a moment.

Every call made here may be made twice: reads, creates with a ``request_id``, cancels and the like. That is why they are repeated on UNAVAILABLE,
and where their deadline passed.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from grpc import aio

from visionyard.client.endpoints import Endpoints, Service
from visionyard.client.errors import NO_SERVER, ClientError, NoServer, from_call
from visionyard.kit.errors import Code, Reason
from visionyard.kit.flow_control import OPTIONS as FLOW_CONTROL
from visionyard.kit.host import METADATA_KEY as HOST_KEY
from visionyard.kit.host import host_id
from visionyard.kit.request_id import METADATA_KEY, get_request_id, new_request_id
from visionyard.kit.status import MAX_METADATA_BYTES

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

FIRST_CONTACT_S = 20.0
"""How long a server that was never reached is tried."""
PATIENCE_S = 60.0
"""How long a server that was reached before is waited for: the stack brings every part back within this time."""
UNARY_TIMEOUT_S = 30.0
"""The deadline of a call that only reads or writes documents."""
STREAM_TIMEOUT_S = 600.0
"""The deadline of one stream; a longer one is continued by the next."""
MESSAGE_BYTES = 256 << 20
"""The largest message taken or sent; the services' own limits are lower and answered with their reason."""
_SAY_WAITING_AFTER_S = 2.0
_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 2.0
_OPTIONS = [
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    *FLOW_CONTROL,
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
]


_LOOPBACK = re.compile(r"(localhost|127(\.\d+){3}|\[?::1\]?):\d+")


def _options(address: str) -> list[tuple[str, int]]:
    """A proxy of the environment (``http_proxy``), which gRPC would use, leads to other machines, not to this one."""
    return [*_OPTIONS, ("grpc.enable_http_proxy", 0)] if _LOOPBACK.fullmatch(address) else _OPTIONS


class Transport:
    """The channels to the services. Belongs to the event loop that uses it first.

    Args:
        endpoints: Where the services are.
        on_waiting: Called with a sentence when a server has been away for two seconds, once each time.
    """

    def __init__(self, endpoints: Endpoints, on_waiting: Callable[[str], None] | None = None) -> None:
        self.endpoints = endpoints
        self.on_waiting = on_waiting
        self._channels: dict[Service, tuple[str, aio.Channel]] = {}
        self._retired: list[aio.Channel] = []
        self._reached: set[Service] = set()

    async def close(self) -> None:
        """Closes all channels; calls under way are cancelled."""
        channels = [*self._retired, *(channel for _, channel in self._channels.values())]
        self._channels.clear()
        self._retired.clear()
        for channel in channels:
            await channel.close()

    def channel(self, service: Service) -> aio.Channel:
        """The channel to a service, opened where there is none yet."""
        if service not in self._channels:
            address = self.endpoints.address(service)
            self._channels[service] = (address, aio.insecure_channel(address, options=_options(address)))
        return self._channels[service][1]

    def address(self, service: Service) -> str:
        """Where calls to a service go at present."""
        return self._channels[service][0] if service in self._channels else self.endpoints.address(service)

    def reached(self, service: Service) -> bool:
        """Whether the service has answered before."""
        return service in self._reached

    def mark_reached(self, service: Service) -> None:
        """Notes that the service has answered."""
        self._reached.add(service)

    def look_again(self, service: Service) -> None:
        """Asks again where the service is, and opens a new channel where it moved."""
        if service in self._channels and self.endpoints.address(service) != self._channels[service][0]:
            self._retired.append(self._channels.pop(service)[1])

    async def unary(
        self,
        service: Service,
        rpc: Callable[[aio.Channel], aio.UnaryUnaryMultiCallable[RequestT, ResponseT]],
        request: RequestT,
        timeout_s: float = UNARY_TIMEOUT_S,
    ) -> ResponseT:
        """Makes a call that may be made twice.

        Args:
            service: Whom to call.
            rpc: Finds the method on a channel: ``lambda channel: DatasetServiceStub(channel).GetDataset``.
            request: What to send.
            timeout_s: The deadline of one attempt.

        Raises:
            NoServer: the server was never reached.
            ClientError: the server's refusal.
        """
        patience = Patience(self, service)
        while True:
            try:
                response = await rpc(self.channel(service))(request, timeout=timeout_s, metadata=call_metadata())
            except aio.AioRpcError as error:
                await patience.after(error)
            else:
                self.mark_reached(service)
                return response

    async def whole(
        self, service: Service, rpc: Callable[[aio.Channel], aio.UnaryStreamMultiCallable[RequestT, ResponseT]], request: RequestT
    ) -> list[ResponseT]:
        """All messages of a stream that is too short to be continued: where it breaks it begins anew; errors as for :meth:`stream`."""
        found: list[ResponseT] = []

        def begin() -> RequestT:
            found.clear()
            return request

        async for response in self.stream(service, rpc, begin, Patience(self, service)):
            found.append(response)  # noqa: PERF401 - `begin` clears what came before the stream broke
        return found

    async def stream(
        self,
        service: Service,
        rpc: Callable[[aio.Channel], aio.UnaryStreamMultiCallable[RequestT, ResponseT]],
        request: Callable[[], RequestT],
        patience: Patience,
        timeout_s: float = STREAM_TIMEOUT_S,
    ) -> AsyncIterator[ResponseT]:
        """Reads a stream that can be continued, over broken connections and deadlines, until the server ends it.

        Args:
            service: Whom to call.
            rpc: Finds the method on a channel.
            request: Makes the request that goes on after what was received so far; called at each connection.
            patience: Counts the failures in a row.
            timeout_s: The deadline of one connection.

        Raises:
            NoServer: the server was never reached.
            ClientError: the server's refusal.
        """
        while True:
            call = rpc(self.channel(service))(request(), timeout=timeout_s, metadata=call_metadata())
            try:
                async for response in call:
                    self.mark_reached(service)
                    patience.progressed()
                    yield response
            except aio.AioRpcError as error:
                await patience.after(error)
            else:
                self.mark_reached(service)
                return
            finally:
                call.cancel()


class Patience:
    """Decides after each failure whether to try again, and waits before that.

    Args:
        transport: The channels.
        service: Whom the call is for.
    """

    def __init__(self, transport: Transport, service: Service) -> None:
        self._transport = transport
        self._service = service
        self._since = time.monotonic()
        self._attempts = 0
        self._said = False

    def progressed(self) -> None:
        """Something came: failures are counted from here on."""
        self._since = time.monotonic()
        self._attempts = 0
        self._said = False

    async def after(self, error: aio.AioRpcError, *, repeat: frozenset[str] = frozenset()) -> None:
        """Waits until it is time to try again.

        Args:
            error: What the call raised.
            repeat: More reasons that are worth another attempt.

        Raises:
            NoServer: the server was never reached, and the time is up.
            ClientError: trying again is of no use, or the time is up.
        """
        self._attempts += 1
        found = from_call(error, self._attempts)
        if found.reason or found.code not in {Code.UNAVAILABLE, Code.CANCELLED, Code.DEADLINE_EXCEEDED}:
            self._transport.mark_reached(self._service)
        if found.reason not in repeat and not self._worth_repeating(found):
            raise found
        elapsed = time.monotonic() - self._since
        limit = PATIENCE_S if self._transport.reached(self._service) else FIRST_CONTACT_S
        if elapsed >= limit:
            raise self._given_up(found)
        if elapsed >= _SAY_WAITING_AFTER_S and not self._said and self._transport.on_waiting:
            self._said = True
            self._transport.on_waiting(self._sentence(found))
        pause = min(_BACKOFF_S * 2 ** min(self._attempts - 1, 10), _MAX_BACKOFF_S)
        if found.retry_after_s is not None:
            pause = max(pause, min(found.retry_after_s, _MAX_BACKOFF_S))
        await asyncio.sleep(min(pause, max(limit - elapsed, 0.0)))
        self._transport.look_again(self._service)

    async def pause(self) -> None:
        """Waits before a stream that ended by itself is opened again, so that a server that ends all of them is not overrun."""
        await asyncio.sleep(_BACKOFF_S)
        self._transport.look_again(self._service)

    @staticmethod
    def _worth_repeating(found: ClientError) -> bool:
        # Where a deadline passed, a stream is continued, and any other call may find done what it asked for.
        if found.code in {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED} or found.retry_after_s is not None:
            return True
        # A server that stops ends its calls with CANCELLED; a call that this side gave up raises asyncio's own CancelledError instead.
        return found.code is Code.CANCELLED and not found.reason

    def _sentence(self, found: ClientError) -> str:
        if found.reason:
            return f"waiting for the {self._service} service: {found.message}"
        return f"waiting for the {self._service} service at {self._transport.address(self._service)}"

    def _given_up(self, found: ClientError) -> ClientError:
        address = self._transport.address(self._service)
        metadata = {"service": self._service, "address": address}
        if not self._transport.reached(self._service):
            return NoServer(
                Code.UNAVAILABLE,
                NO_SERVER,
                f"no server reached: nothing answers as the {self._service} service at {address}; start the stack with `yard up`, "
                f"or set VISIONYARD_{self._service.upper()}_ADDR",
                metadata,
                attempts=self._attempts,
            )
        if found.reason:
            return found
        if found.code is Code.DEADLINE_EXCEEDED:
            sentence = f"the {self._service} service at {address} did not answer in time; try again later, and look at `yard status`"
            return ClientError(found.code, Reason.DEADLINE_EXCEEDED.name, sentence, metadata, attempts=self._attempts)
        return NoServer(
            Code.UNAVAILABLE,
            NO_SERVER,
            f"the {self._service} service at {address} went away and did not come back within {PATIENCE_S:.0f} s; look at `yard status`",
            metadata,
            attempts=self._attempts,
        )


def call_metadata() -> tuple[tuple[str, str], ...]:
    """The metadata of a call: the id of the work at hand, or a fresh one, and which machine this is."""
    return ((METADATA_KEY, get_request_id() or new_request_id()), (HOST_KEY, host_id()))
