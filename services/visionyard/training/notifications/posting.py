"""Posts messages over HTTP (RFC 9110): to judged IP addresses only, in bounded time, reading little of the answer, following nothing."""

from __future__ import annotations

import json
import time
from http.client import HTTPException

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from visionyard.kit.web.connecting import CertificateRefused, HostRefused, Unconnected, connected
from visionyard.kit.web.urls import Url
from visionyard.training.notifications import templates
from visionyard.training.notifications.answers import Outcome, judge_answer
from visionyard.training.notifications.channel import Channel, address_not_allowed
from visionyard.training.notifications.message import Message
from visionyard.training.notifications.signing import signed

LIMIT_S = 15.0
"""From the connection to the end of the answer; before it a look-up of the host and at most four tries to connect, 4 s each."""
_ANSWER_BYTES = 64 << 10
_HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Accept": "application/json, text/plain",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "visionyard",
}


class Poster:
    """Sends messages.

    Args:
        private: Whether channels may lie at private addresses.
        limit_s: How long an answer may take, in seconds.
    """

    def __init__(self, *, private: bool, limit_s: float = LIMIT_S) -> None:
        self._private = private
        self._limit_s = limit_s

    def post(self, channel: Channel, message: Message) -> Outcome:
        """Sends a message once. Blocks, for seconds; raises nothing that a receiver causes."""
        url, body = signed(channel.kind, channel.address, templates.body(channel.kind, message), channel.secret, time.time())
        data = json.dumps(body, allow_nan=False).encode()
        try:
            return self._post(channel, url, data)
        except HostRefused:
            return Outcome(delivered=False, permanent=True, told=address_not_allowed(url).message)
        except CertificateRefused as error:
            return Outcome(delivered=False, told=f"its certificate is not trusted ({error}): give SSL_CERT_FILE a file with its issuer")
        except Unconnected as error:
            return Outcome(delivered=False, told=f"it {error}")
        except (OSError, HTTPException, HTTPError) as error:
            return Outcome(delivered=False, told=f"it gave no answer ({type(error).__name__})")

    def _post(self, channel: Channel, url: Url, data: bytes) -> Outcome:
        with connected(url, _go_on, self._limit_s, private=self._private) as (sock, watch):
            connection = HTTPConnection(url.host, url.port, timeout=self._limit_s)
            connection.sock = sock
            target = f"{url.path}?{url.query}" if url.query else url.path
            connection.request(
                "POST", target, body=data, headers={"Host": url.authority, **_HEADERS}, preload_content=False, decode_content=False
            )
            answer = connection.getresponse()
            try:
                if watch.tripped:  # a header that was cut off here looks whole
                    return Outcome(delivered=False, told=f"it did not answer within {self._limit_s:g} s")
                return judge_answer(channel.kind, answer.status, _beginning(answer), answer.headers.get("retry-after", ""))
            finally:
                answer.close()


def _beginning(answer: BaseHTTPResponse) -> bytes:
    """The answer's first bytes; none where it breaks off: its status has said what counts."""
    try:
        data: bytes = answer.read(_ANSWER_BYTES, decode_content=False)
    except (OSError, HTTPException, HTTPError):
        return b""
    return data


def _go_on() -> None:
    """Nothing but its time ends a post."""
