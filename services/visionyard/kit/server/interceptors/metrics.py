"""Counts calls under the names of go-grpc-prometheus, so that its dashboards and alerts fit.

https://github.com/grpc-ecosystem/go-grpc-middleware, providers/prometheus. Labels are bounded: known methods have their own, all that is
not known here is one, ``unknown``. Known methods begin at 0, so that a first error is seen as an increase.

A message above gRPC's own limit is refused inside its core and not counted.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from visionyard.kit.errors import Code
from visionyard.kit.server.interceptors.chain import Call, Layer, Method, Tap, outcome

_LABELS = ("grpc_type", "grpc_service", "grpc_method")
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_CODE_NAMES = {code: "".join(part.capitalize() for part in code.name.split("_")) for code in Code} | {
    Code.OK: "OK",
    Code.CANCELLED: "Canceled",
}
"""As Go's grpc/codes prints them."""


def grpc_type(method: Method) -> str:
    """The label's values in go-grpc-prometheus: unary, client_stream, server_stream, bidi_stream."""
    if method.client_streaming:
        return "bidi_stream" if method.server_streaming else "client_stream"
    return "server_stream" if method.server_streaming else "unary"


class _CountingTap(Tap):
    def __init__(self, received: Counter, sent: Counter) -> None:
        self._received = received
        self._sent = sent

    def received(self, message: Any) -> None:  # noqa: ARG002 - it is counted, not looked at
        self._received.inc()

    def sent(self) -> None:
        self._sent.inc()


class Metrics(Layer):
    """The metrics' layer.

    Args:
        registry: Where the metrics are registered.
        methods: The methods that the server knows.
    """

    def __init__(self, registry: CollectorRegistry, methods: Iterable[Method]) -> None:
        self._started = Counter("grpc_server_started_total", "Calls begun on the server.", _LABELS, registry=registry)
        self._handled = Counter(
            "grpc_server_handled_total", "Calls completed on the server, however they ended.", (*_LABELS, "grpc_code"), registry=registry
        )
        self._received = Counter("grpc_server_msg_received_total", "Request messages received.", _LABELS, registry=registry)
        self._sent = Counter("grpc_server_msg_sent_total", "Response messages sent.", _LABELS, registry=registry)
        self._seconds = Histogram(
            "grpc_server_handling_seconds", "Seconds a call took on the server.", _LABELS, buckets=_BUCKETS_S, registry=registry
        )
        for method in methods:
            labels = self._labels(method)
            for metric in (self._started, self._received, self._sent, self._seconds):
                metric.labels(*labels)
            for name in _CODE_NAMES.values():
                self._handled.labels(*labels, name)

    @staticmethod
    def _labels(method: Method) -> tuple[str, str, str]:
        if not method.known:
            return ("unknown", "unknown", "unknown")
        return (grpc_type(method), method.service, method.name)

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[Tap]:
        """See Layer."""
        labels = self._labels(call.method)
        self._started.labels(*labels).inc()
        began = time.perf_counter()
        code = Code.UNKNOWN
        try:
            yield _CountingTap(self._received.labels(*labels), self._sent.labels(*labels))
            code = outcome(call, None)
        except BaseException as error:
            code = outcome(call, error)
            raise
        finally:
            self._handled.labels(*labels, _CODE_NAMES[code]).inc()
            self._seconds.labels(*labels).observe(time.perf_counter() - began)
