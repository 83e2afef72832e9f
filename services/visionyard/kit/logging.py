"""Logs as JSON lines on stderr: one object a line, with the request id of the work at hand.

Fields: ``time`` (UTC, milliseconds), ``level``, ``logger``, ``message``, ``service``, ``request_id`` where there is one, whatever
``extra={...}`` the caller gave, ``exception`` with the traceback where there is one. Secrets are never written: values given as such are
blotted out wherever they turn up, and so are the signatures of presigned addresses.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

from visionyard.kit.request_id import get_request_id

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SIGNATURE = re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"']+")
_MAX_FIELD = 16_384
_SHORTEST_SECRET = 4
_QUIET = ("asyncio", "urllib3", "grpc", "PIL", "matplotlib")


class JsonFormatter(logging.Formatter):
    """Makes one line of JSON of a record.

    Args:
        service: Who writes.
        secrets: Values that must not appear; those shorter than four characters are not looked for.
    """

    def __init__(self, service: str, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._service = service
        self._secrets = sorted({secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._clean(record.getMessage()),
            "service": self._service,
        }
        request_id = get_request_id()
        if request_id:
            line["request_id"] = request_id
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[name] = value if isinstance(value, int | float | bool | None) else self._clean(str(value))
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self._clean(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = _SIGNATURE.sub(r"\1***", text)
        return text if len(text) <= _MAX_FIELD else text[:_MAX_FIELD] + f"... ({len(text)} characters)"


def configure_logging(service: str, level: str, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Sends everything that is logged in this process, Python's warnings included, to stderr as JSON lines.

    Args:
        service: Who writes: ``dataset``, ``training-worker``.
        level: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
        secrets: Values that must not appear.
        stream: Where to; stderr unless a test gives another.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter(service, secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.getLevelNamesMapping()[level], logging.WARNING))
    logging.captureWarnings(capture=True)
