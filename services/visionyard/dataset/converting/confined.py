"""A program in a process of its own, with nothing of ours in its environment: its output goes to the log, and it never outlives what it was started for."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "VISIONYARD_STACK_ID")
"""What it gets of this process's environment: nothing secret, no proxy. The stack's id lets a supervisor find it."""
_LOOK_S = 0.2
_CHUNK_BYTES = 1 << 16
_LOGGED_BYTES = 1 << 20
_LINE_CHARACTERS = 2000


class TookTooLong(Exception):
    """The program was killed: it took longer than it may."""


def run_confined(command: Sequence[str], environment: Mapping[str, str], folder: Path, timeout_s: float, check: Callable[[], None]) -> int:
    """Runs a program to its end, in a session of its own that is killed whole when this returns or raises. Blocks.

    Args:
        command: What to run.
        environment: Added to the little that it inherits.
        folder: Its working directory and home.
        timeout_s: The longest that it may take, in seconds.
        check: Called some times a second; raises where the work is to stop.

    Returns:
        Its exit code, negative for the signal that ended it.

    Raises:
        OSError: it cannot be started.
        TookTooLong: it took longer.
    """
    inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**inherited, "HOME": str(folder), "TMPDIR": str(folder), **environment},
        cwd=folder,
        start_new_session=True,
        bufsize=0,
    ) as child:
        try:
            _follow(child, time.monotonic() + timeout_s, check)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
    return child.returncode


def _follow(child: subprocess.Popen[bytes], until: float, check: Callable[[], None]) -> None:
    """Hands what it prints to the log, until it has ended."""
    output, lines = child.stdout, _Lines()
    if output is None:
        raise RuntimeError("started without a pipe")
    while child.poll() is None:
        check()
        if time.monotonic() > until:
            raise TookTooLong
        if select.select([output], [], [], _LOOK_S)[0]:
            data = output.read(_CHUNK_BYTES)
            if not data:  # it closed its output, but goes on
                time.sleep(_LOOK_S)
            lines.take(data)
    while select.select([output], [], [], 0)[0] and (data := output.read(_CHUNK_BYTES)):
        lines.take(data)
    lines.end()


class _Lines:
    """Logs lines, up to a megabyte of them."""

    def __init__(self) -> None:
        self._left = _LOGGED_BYTES
        self._rest = b""

    def take(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_CHUNK_BYTES:]
        for line in whole:
            self._say(line)

    def end(self) -> None:
        if self._rest:
            self._say(self._rest)

    def _say(self, line: bytes) -> None:
        if self._left > 0:
            self._left -= len(line) + 1
            text = line.decode("utf-8", "replace")[:_LINE_CHARACTERS]
            _log.info("%s", "".join(c if c.isprintable() else " " for c in text).rstrip())
            if self._left <= 0:
                _log.info("more of its output is not logged")
