"""A service's hands on a queue, in a process of its own, whose workers end their jobs at once: ``python claims.py WORK_DIR``, with the store in the environment.

It says ``ready``, waits for a line on stdin, and claims training jobs, one slot wide, until none has waited for a while, and prints a line for each: ``{"job": ..., "attempt": 1, "claim_s": 0.02}``. ``claim_s`` is the time from the
beginning of the look at the queue to the moment in which the worker would have been started.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionyard.kit.config import JobServiceSettings, load_settings
from visionyard.kit.jobs.child import Child
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.objectstore.s3 import open_store

_IDLE_S = 3.0


async def race(command_environment: dict[str, str], work_dirs: Sequence[Path]) -> list[list[dict[str, Any]]]:
    """Lets as many such processes as there are folders loose on one queue at the same moment; gives what each of them claimed."""
    racing = [
        await asyncio.create_subprocess_exec(
            sys.executable, __file__, str(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=command_environment
        )
        for folder in work_dirs
    ]
    for process in racing:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    ended = await asyncio.gather(*(process.communicate(b"go\n") for process in racing))
    if any(process.returncode for process in racing):
        raise RuntimeError(f"they exited {[process.returncode for process in racing]}")
    return [[json.loads(line) for line in output.splitlines()] for output, _ in ended]


class Claims(Dispatcher):
    """A dispatcher that times itself and does the work of its workers."""

    last = 0.0
    _began = 0.0

    async def _round(self) -> None:
        self._began = time.monotonic()
        await super()._round()

    async def _spawn(self, job: Job, environment: dict[str, str], output: Path) -> Child:
        self.last = time.monotonic()
        told = {"job": str(job.name), "attempt": job.attempt, "claim_s": self.last - self._began}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        ended = await asyncio.to_thread(
            self.records.update, job.name, lambda current, now: current.changed(state=JobState.SUCCEEDED, end_time=now, node="")
        )
        assert ended.attempt == job.attempt, "somebody else has claimed it too"
        return Child(["/bin/true"], environment, output)


async def main() -> None:
    store = open_store(load_settings(JobServiceSettings))
    hands = Claims(store, JobKind.TRAINING, "none", [{}], Path(sys.argv[1]), lease_s=15, poll_s=0.1)
    gc.freeze()  # as a service does when it has started
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    hands.last = time.monotonic()
    task = asyncio.create_task(hands.run())
    while time.monotonic() - hands.last < _IDLE_S:
        await asyncio.sleep(0.1)
        if task.done():
            task.result()
    task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
