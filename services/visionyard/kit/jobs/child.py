"""A worker process as its dispatcher holds it: spawned into a session of its own, waited for without a thread, and left alone when the dispatcher goes.

asyncio's own subprocesses are killed when their loop closes, and ``subprocess.Popen`` warns of a child that outlives it; a worker outlives its service by design.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class Child:
    """A spawned process.

    Attributes:
        pid: Its process id, which is its session's and process group's too.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], output: Path, stdin: int | None = None) -> None:
        """Spawns ``command``; stdout and stderr are appended to ``output``, stdin is a copy of the descriptor ``stdin`` or empty."""
        actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0) if stdin is None else (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        self.pid = os.posix_spawn(command[0], list(command), dict(environment), file_actions=actions, setsid=True, setsigmask=[])
        self._pidfd = os.pidfd_open(self.pid)
        self._exit_code: int | None = None
        self._end: asyncio.Task[int] | None = None

    async def wait(self) -> int:
        """Waits for its end; the exit code, negative for the signal that ended it. Several may wait at once."""
        if self._end is None:
            self._end = asyncio.create_task(self._wait())
        return await asyncio.shield(self._end)

    async def _wait(self) -> int:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._pidfd)
        return self._collect()

    def _collect(self) -> int:
        if self._exit_code is None:
            _, status = os.waitpid(self.pid, 0)  # it has ended, so this does not wait
            self._exit_code = os.waitstatus_to_exitcode(status)
            os.close(self._pidfd)
        return self._exit_code

    def terminate(self) -> None:
        """Asks it to go (SIGTERM)."""
        if self._exit_code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def kill_group(self) -> None:
        """Ends whatever is left of its process group, its data loaders and the like included."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
