"""Health after grpc.health.v1: NOT_SERVING until the room says that it is ready, and again before it drains.

Written here because grpcio-health-checking's asyncio servicer holds a lock while it writes to a watcher, so that one slow client stops health for all,
and forgets the other watchers of a service when one leaves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from visionyard.kit.errors import YardError
from visionyard.kit.objectstore.port import StoreUnavailable
from visionyard.kit.objectstore.probe import StoreUnfitError

_log = logging.getLogger(__name__)
SERVICE_NAME = "grpc.health.v1.Health"
LIVENESS = "liveness"
"""A name that is SERVING as long as the process runs, for liveness probes: a store that is away is no reason to kill a service."""
_CHECK_TIMEOUT_S = 10.0
_FAILURES_TO_WITHDRAW = 2


class Health(health_pb2_grpc.HealthServicer):
    """The health service, and the loop that keeps it true.

    Args:
        services: The full names that it answers for, besides ``""`` (the server as a whole) and ``liveness``.
        ready: See App.ready.
        on_change: Told each change of readiness.
    """

    def __init__(self, services: Iterable[str], ready: Callable[[], Awaitable[None]], on_change: Callable[[bool], None]) -> None:
        self._names = frozenset({"", *services})
        self._ready = ready
        self._on_change = on_change
        self._serving = False
        self._withdrawn = False
        self._changed = asyncio.Event()

    def status_of(self, service: str) -> int | None:
        """The status of a name; None where it is not known here."""
        if service == LIVENESS:
            return health_pb2.HealthCheckResponse.SERVING
        if service not in self._names:
            return None
        return health_pb2.HealthCheckResponse.SERVING if self._serving else health_pb2.HealthCheckResponse.NOT_SERVING

    async def Check(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        """Answers with the status now."""
        status = self.status_of(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "this server has no service of that name")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, _: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Streams the status, at once and at each change."""
        last: int | None = None
        while True:
            changed = self._changed
            status = self.status_of(request.service)
            if status is None:
                status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != last:
                last = status
                yield health_pb2.HealthCheckResponse(status=status)
            else:
                await changed.wait()

    def withdraw(self) -> None:
        """NOT_SERVING from now on, for good."""
        self._withdrawn = True
        self._set(serving=False)

    def _set(self, *, serving: bool) -> bool:
        """Whether it changed."""
        if serving == self._serving or (serving and self._withdrawn):
            return False
        self._serving = serving
        self._on_change(serving)
        self._changed.set()
        self._changed = asyncio.Event()
        return True

    async def poll(self, interval_s: float) -> None:
        """Asks the room again and again, until withdrawn. One failure may be a hiccup; two in a row are not."""
        failures = 0
        told = ""
        while not self._withdrawn:
            why = await self._why_not_ready()
            failures = failures + 1 if why else 0
            if not why:
                if self._set(serving=True):
                    _log.info("ready")
                told = ""
            elif failures >= _FAILURES_TO_WITHDRAW or not self._serving:
                if why != told:
                    _log.warning("not ready: %s", why)
                told = why
                self._set(serving=False)
            await asyncio.sleep(interval_s)

    async def _why_not_ready(self) -> str:
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await self._ready()
        except TimeoutError:
            return f"the check took longer than {_CHECK_TIMEOUT_S:.0f} s"
        except StoreUnfitError:
            raise  # no waiting makes such a store fit: the service ends, and says why
        except (YardError, StoreUnavailable) as error:
            return str(error) or type(error).__name__
        except Exception as error:  # noqa: BLE001 - whatever the room's check raises means that it is not ready
            _log.debug("the readiness check failed", exc_info=error)
            return f"{type(error).__name__}: {error}"
        return ""
