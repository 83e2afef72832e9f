"""Gives every call its request id, and writes one line about it when it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from visionyard.kit.errors import Code
from visionyard.kit.request_id import METADATA_KEY, accept_request_id, set_request_id
from visionyard.kit.server.interceptors.chain import Call, Layer, Tap, outcome

_log = logging.getLogger("visionyard.calls")
_OUR_FAULT = {Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS, Code.UNAVAILABLE}
_PROBES = ("grpc.health.", "grpc.reflection.")


class Logs(Layer):
    """The logs' layer, the outermost: everything inside logs under the call's request id.

    The id is the client's, where its metadata ``x-request-id`` holds a valid one, else a fresh one; it is sent back in the trailing metadata.
    """

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[Tap]:
        """See Layer."""
        call.request_id = accept_request_id(call.metadata.get(METADATA_KEY))
        set_request_id(call.request_id)  # each call runs in a task of its own, so nothing has to be undone
        call.context.set_trailing_metadata(((METADATA_KEY, call.request_id),))
        began = time.perf_counter()
        try:
            yield Tap()
        except BaseException as error:
            self._write(call, outcome(call, error), began)
            raise
        self._write(call, outcome(call, None), began)

    def _write(self, call: Call, code: Code, began: float) -> None:
        level = logging.WARNING if code in _OUR_FAULT else logging.INFO
        if call.method.service.startswith(_PROBES):
            level = logging.DEBUG
        extra = {
            "method": call.method.path,
            "code": code.name,
            "duration_ms": round((time.perf_counter() - began) * 1000, 3),
            "peer": call.context.peer(),
        }
        if call.reason:
            extra["reason"] = call.reason
        _log.log(level, "%s %s", call.method.name, code.name, extra=extra)
