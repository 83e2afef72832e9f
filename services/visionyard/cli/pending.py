"""Requests that have not ended: the same command, after its client was killed, joins the upload or job that the first one began.

Each mutating command keeps its ``request_id``, and what it has reached, in ``<state dir>/pending/<sha256 of the command and its content>.json``. The file is
locked while the command lives, so that a second one beside it is a request of its own, and removed when the command ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from visionyard.client.errors import ClientError, NoServer
from visionyard.kit.errors import Code
from visionyard.kit.request_id import new_request_id

FOLDER = "pending"
_MAX_BYTES = 1 << 16


class Pending:
    """One command's request. Enter it around the work: leaving it in any way that ends the request removes the file.

    Args:
        state_dir: The state directory.
        command: What is done, and everything that decides what it does, versions with their numbers; the same again is the same request.

    Attributes:
        request_id: To be sent with creates.
        facts: What has been reached: ``upload`` and ``job`` are resource names.
    """

    def __init__(self, state_dir: Path, command: Mapping[str, Any]) -> None:
        text = json.dumps(command, sort_keys=True, default=str)
        self.path = state_dir / FOLDER / f"{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()}.json"
        self.request_id = new_request_id()
        self.facts: dict[str, str] = {}
        self._file: int | None = None

    def __enter__(self) -> Self:
        # Without a place to write, or beside a living twin, the request is this process's alone.
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._locked()
            if self._file is not None and not self._read(self._file):
                self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # An answer that did not come in time leaves open what was done.
        open_end = isinstance(error, NoServer) or (isinstance(error, ClientError) and error.code is Code.DEADLINE_EXCEEDED)
        ended = error is None or (isinstance(error, ClientError) and not open_end)
        if ended:
            self.end()
        elif self._file is not None:
            os.close(self._file)
            self._file = None

    def note(self, **facts: str) -> None:
        """Keeps what has been reached."""
        self.facts.update(facts)
        self._write()

    def renew(self) -> None:
        """Makes it a new request: the old one stands for something that is gone."""
        self.request_id = new_request_id()
        self.facts = {}
        self._write()

    def end(self) -> None:
        """The request has ended: the same command again is a new one."""
        if self._file is not None:
            with suppress(OSError):
                self.path.unlink()
            os.close(self._file)
            self._file = None

    def _locked(self) -> int | None:
        """The file, opened and locked; None where a living process has it."""
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                return None
            if os.fstat(file).st_nlink:
                return file
            os.close(file)  # its owner removed it between our open and our lock

    def _read(self, file: int) -> bool:
        try:
            document = json.loads(os.pread(file, _MAX_BYTES, 0))
            self.request_id = str(document["request_id"])
            self.facts = {str(key): str(value) for key, value in document["facts"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        return True

    def _write(self) -> None:
        if self._file is None:
            return
        # In place: the lock belongs to this inode. What a kill leaves half written is read as nothing, and the request begins again.
        data = json.dumps({"request_id": self.request_id, "facts": self.facts}).encode()
        with suppress(OSError):
            os.pwrite(self._file, data, 0)
            os.ftruncate(self._file, len(data))
