"""Files over HTTP (RFC 9110, 9112): redirects held against the list, ranges only where the file is still the same, no content coding."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.parse import urljoin

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from visionyard.dataset.fetching.addresses import AllowList, SourceUrl, not_allowed, unreachable
from visionyard.dataset.fetching.connecting import connected
from visionyard.dataset.fetching.port import Answer, Check, SourceBroken
from visionyard.kit.web.connecting import IDLE_TIMEOUT_S, Watch

_OK, _PARTIAL, _RANGE_NOT_SATISFIABLE = 200, 206, 416
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_MAX_REDIRECTS = 5
_HEAD_S = 30.0
"""From the connection to the end of the answer's header."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\Z")
_PACKED_NAMES = (".gz", ".tgz", ".zst", ".tzst")
_STRONG_AFTER = timedelta(seconds=1)


class HttpFile:
    """A file at an HTTP address; see :class:`visionyard.dataset.fetching.port.Remote`.

    Args:
        url: The address; allowed.
        allow: What it may redirect to.
        check: Raises where the work is to stop; called from other threads too.
    """

    def __init__(self, url: SourceUrl, allow: AllowList, check: Check) -> None:
        self._url = url
        self._allow = allow
        self._check = check
        self._ranges = True

    @contextmanager
    def open(self, offset: int, validator: str) -> Iterator[Answer]:
        """See the port. Every attempt begins at the address that was given: what it redirects to may have been good for minutes only."""
        url = self._url
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "visionyard"}
        if offset and validator and self._ranges:
            headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
        for _ in range(_MAX_REDIRECTS + 1):
            with connected(url, self._url, self._allow, self._check, _HEAD_S) as (sock, watch):
                connection = HTTPConnection(url.host, url.port, timeout=IDLE_TIMEOUT_S)
                connection.sock = sock
                answer = _ask(connection, url, headers, watch)
                try:
                    if answer.status not in _REDIRECTS:
                        watch.no_limit()
                        yield self._opened(answer, url, offset, validator, watch)
                        return
                    url = self._redirected(url, answer)
                finally:
                    answer.close()
        raise unreachable(self._url, f"redirects more than {_MAX_REDIRECTS} times: give the address that it leads to")

    def _redirected(self, url: SourceUrl, answer: BaseHTTPResponse) -> SourceUrl:
        location = answer.headers.get("location", "").encode("latin-1", "replace").decode("utf-8", "replace")  # http.client reads Latin-1
        try:
            target = SourceUrl.parse(urljoin(f"{url.scheme}://{url.authority}{url.path}", location))
        except ValueError as error:
            raise not_allowed(self._url, f"{self._url.shown} redirects to an address that {error}") from None
        if not location:
            raise unreachable(self._url, "redirects to nowhere: give the address that it should lead to")
        self._allow.check(target, f"(to which {self._url.shown} redirects) is")
        return target

    def _opened(self, answer: BaseHTTPResponse, url: SourceUrl, offset: int, validator: str, watch: Watch) -> Answer:
        status = answer.status
        if status in _TRY_AGAIN:
            raise SourceBroken(f"answers {_status(answer)}")
        if status == _RANGE_NOT_SATISFIABLE and offset:
            self._ranges = False
            raise SourceBroken(f"does not go on at byte {offset}")
        if status not in {_OK, _PARTIAL}:
            raise unreachable(self._url, f"answers {_status(answer)}: look whether the address is right and open to everybody")
        _refuse_packed(answer, url, self._url)
        etag, last_modified = answer.headers.get("etag", ""), answer.headers.get("last-modified", "")
        begin, size = (0, _length(answer)) if status == _OK else self._range(answer)
        now = _validator(answer)
        if status == _PARTIAL and now and now != validator:
            self._ranges = False
            raise SourceBroken("sends a part of another file than was asked for")
        return Answer(begin, size, now or (validator if begin else ""), etag, last_modified, _reader(answer, watch))

    def _range(self, answer: BaseHTTPResponse) -> tuple[int, int | None]:
        match = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
        if match is None:
            self._ranges = False
            raise SourceBroken("sends a part of the file without saying which")
        return int(match[1]), None if match[3] == "*" else int(match[3])


def _ask(connection: HTTPConnection, url: SourceUrl, headers: dict[str, str], watch: Watch) -> BaseHTTPResponse:
    target = f"{url.path}?{url.query}" if url.query else url.path
    try:
        connection.request("GET", target, headers={"Host": url.authority, **headers}, preload_content=False, decode_content=False)
        answer = connection.getresponse()
    except (OSError, HTTPException, HTTPError) as error:
        what = f"did not answer within {_HEAD_S:g} s" if watch.tripped else f"sent no answer ({type(error).__name__}: {str(error)[:200]})"
        raise SourceBroken(what) from error
    if watch.tripped:  # a header that was cut off here looks whole
        answer.close()
        raise SourceBroken(f"did not answer within {_HEAD_S:g} s")
    return answer


def _reader(answer: BaseHTTPResponse, watch: Watch) -> Callable[[int], bytes]:
    def read(size: int) -> bytes:
        try:
            data: bytes = answer.read1(size, decode_content=False)
        except (OSError, HTTPException, HTTPError) as error:
            raise SourceBroken(f"broke off ({type(error).__name__})") from error
        if not data and watch.tripped:  # what ends because it was shut down here is not whole, even where its length is not known
            raise SourceBroken("broke off")
        return data

    return read


def _refuse_packed(answer: BaseHTTPResponse, url: SourceUrl, asked: SourceUrl) -> None:
    """Bytes are taken as they come, so a coding is bearable only where it names what the file is anyway: ``x.tar.gz`` as ``Content-Encoding: gzip``."""
    coding = answer.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"} and not url.file_name.lower().endswith(_PACKED_NAMES):
        raise unreachable(
            asked, f"is sent packed (Content-Encoding: {coding[:40]}) although that was not asked for: download it and import the file"
        )
    transfer = answer.headers.get("transfer-encoding", "chunked").strip().lower()
    if transfer != "chunked":
        raise unreachable(asked, f"is sent with Transfer-Encoding: {transfer[:40]}, which is not read: download it and import the file")


def _length(answer: BaseHTTPResponse) -> int | None:
    text = answer.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and "transfer-encoding" not in answer.headers else None


def _validator(answer: BaseHTTPResponse) -> str:
    """What If-Range may name (RFC 9110 section 13.1.5): a strong etag, or a date that is a second older than the answer; else nothing."""
    etag = answer.headers.get("etag", "")
    if etag.startswith('"') and etag.isascii() and etag.isprintable():
        return etag
    modified = answer.headers.get("last-modified", "")
    try:
        strong = parsedate_to_datetime(answer.headers.get("date", "")) - parsedate_to_datetime(modified) >= _STRONG_AFTER
    except (ValueError, TypeError, IndexError):
        return ""
    return modified if strong and modified.isascii() and modified.isprintable() else ""


def _status(answer: BaseHTTPResponse) -> str:
    reason = "".join(c for c in (answer.reason or "")[:60] if c.isprintable())
    return f"{answer.status} {reason}".rstrip()
