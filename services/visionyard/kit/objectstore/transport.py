"""HTTP towards the store: one connection pool with a time-out on every socket, and retries of everything that may be repeated.

minio-py takes a ``urllib3.PoolManager`` and sends every request through it: a read, a page of a listing, a part of a large file. Retrying here
therefore repeats the one request that failed, never a whole transfer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import urllib3
from tenacity import RetryCallState, Retrying, retry_if_exception, retry_if_result, stop_before_delay, wait_random_exponential
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.response import BaseHTTPResponse

_CONNECT_TIMEOUT_S = 3.0
_MIN_READ_TIMEOUT_S = 10.0
_MAX_READ_TIMEOUT_S = 60.0
_POOL_SIZE = 32
_FIRST_WAIT_S = 0.1
_MAX_WAIT_S = 2.0
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500
_INSUFFICIENT_STORAGE = 507


def never_sent(error: BaseException) -> bool:
    """Whether a request failed before any of it went out: no connection was made (refused, no such host, connect time-out)."""
    return isinstance(error, NewConnectionError | ConnectTimeoutError)


def is_transient(status: int) -> bool:
    """Whether a status may be another one when asked again; 507 (no room) is not."""
    return status == _TOO_MANY_REQUESTS or (status >= _SERVER_ERROR and status != _INSUFFICIENT_STORAGE)


def patience(retry_for_s: float, again: Callable[[BaseException], bool]) -> Retrying:
    """The rhythm of all retries: jittered waits from 0.1 to 2 s, no attempt begun after ``retry_for_s``; the last error is raised as it is."""
    return Retrying(
        retry=retry_if_exception(again),
        stop=stop_before_delay(retry_for_s),
        wait=wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_MAX_WAIT_S),
        reraise=True,
    )


class Pool(urllib3.PoolManager):
    """Connections to one store, safe for threads. Never retries by itself: conditional writes go through it.

    Args:
        retry_for_s: How long callers retry; a socket waits as long for an answer, but between 10 and 60 s.
    """

    def __init__(self, retry_for_s: float) -> None:
        read_timeout = min(max(retry_for_s, _MIN_READ_TIMEOUT_S), _MAX_READ_TIMEOUT_S)
        timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=read_timeout)
        super().__init__(num_pools=2, maxsize=_POOL_SIZE, block=False, retries=False, timeout=timeout)


class PatientPool(Pool):
    """Connections over which every request is repeated until its answer is no transient failure, or ``retry_for_s`` is over.

    Completing a multipart upload is the exception: it is repeated only if it was never sent, because the second answer would be 404.
    """

    def __init__(self, retry_for_s: float) -> None:
        super().__init__(retry_for_s)
        self._retry_for_s = retry_for_s

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> BaseHTTPResponse:  # type: ignore[override]
        """Sends one request, repeating it as the class says. Returns the last answer whatever its status, or raises the last HTTPError."""
        once = method == "POST" and "uploadId=" in url
        retrying = Retrying(
            retry=retry_if_exception(never_sent if once else _is_http_error) | retry_if_result(_never if once else _discard_if_transient),
            stop=stop_before_delay(self._retry_for_s),
            wait=wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_MAX_WAIT_S),
            retry_error_callback=_last_answer,
        )
        answer: BaseHTTPResponse = retrying(super().urlopen, method, url, redirect, **kw)
        return answer


def _is_http_error(error: BaseException) -> bool:
    return isinstance(error, HTTPError)


def _never(_: BaseHTTPResponse) -> bool:
    return False


def _discard_if_transient(answer: BaseHTTPResponse) -> bool:
    if not is_transient(answer.status):
        return False
    # Read now, so that the connection is free for the next attempt and minio-py finds the text if this is the last one.
    answer.read(cache_content=True)
    return True


def _last_answer(state: RetryCallState) -> BaseHTTPResponse:
    if state.outcome is None:
        raise RuntimeError("tenacity ended a retry without an attempt")
    answer: BaseHTTPResponse = state.outcome.result()
    return answer


class Deadline:
    """How long something may fail without any progress; the clock starts at the first failure after a progress.

    Args:
        seconds: So long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None

    def progressed(self) -> None:
        """Something was achieved."""
        self._end = None

    def failed(self) -> bool:
        """Notes a failure; returns whether failing has lasted too long."""
        now = time.monotonic()
        if self._end is None:
            self._end = now + self._seconds
        return now >= self._end
