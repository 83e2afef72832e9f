"""Turns what a handler raises into what a client may see.

A :class:`YardError` goes out as ``google.rpc.Status`` with its details; the store's failures get their reasons; anything unexpected becomes
INTERNAL with the request id and nothing else, while the log gets the whole trace. grpc.aio's own exceptions (an abort that a handler made, a client that is gone) pass.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.objectstore.port import OutcomeUnknown, StoreFull, StoreUnavailable
from visionyard.kit.request_id import METADATA_KEY
from visionyard.kit.server.interceptors.chain import Call, Layer, Tap
from visionyard.kit.status import DETAILS_KEY, to_status

_log = logging.getLogger(__name__)
_STORE_RETRY_S = 2.0
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Errors(Layer):
    """The errors' layer.

    Args:
        store_endpoint: The object store's address, named when it does not answer.
    """

    def __init__(self, store_endpoint: str) -> None:
        self._store_endpoint = store_endpoint

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[Tap]:
        """See Layer."""
        try:
            yield Tap()
        except grpc.aio.BaseError:
            raise
        except Exception as raised:  # noqa: BLE001 - this is the one place where everything ends
            error = self.translate(raised, call)
            call.reason = error.reason.name
            status = to_status(error)
            trailing: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
            if call.request_id:
                trailing.append((METADATA_KEY, call.request_id))
            await call.context.abort(_GRPC_CODES[status.code], status.message, tuple(trailing))

    def translate(self, raised: Exception, call: Call) -> YardError:
        """What the client is told of an exception. Logs the trace of unexpected ones."""
        error: BaseException = raised
        while isinstance(error, BaseExceptionGroup):  # of an asyncio.TaskGroup: the first failure is what cancelled the others
            error = error.exceptions[0]
        if isinstance(error, YardError):
            return error
        if isinstance(error, StoreFull):
            return YardError(Reason.DISK_FULL, "the object store has no room left: free some, then try again", {"path": "store"})
        if isinstance(error, (StoreUnavailable, OutcomeUnknown)):
            _log.warning("the object store at %s does not answer: %s", self._store_endpoint, error)
            return YardError(
                Reason.STORE_UNAVAILABLE,
                f"the object store at {self._store_endpoint} does not answer: try again when it is back",
                {"endpoint": self._store_endpoint},
                retry_after_s=_STORE_RETRY_S,
            )
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            _log.error("no room left on this machine's disk: %s", error)
            return YardError(Reason.DISK_FULL, "there is no room left on the server's disk: free some, then try again", {"path": "server"})
        _log.error("unexpected error in %s", call.method.path, exc_info=raised)
        return YardError(
            Reason.INTERNAL,
            f"the server failed unexpectedly; its log has the details under request id {call.request_id}",
            {"request_id": call.request_id},
        )
