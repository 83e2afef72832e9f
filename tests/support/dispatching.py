"""A dispatcher and its worker processes, for tests."""

import asyncio
import time
from contextlib import asynccontextmanager, suppress

import psutil

from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.model import JobKind

LEASE_S = 3.0


@asynccontextmanager
async def dispatching(store, work_dir, slots=1, **options):
    dispatcher = Dispatcher(store, JobKind.EXPORT, "sleepy_worker", [{}] * slots, work_dir, LEASE_S, poll_s=0.1, **options)
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        for process in workers_of(work_dir):
            process.kill()


def workers_of(work_dir):
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("VISIONYARD_WORKER_SCRATCH", "").startswith(str(work_dir)) and "sleepy_worker" in " ".join(
                process.cmdline()
            ):
                found.append(process)
    return found


async def until(condition, seconds=40.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = await asyncio.to_thread(condition)
        if value:
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def gone(process):
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # reaped between the two questions
        return True


def job_in(service, name, *states):
    def look():
        job = service.get(name)
        return job if job.state in states else None

    return look
