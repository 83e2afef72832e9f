"""Looks at single inputs, each in a process of its own: what is wrong with it, and the smallest part of it with which the same is wrong."""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress

import bounds
import verdicts

Run = Callable[[bytes], None]
_WALL_SECONDS = 60.0
"""Of an input that waits instead of working."""
_DEVICE = "/dev/null"


def judge(run: Run, data: bytes) -> str:
    """What is wrong with how an input is taken, in a word; empty where nothing is."""
    bounds.one_thread()  # before the fork: the child, asked to end threads that did not come with it, would wait for them for ever
    with tempfile.TemporaryFile("w+") as dump, tempfile.TemporaryFile("w+") as told:
        pid = os.fork()
        if pid == 0:
            _take(run, data, dump, told)
        status = _ended(pid)
        if status is not None and os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            told.seek(0)
            return told.read()
        dump.seek(0)
        if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF):
            return verdicts.of_hang(dump.read())
        return verdicts.of_death(signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}")


def _take(run: Run, data: bytes, dump: io.TextIOWrapper, told: io.TextIOWrapper) -> None:
    """The child's part; never returns."""
    code = 1
    try:
        silent = os.open(_DEVICE, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        before = bounds.peak_bytes()
        bounds.enter(dump)
        bounds.begin()
        try:
            run(data)
            if bounds.peak_bytes() - before > bounds.MEMORY_BYTES:
                told.write("memory")
        except BaseException as error:  # noqa: BLE001 - whatever comes is told
            told.write(verdicts.of_error(error))
        bounds.end()
        told.flush()
        code = 0
    finally:
        os._exit(code)


def _ended(pid: int) -> int | None:
    """How a process ended; None where it had to be ended."""
    end = time.monotonic() + _WALL_SECONDS
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        time.sleep(0.001)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def minimise(run: Run, data: bytes, verdict: str, seconds: float) -> bytes:
    """The smallest part of an input with the same verdict that is found within so many seconds: pieces are left out, from halves down to bytes."""
    end, size = time.monotonic() + seconds, max(1, len(data) // 2)
    while size and time.monotonic() < end:
        at, smaller = 0, False
        while at < len(data) and time.monotonic() < end:
            candidate = data[:at] + data[at + size :]
            if judge(run, candidate) == verdict:
                data, smaller = candidate, True
            else:
                at += size
        if not smaller or size > len(data):
            size //= 2
    return data


def show(run: Run, data: bytes) -> str:
    """The verdict, after the exception with its whole stack was written to stderr."""
    verdict = judge(run, data)
    if verdict and not verdict.startswith(("hang", "crash", "memory")):
        try:
            run(data)
        except Exception:  # noqa: BLE001 - it is what is to be shown
            import traceback

            traceback.print_exc(file=sys.stderr)
    return verdict
