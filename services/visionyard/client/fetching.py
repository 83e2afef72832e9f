"""A file from an address into a local one (RFC 9110): bounded in size and time, taken up where it broke off, only to addresses that may be connected to.

What has come stays in its folder until the caller throws it away, with the validator (an etag) that stands for this very file: the next run asks for the rest of
it, if the server still has the same one (``If-Range``), else for all of it.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

from visionyard.client.errors import ClientError, local
from visionyard.kit.errors import Reason
from visionyard.kit.web.connecting import IDLE_TIMEOUT_S, CertificateRefused, Check, HostRefused, Unconnected, Watch, connected
from visionyard.kit.web.urls import Url

LIMIT_BYTES = 2 << 30
"""More than any weights that Ultralytics publishes."""
_TOTAL_S, _HEAD_S = 6 * 3600.0, 30.0
_TRIES, _FIRST_WAIT_S = 5, 0.5
_CHUNK_BYTES = 1 << 18
_MAX_REDIRECTS = 5
_OK, _PARTIAL, _RANGE_NOT_SATISFIABLE = 200, 206, 416
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)\Z")
_ZIP = b"PK\x03\x04"
_VALIDATOR = ".validator"
OnBytes = Callable[[int, int], None]
"""Bytes done, bytes in all (0 where that is not known); called in the thread that downloads."""


class _Broken(Exception):
    """Trying again may help; the message is the end of a sentence that begins with the address."""


class Download:
    """A PyTorch weight file on its way.

    Args:
        url: The address.
        path: The file to write; its folder is this download's own, made where it is missing.
        check: Raises where the work is to stop; called from other threads too.
        on_bytes: Hears how far it is.
        limit_bytes: The largest file taken.
    """

    def __init__(self, url: Url, path: Path, check: Check, on_bytes: OnBytes, limit_bytes: int = LIMIT_BYTES) -> None:
        self._url = url
        self._path = path
        self._note = path.with_name(_VALIDATOR)
        self._check = check
        self._on_bytes = on_bytes
        self._limit = limit_bytes
        self._end = time.monotonic() + _TOTAL_S

    def run(self) -> None:
        """Fetches the file, whole. Blocks.

        Raises:
            ClientError: SOURCE_UNREACHABLE, REQUEST_TOO_LARGE, WEIGHTS_UNREADABLE (no weight file, such as a web page); or what ``check`` raises.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._failed("is being fetched by another command already: wait for that one") from None
            try:
                self._until_whole(file)
            finally:
                if self._path.exists() and not self._path.stat().st_size:
                    self.discard()  # nothing came: there is nothing to go on from

    def _until_whole(self, file: BinaryIO) -> None:
        failures, wait_s = 0, _FIRST_WAIT_S
        while True:
            before = file.tell()
            try:
                self._attempt(file)
            except _Broken as error:
                failures = 1 if file.tell() > before else failures + 1
                if failures >= _TRIES or time.monotonic() > self._end:
                    raise self._failed(
                        f"{error}: try again later, the same command goes on where it broke off; or give a file that you got another way (--from FILE)"
                    ) from None
            else:
                return
            self._pause(wait_s)
            wait_s = _FIRST_WAIT_S if failures == 1 else wait_s * 2

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._check()
            time.sleep(0.05)

    def _attempt(self, file: BinaryIO) -> None:
        begin, validator = file.seek(0, os.SEEK_END), self._validator()
        headers = {"Range": f"bytes={begin}-", "If-Range": validator} if begin and validator else {}
        with self._answer(headers) as (answer, watch):
            watch.no_limit()
            if headers and answer.status == _RANGE_NOT_SATISFIABLE and answer.headers.get("content-range", "") == f"bytes */{begin}":
                return  # all of it is here: the file is still the same one, and has no more
            begin, size = self._judged(answer, begin if headers else 0)
            file.truncate(begin)
            file.seek(begin)
            self._note.write_text(_strong_etag(answer))
            self._take(file, answer, watch, size)

    @contextmanager
    def _answer(self, headers: dict[str, str]) -> Iterator[tuple[HTTPResponse, Watch]]:
        """The answer behind all redirects; each attempt begins at the address that was given."""
        url = self._url
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                # The user, or the service's administrator, named the first host; where it leads on to is a stranger's choice.
                with connected(url, self._check, _HEAD_S, private=url.host == self._url.host) as (sock, watch):
                    connection = HTTPConnection(url.host, url.port, timeout=IDLE_TIMEOUT_S)
                    connection.sock = sock
                    with _ask(connection, url, headers, watch) as answer:
                        if answer.status not in _REDIRECTS:
                            yield answer, watch
                            return
                        url = self._redirected(url, answer)
            except HostRefused:
                raise self._failed(f"leads to {url.host}, which lies in a network that may not be fetched from") from None
            except CertificateRefused as error:
                raise self._failed(f"has a certificate that is not trusted ({error}): give SSL_CERT_FILE a file with its issuer") from None
            except Unconnected as error:
                self._check()
                raise _Broken(str(error)) from None
        raise self._failed(f"redirects more than {_MAX_REDIRECTS} times: give the address that it leads to")

    def _redirected(self, url: Url, answer: HTTPResponse) -> Url:
        location = answer.headers.get("location", "").encode("latin-1", "replace").decode("utf-8", "replace")  # http.client reads Latin-1
        try:
            target = Url.parse(urljoin(f"{url.scheme}://{url.authority}{url.path}", location))
        except ValueError as error:
            raise self._failed(f"redirects to an address that {error}") from None
        if not location or target.scheme not in {url.scheme, "https"}:
            raise self._failed("redirects to nowhere, or to an address that is not https: give the address that it should lead to")
        return target

    def _judged(self, answer: HTTPResponse, asked: int) -> tuple[int, int | None]:
        """Where the answer's bytes begin, and how many the whole file has where that is told."""
        status = answer.status
        if status in _TRY_AGAIN:
            raise _Broken(f"answers {status}")
        if status == _RANGE_NOT_SATISFIABLE:
            self._note.unlink(missing_ok=True)
            raise _Broken(f"does not go on at byte {asked}")
        if status not in {_OK, _PARTIAL}:
            raise self._failed(f"answers {status}: look whether the address is right and open to everybody")
        if answer.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            raise self._failed("is sent packed although that was not asked for: download it yourself, and give --from FILE")
        if answer.headers.get_content_type() == "text/html":
            raise self._no_weights("answers with a web page")
        begin, size = 0, answer.length
        if status == _PARTIAL:
            match = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
            if match is None or int(match[1]) != asked:
                self._note.unlink(missing_ok=True)
                raise _Broken("sends another part of the file than was asked for")
            begin, size = asked, None if match[2] == "*" else int(match[2])
        if size is not None and size > self._limit:
            raise self._too_large(f"has {size} bytes")
        return begin, size

    def _take(self, file: BinaryIO, answer: HTTPResponse, watch: Watch, size: int | None) -> None:
        while data := _read(answer, self._check):
            if file.tell() + len(data) > self._limit:
                raise self._too_large(f"sends more than {self._limit} bytes")
            if not file.tell() and not data.startswith(_ZIP[: len(data)]):
                raise self._no_weights("sends something that is no PyTorch checkpoint")
            file.write(data)
            self._on_bytes(file.tell(), size or 0)
            self._check()
            if time.monotonic() > self._end:
                raise _Broken("takes too long")
        file.flush()
        if watch.tripped or not file.tell() or (size is not None and file.tell() < size):
            self._check()
            raise _Broken(f"broke off after {file.tell()} bytes")

    def _validator(self) -> str:
        try:
            return self._note.read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    def discard(self) -> None:
        """Throws away what has come."""
        for path in (self._path, self._note):
            path.unlink(missing_ok=True)
        self._path.parent.rmdir()

    def _failed(self, what: str) -> ClientError:
        return local(Reason.SOURCE_UNREACHABLE, f"{self._url.shown} {what}", {"source": self._url.shown})

    def _no_weights(self, what: str) -> ClientError:
        self.discard()
        return local(
            Reason.WEIGHTS_UNREADABLE,
            f"{self._url.shown} {what}, so it is no weight file: look at the address",
            {"file": self._url.file_name},
        )

    def _too_large(self, what: str) -> ClientError:
        self.discard()
        return local(
            Reason.REQUEST_TOO_LARGE,
            f"{self._url.shown} {what}, and weights have at most {self._limit}: look at the address",
            {"limit_bytes": str(self._limit)},
        )


def _ask(connection: HTTPConnection, url: Url, headers: dict[str, str], watch: Watch) -> HTTPResponse:
    target = f"{url.path}?{url.query}" if url.query else url.path
    fixed = {"Host": url.authority, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "visionyard"}
    try:
        connection.request("GET", target, headers={**fixed, **headers})
        answer = connection.getresponse()
    except (OSError, HTTPException) as error:
        raise _Broken(f"did not answer within {_HEAD_S:g} s" if watch.tripped else f"sent no answer ({type(error).__name__})") from error
    if watch.tripped:  # a header that was cut off here looks whole
        answer.close()
        raise _Broken(f"did not answer within {_HEAD_S:g} s")
    return answer


def _read(answer: HTTPResponse, check: Check) -> bytes:
    try:
        return answer.read1(_CHUNK_BYTES)
    except (OSError, HTTPException) as error:
        check()
        raise _Broken(f"broke off ({type(error).__name__})") from error


def _strong_etag(answer: HTTPResponse) -> str:
    """What ``If-Range`` may name (RFC 9110 section 13.1.5); empty where the server gives none, so that nothing can be taken up again."""
    etag = answer.headers.get("etag", "")
    return etag if etag.startswith('"') and etag.isascii() and etag.isprintable() else ""
