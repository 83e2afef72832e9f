"""What a room hands to the server builder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import grpc.aio
from prometheus_client import CollectorRegistry

from visionyard.kit.config import Settings


async def nothing_to_close() -> None:
    """For an app that holds nothing."""


@dataclass(frozen=True)
class Service:
    """A gRPC service of the room.

    Attributes:
        name: Its full name, ``visionyard.dataset.v1.DatasetService``; its descriptor must be importable, as it is where the stubs are.
        register: Adds it to a server: ``partial(add_DatasetServiceServicer_to_server, servicer)``.
    """

    name: str
    register: Callable[[grpc.aio.Server], None]


@dataclass(frozen=True)
class BackgroundTask:
    """Something that runs as long as the service does: a dispatcher, a reconciler.

    Its end, with or without an exception, ends the process (exit code 1), so that whoever watches it starts it again; when the service
    stops it is cancelled.

    Attributes:
        name: For the log.
        run: The coroutine function.
    """

    name: str
    run: Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class App:
    """A room, wired up.

    Attributes:
        services: Its gRPC services.
        ready: Returns when the room can do its work, and raises (a YardError, StoreUnavailable, whatever) while it cannot. Asked every
            ``VISIONYARD_HEALTH_INTERVAL_S`` seconds, given ten seconds to answer; health follows. It begins as NOT_SERVING.
        tasks: What runs beside the calls.
        endless_methods: Server streams that end when something happens, not when they are done, so that they cannot be waited for when the
            service stops: ``/visionyard.training.v1.TrainingJobService/ReadLogs``. Methods named ``Watch...`` are taken for such anyway. They are
            ended with SHUTTING_DOWN at once; clients reconnect.
        close: Called last, after the calls are done and the tasks cancelled.
    """

    services: Sequence[Service]
    ready: Callable[[], Awaitable[None]]
    tasks: Sequence[BackgroundTask] = ()
    endless_methods: frozenset[str] = field(default_factory=frozenset)
    close: Callable[[], Awaitable[None]] = nothing_to_close


class StartupError(Exception):
    """The service cannot start for a reason that its operator can mend; the message is one sentence. Exit code 1."""


def cannot_listen(what: str, variable: str, address: str) -> str:
    """The sentence for an address that cannot be had."""
    return (
        f"{what} cannot listen on {address}: it is in use by another program, or not an address of this machine; set VISIONYARD_{variable}"
    )


Build = Callable[[Settings, CollectorRegistry], Awaitable[App]]
"""A room's ``app.py`` has one: ``async def build_app(settings: DatasetSettings, registry: CollectorRegistry) -> App``.

It builds the adapters and registers the room's metrics with ``registry`` (never with prometheus_client's global one). It must not wait for other
servers: a store that is not up yet is the business of ``ready``. It may raise :class:`StartupError`.
"""
