"""A worker process that is started before its job is there, so that it has imported what it needs when the job comes.

A worker's imports take a second and more of CPU, which an import of a small set would wait for. Where a service expects a job (its upload has begun, or
another has just ended, which often is followed by one), :meth:`Standby.prepare` starts ``python -m visionyard.<room>.worker --standby``; that process waits for one line on stdin, its order, and is from then on the
job's worker like any other. It holds no job before, so whatever happens to it costs nothing: without it the dispatcher spawns a worker as always. The pipe's other
end is the service's: when the service dies, the process waiting there reads the end and goes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from visionyard.kit.jobs.child import Child

_KEPT_S = 600.0
"""How long one waits for its job, at the price of its memory: some 100 MB."""
_OUTPUT_MODE = 0o600


class Standby:
    """At most one waiting process. Belongs to one event loop.

    Args:
        module: What ``python -m`` runs as a worker.
        kept_s: How long it waits, in seconds.
    """

    def __init__(self, module: str, kept_s: float = _KEPT_S) -> None:
        self._command = [sys.executable, "-m", module, "--standby"]
        self._kept_s = kept_s
        self._keeping: asyncio.Task[None] | None = None
        self._let_go = asyncio.Event()
        self._child: Child | None = None
        self._orders = -1

    def prepare(self) -> None:
        """A job is about to come: has a process wait for it, unless one does already."""
        if self._keeping is None or self._keeping.done():
            self._let_go = asyncio.Event()
            self._keeping = asyncio.create_task(self._keep())

    def take(self, name: str, attempt: int, environment: Mapping[str, str], output: Path) -> Child | None:
        """Gives the waiting process a job.

        Args:
            name: The job's resource name.
            attempt: The attempt that was claimed for it.
            environment: What is added to its environment, which is the service's own.
            output: The file that its stdout and stderr are appended to from now on.

        Returns:
            The process; None where none waits.
        """
        child, self._child = self._child, None
        if child is None:
            return None
        self._let_go.set()
        order = {"job": name, "attempt": attempt, "environment": dict(environment), "output": str(output)}
        try:
            os.write(self._orders, json.dumps(order).encode() + b"\n")  # an empty pipe holds far more, so this does not block
        except OSError:  # it has just died
            return None
        finally:
            self._hang_up()
        return child

    async def close(self) -> None:
        """Ends the waiting process, if there is one."""
        self._let_go.set()
        if self._keeping is not None:
            await asyncio.wait({self._keeping})

    async def _keep(self) -> None:
        """Starts a process, and stays until it has a job, has died or has waited for too long."""
        theirs, self._orders = os.pipe()
        try:
            child = await asyncio.to_thread(Child, self._command, dict(os.environ), Path(os.devnull), theirs)
        except OSError:  # the dispatcher meets the same, and says so
            self._hang_up()
            return
        finally:
            os.close(theirs)
        self._child = child
        ended, let_go = asyncio.create_task(child.wait()), asyncio.create_task(self._let_go.wait())
        try:
            await asyncio.wait({ended, let_go}, timeout=self._kept_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            let_go.cancel()
            if self._child is child:
                self._child = None
                self._hang_up()
                child.kill_group()
                await asyncio.wait({ended})
            ended.cancel()

    def _hang_up(self) -> None:
        orders, self._orders = self._orders, -1
        if orders >= 0:
            os.close(orders)


def await_order() -> tuple[str, int] | None:
    """The waiting process's side: waits for its order, and makes its environment and output what the order says.

    Returns:
        The job's resource name and the attempt; None where the service has gone.
    """
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        return None
    order = json.loads(line)
    os.environ.update(order["environment"])
    _redirect(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, _OUTPUT_MODE)
    os.dup2(output, 1)
    _redirect(output, 2)
    return order["job"], order["attempt"]


def _redirect(source: int, target: int) -> None:
    os.dup2(source, target)
    os.close(source)
