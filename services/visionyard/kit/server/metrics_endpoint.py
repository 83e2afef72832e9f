"""Serves a registry's metrics over HTTP for Prometheus, in a thread of its own."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server

from visionyard.kit.config import split_address
from visionyard.kit.server.app import StartupError, cannot_listen


class MetricsEndpoint:
    """``http://<address>/metrics`` while entered.

    Args:
        registry: What is served; the process's own figures are added.
        address: ``host:port``.
    """

    def __init__(self, registry: CollectorRegistry, address: str) -> None:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._registry = registry
        self._host, self._port = split_address(address)

    def __enter__(self) -> Self:
        """Listens.

        Raises:
            StartupError: the address cannot be had.
        """
        try:
            self._server, self._thread = start_http_server(self._port, addr=self._host, registry=self._registry)
        except OSError as error:
            raise StartupError(cannot_listen("the metrics endpoint", "METRICS_LISTEN", f"{self._host}:{self._port}")) from error
        return self

    @property
    def port(self) -> int:
        """The port in force."""
        return int(self._server.server_port)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
