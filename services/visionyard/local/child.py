"""One process of the stack: started, watched, started again with a short back-off, stopped."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from visionyard.local.specification import PRIVATE_VARIABLE, ProcessSpec

_log = logging.getLogger(__name__)
_POLL_S = 0.1
_READY_POLL_S = 0.15
_BACK_OFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)
_STABLE_S = 30.0
_MAX_LOG_BYTES = 16 * 1024 * 1024
_TAIL_BYTES = 16 * 1024
_TAIL_LINES = 15
_LAUNCHER = Path(__file__).with_name("launch.py")


class StartFailed(Exception):
    """A process did not become ready; the message says which, and ends with the last lines of its log."""


def tail(path: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def rotate(path: Path, limit_bytes: int = _MAX_LOG_BYTES) -> None:
    """Moves a log that has grown too large to ``<name>.log.1`` by copying and emptying it: its writers hold it open, in append mode."""
    with suppress(OSError):
        if path.stat().st_size > limit_bytes:
            shutil.copyfile(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)


async def _until(condition: Callable[[], bool], poll_s: float, within_s: float = math.inf) -> bool:
    """Polls until ``condition`` holds; False where it did not ``within_s`` seconds."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() >= end:
            return False
        await asyncio.sleep(poll_s)
    return True


class Child:
    """A process that is to run until it is told otherwise.

    Args:
        spec: What runs.
        log: Where its output goes.
        environment: What every process of the stack gets; the spec's own goes before it.
        changed: Called whenever the description may have changed.
        outlives: Whether it goes on when this process dies, as the guard must.

    Attributes:
        spec: What runs.
        state: ``starting``, ``running``, ``restarting``, ``stopping`` or ``stopped``.
    """

    def __init__(
        self, spec: ProcessSpec, log: Path, environment: Mapping[str, str], changed: Callable[[], None], *, outlives: bool = False
    ) -> None:
        self.spec = spec
        self._outlives = outlives
        self.state = "stopped"
        self._log_path = log
        self._environment = dict(environment)
        self._changed = changed
        self._process: subprocess.Popen[bytes] | None = None
        self._started = datetime.now(UTC)
        self._restarts = -1
        self._was_ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failure: str | None = None

    @property
    def pid(self) -> int:
        """Its pid; 0 where it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    def describe(self) -> dict[str, Any]:
        """Its entry in processes.json."""
        return {
            "name": self.spec.name,
            "pid": self.pid,
            "address": self.spec.address,
            "metrics_address": self.spec.metrics_address,
            "state": self.state,
            "started": self._started.isoformat(timespec="seconds"),
            "restarts": max(self._restarts, 0),
        }

    def start(self) -> None:
        """Begins to run and watch it."""
        self._task = asyncio.create_task(self._run(), name=f"child {self.spec.name}")

    async def wait_ready(self) -> None:
        """Waits until it is ready for the first time.

        Raises:
            StartFailed: it ended again and again, or took too long.
        """
        end = time.monotonic() + self.spec.start_timeout_s
        while not self._was_ready.is_set():
            if self._failure is not None or time.monotonic() > end:
                why = self._failure or f"was not ready within {self.spec.start_timeout_s:.0f} s"
                raise StartFailed(f"{self.spec.name} {why}; see {self._log_path}, which ends with:\n{tail(self._log_path)}")
            if self._task is not None and self._task.done():
                self._task.result()
            await asyncio.sleep(_POLL_S)

    async def _run(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                code = await self._run_once()
                told = f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            except OSError as error:  # the disk is full, or the program is being replaced: it may work the next time
                told = f"could not be started ({error})"
            if time.monotonic() - began > _STABLE_S:
                failures = 0
            pause = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
            failures += 1
            _log.warning("%s %s; starting it again in %.1f s", self.spec.name, told, pause)
            if not self._was_ready.is_set() and failures >= len(_BACK_OFF_S) - 1:
                self._failure = f"{told} each time it was started"
            self._set("restarting")
            await asyncio.sleep(pause)

    async def _run_once(self) -> int:
        """Starts it, marks it running once it is ready, returns its exit code (minus the signal that ended it)."""
        await asyncio.to_thread(self._prepare)
        self._spawn()  # in the event loop's thread, to which the kernel ties the child's life
        process = self._process
        assert process is not None  # noqa: S101 - for the type checker
        self._set("starting" if self._restarts == 0 else "restarting")
        readiness = asyncio.create_task(self._await_ready())
        try:
            await _until(lambda: process.poll() is not None, _POLL_S)
        finally:
            readiness.cancel()
        return int(process.returncode)

    def _prepare(self) -> None:
        rotate(self._log_path)
        self.spec.working_dir.mkdir(parents=True, exist_ok=True)
        self.spec.prepare()

    def _spawn(self) -> None:
        tied = [] if self._outlives else [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
        command = [*tied, *self.spec.command]
        inherited = {name: value for name, value in os.environ.items() if name != PRIVATE_VARIABLE}
        environment = {**inherited, **self._environment, **self.spec.environment}
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.spec.working_dir,
                start_new_session=True,
            )
        self._started = datetime.now(UTC)
        self._restarts += 1
        _log.info("%s started, pid %d", self.spec.name, self._process.pid)

    async def _await_ready(self) -> None:
        began = time.monotonic()
        while True:
            if await asyncio.to_thread(self.spec.ready):
                break
            await asyncio.sleep(_READY_POLL_S)
        _log.info("%s is ready after %.1f s", self.spec.name, time.monotonic() - began)
        self._was_ready.set()
        self._set("running")

    def _set(self, state: str) -> None:
        self.state = state
        self._changed()

    async def stop(self, grace_s: float | None = None) -> None:
        """Ends it for good: SIGTERM, and SIGKILL after its grace (or ``grace_s``)."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        process = self._process
        if process is None or process.poll() is not None:
            self._set("stopped")
            return
        self._set("stopping")
        process.terminate()
        grace = self.spec.stop_grace_s if grace_s is None else grace_s
        if not await _until(lambda: process.poll() is not None, _POLL_S / 2, grace):
            if grace:
                _log.info("%s did not end within its grace; killing it", self.spec.name)
            process.kill()
            await asyncio.to_thread(process.wait)
        self._set("stopped")

    def kill(self) -> None:
        """Kills it at once."""
        if self.pid and self._process is not None:
            self._process.kill()
            self._process.wait()

    def rotate_log(self) -> None:
        """Keeps its log small."""
        rotate(self._log_path)
