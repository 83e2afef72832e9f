"""The one way to run a service.

A room's ``__main__.py``::

    def main() -> int:
        return run("dataset", parse_command_line(DatasetSettings, "dataset"), build_app)

    if __name__ == "__main__":
        sys.exit(main())

What happens on SIGTERM or SIGINT, in this order: health is withdrawn; new calls are refused and endless streams ended; calls in flight get
``VISIONYARD_DRAIN_S`` seconds to finish, the background tasks being cancelled meanwhile; the room is closed; exit code 0.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, Gauge

from visionyard.kit.config import ServiceSettings, Settings, split_address
from visionyard.kit.flow_control import OPTIONS as FLOW_CONTROL
from visionyard.kit.logging import configure_logging
from visionyard.kit.objectstore.probe import StoreUnfitError
from visionyard.kit.server import health
from visionyard.kit.server.app import App, BackgroundTask, Build, Service, StartupError, cannot_listen
from visionyard.kit.server.interceptors.chain import CallChain, Method
from visionyard.kit.server.interceptors.deadlines import Deadlines
from visionyard.kit.server.interceptors.drain import Drain
from visionyard.kit.server.interceptors.errors import Errors
from visionyard.kit.server.interceptors.logs import Logs
from visionyard.kit.server.interceptors.metrics import Metrics
from visionyard.kit.server.interceptors.requests import CORE_HEADROOM_BYTES
from visionyard.kit.server.interceptors.shared import SharedProject
from visionyard.kit.server.metrics_endpoint import MetricsEndpoint
from visionyard.kit.status import MAX_METADATA_BYTES

__all__ = ["App", "BackgroundTask", "Build", "RunningServer", "Service", "StartupError", "run"]

_log = logging.getLogger(__name__)
_THREADS = 32
BLOCKING_THREADS = "visionyard-blocking"
"""What the names of threads begin with that the end of the service does not wait for; a room's own too."""
_NOTICE_S = 0.3
_CANCEL_S = 12.0
_STRAGGLERS_S = 1.0


def methods_of(service_names: Iterable[str]) -> list[Method]:
    """The methods of services whose generated code is imported.

    Raises:
        KeyError: there is no such service.
    """
    pool = descriptor_pool.Default()
    return [
        Method(f"/{name}/{method.name}", method.client_streaming, method.server_streaming)
        for name in service_names
        for method in pool.FindServiceByName(name).methods
    ]


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    """Settings of gRPC itself; https://grpc.github.io/grpc/core/group__grpc__arg__keys.html."""
    return [
        ("grpc.max_receive_message_length", settings.max_request_bytes + CORE_HEADROOM_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        *FLOW_CONTROL,
        ("grpc.max_concurrent_streams", 256),
        ("grpc.so_reuseport", 0),  # on by default: two servers would share a port, and neither be told
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 15_000),  # clients ping every 30 s
        ("grpc.max_connection_age_ms", 300_000),  # so that clients resolve again and find new replicas; calls in flight go on
    ]


def _try_address(address: str) -> None:
    """Binds the address for a moment: gRPC would write its failure to stderr in a form of its own, before it raises.

    Raises:
        OSError: it cannot be had.
    """
    host, port = split_address(address)
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(where)


class RunningServer:
    """A server on the event loop: listening, answering, and ending well.

    Args:
        service: The room's name, for metrics and the log.
        settings: Its settings.
        app: Its wiring.
        registry: Its metrics.
    """

    def __init__(self, service: str, settings: ServiceSettings, app: App, registry: CollectorRegistry) -> None:
        self._service = service
        self._settings = settings
        self._app = app
        names = [entry.name for entry in app.services]
        ready = Gauge(f"visionyard_{service}_ready", "Whether the service is ready (1) or not (0).", registry=registry)
        self.health = health.Health(names, app.ready, lambda serving: ready.set(int(serving)))
        self._drain = Drain(app.endless_methods)
        public = [*names, health.SERVICE_NAME, reflection.SERVICE_NAME]
        layers = [
            Logs(),
            Metrics(registry, methods_of(public)),
            Errors(settings.s3_endpoint),
            self._drain,
            Deadlines(settings.unary_timeout_s),
            SharedProject(),
        ]
        self._server = grpc.aio.server(interceptors=[CallChain(layers, settings.max_request_bytes)], options=_options(settings))
        for entry in app.services:
            entry.register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        reflection.enable_server_reflection(public, self._server)
        self._tasks: dict[asyncio.Task[None], str] = {}
        self.port = 0

    async def start(self) -> None:
        """Listens, answers NOT_SERVING, and starts the background tasks.

        Raises:
            StartupError: the address cannot be had.
        """
        try:
            _try_address(self._settings.listen)
            self.port = self._server.add_insecure_port(self._settings.listen)
        except (OSError, RuntimeError) as error:
            raise StartupError(cannot_listen("gRPC", "LISTEN", self._settings.listen)) from error
        await self._server.start()
        for task in (BackgroundTask("health", self._poll_health), *self._app.tasks):
            self._tasks[asyncio.create_task(_run_task(task), name=task.name)] = task.name

    async def _poll_health(self) -> None:
        await self.health.poll(self._settings.health_interval_s)

    async def serve(self, stop: asyncio.Event) -> bool:
        """Serves until told to stop or until a background task ends.

        Returns:
            Whether it was told to: False where a task ended, which it never should.
        """
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stopping, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in done - {stopping}:
            error = task.exception()
            if isinstance(error, StoreUnfitError):
                _log.critical("the service stops: %s", error)
                continue
            _log.critical("the background task %s ended unexpectedly; the service stops", self._tasks[task], exc_info=error)  # type: ignore[index]
        return stop.is_set()

    async def stop(self, hurry: asyncio.Event) -> None:
        """Withdraws health, drains, cancels the tasks, closes the room.

        Args:
            hurry: Ends the drain at once where set.
        """
        self.health.withdraw()
        await asyncio.sleep(min(_NOTICE_S, self._settings.drain_s))  # so that watchers of health hear of it before their calls are refused
        self._drain.begin()
        cancelling = asyncio.create_task(_cancel(self._tasks))
        stopping = asyncio.create_task(self._server.stop(self._settings.drain_s + _STRAGGLERS_S))
        draining = asyncio.create_task(self._drain.finish(self._settings.drain_s))
        hurrying = asyncio.create_task(hurry.wait())
        await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        ended = await draining if draining.done() else await self._drain.finish(0)
        if ended:
            _log.warning("%d calls did not finish within the drain and were ended", ended)
        for task in (hurrying, draining):
            task.cancel()
        await stopping
        await cancelling
        await self._app.close()


async def _run_task(task: BackgroundTask) -> None:
    await task.run()


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        _, late = await asyncio.wait(running, timeout=_CANCEL_S)
        for task in late:
            _log.warning("the background task %s did not stop within %.0f s", task.get_name(), _CANCEL_S)


async def _serve(service: str, settings: Settings, build: Build[Settings]) -> int:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    registry = CollectorRegistry()
    app = await build(settings, registry)
    server = RunningServer(service, settings, app, registry)
    with MetricsEndpoint(registry, settings.metrics_listen) as endpoint:
        await server.start()
        # What was imported and wired stays until the end: going through it stops every thread of the process for 35 ms, whenever some thousand objects were made.
        gc.freeze()
        _log.info(
            "listening", extra={"port": server.port, "metrics_port": endpoint.port, "listen": settings.listen, "bucket": settings.s3_bucket}
        )
        asked = await server.serve(stop)
        _log.info("stopping")
        await server.stop(hurry)
    _log.info("stopped")
    return 0 if asked else 1


def run(service: str, settings: Settings, build: Build[Settings]) -> int:
    """Runs a service until SIGTERM or SIGINT.

    Args:
        service: The room's name: ``dataset``.
        settings: Its settings.
        build: Its ``app.py``'s function.

    Returns:
        The process's exit code: 0 after a drain, 1 where it could not start or a background task ended.
    """
    configure_logging(service, settings.log_level, settings.secrets())
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix=BLOCKING_THREADS))
    try:
        code = loop.run_until_complete(_serve(service, settings, build))
    except StartupError as error:
        _log.critical("%s", error)
        code = 1
    except Exception:  # noqa: BLE001 - whatever keeps it from starting is told in the log, as JSON like the rest
        _log.critical("the service could not start", exc_info=True)
        code = 1
    finally:
        _close(loop)
    _leave_stragglers(code)
    return code


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """As asyncio.run ends, except that it does not wait for blocking calls."""
    tasks = asyncio.all_tasks(loop)
    loop.run_until_complete(_cancel(tasks))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _leave_stragglers(code: int) -> None:
    """Ends the process where blocking calls still wait, for a store that is away perhaps: Python itself would wait for their threads."""
    end = time.monotonic() + _STRAGGLERS_S
    while any(thread.name.startswith(BLOCKING_THREADS) and thread.is_alive() for thread in threading.enumerate()):
        if time.monotonic() > end:
            _log.warning("blocking calls are still waiting; leaving without them")
            sys.stderr.flush()
            os._exit(code)
        time.sleep(0.02)
