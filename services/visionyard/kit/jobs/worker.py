"""The life of a worker process: it holds the lease, runs the room's handler, and writes how the job ended.

``python -m visionyard.<room>.worker --job NAME --attempt N`` calls :func:`run`, or ``--standby``, which waits for both. The dispatcher has claimed the attempt already; the
lease beats before anything heavy is imported, so a slow start is no lost lease.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import gc
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from visionyard.kit.config import JobServiceSettings, load_settings
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.context import JobContext, must_own
from visionyard.kit.jobs.events import JobEvents
from visionyard.kit.jobs.joblog import LogShipper
from visionyard.kit.jobs.lease import Crashed, JobCancelled, Lease, LeaseLost, Preempted, StopCause, on_sigterm
from visionyard.kit.jobs.machine_use import prefer_to_servers
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.jobs.reporter import Reporter
from visionyard.kit.jobs.standby import await_order
from visionyard.kit.logging import configure_logging
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import ObjectStore, StoreFull, StoreUnavailable
from visionyard.kit.objectstore.s3 import open_store
from visionyard.kit.request_id import set_request_id

_log = logging.getLogger(__name__)
SCRATCH_VARIABLE = "VISIONYARD_WORKER_SCRATCH"
"""Names the private folder that the dispatcher made for this attempt; set by the dispatcher only."""
LOG_FILE = "worker.log"
"""The file in the scratch folder that the worker's output goes to."""
LOCK_FILE = ".lock"
"""Held while the worker lives, so that a sweep can tell a dead attempt's folder."""
STORE_PATIENCE_S = 300.0
"""How long a worker waits for a store that is away, in seconds."""
EXIT_GIVEN_BACK = 75
"""The worker gave the job back, or could not reach the store to say how it ended (sysexits' EX_TEMPFAIL)."""
EXIT_CRASHED = 70
"""A process that the worker needs has died, and its log is in the bucket (sysexits' EX_SOFTWARE)."""
EXIT_STORE_FULL = 74
"""The job has failed because the store is full, which could not even be written down (sysexits' EX_IOERR)."""
_GRACE_S = {StopCause.LEASE_LOST: 3.0, StopCause.CANCELLED: 30.0, StopCause.PREEMPTED: 5.0}

Handler = Callable[[JobContext], dict[str, Any]]
"""Does the work; returns the pointers to set together with SUCCEEDED."""
MakeEvents = Callable[[ObjectStore], JobEvents]
"""Makes, over the worker's store, what hears of every change of the job."""


class _Attempt:
    """One claimed attempt, from its first heartbeat to its last word."""

    def __init__(self, job: Job, records: JobRecords, scratch: Path, settings: JobServiceSettings) -> None:
        self.job = job
        self.records = records
        self.scratch = scratch
        self.settings = settings
        self.lease = Lease(records, job, settings.heartbeat_s, _GRACE_S, self._overrun)
        self.reporter = Reporter(records.store, job)
        self.shipper = LogShipper(records.store, job, scratch / LOG_FILE)

    def run(self, handler: Handler) -> int:
        self.lease.start()
        on_sigterm(self.lease)
        self.reporter.start()
        self.shipper.start()
        context = JobContext(self.job, self.records, self.lease, self.reporter, self.scratch, self.settings)
        try:
            context.check()
            pointers = handler(context)
            self.reporter.close()
            self.end(JobState.SUCCEEDED, pointers=pointers)
        except LeaseLost:
            _log.warning("the job was taken over by another worker; this one changes nothing more")
        except JobCancelled:
            self.reporter.close()
            self.end(JobState.CANCELLED)
        except Preempted:
            self.give_back()
            return EXIT_GIVEN_BACK
        except Crashed as error:
            _log.error("%s; the job is taken up again", error)
            return EXIT_CRASHED
        except StoreUnavailable as error:
            if not isinstance(error, StoreFull):
                _log.exception("the store stayed away; the job is taken up again when it is back")
                return EXIT_GIVEN_BACK
            try:
                self.fail(reason_of(error, self.job))
            except StoreFull:
                return EXIT_STORE_FULL  # not even that can be written: its service does when there is room
        except Exception as error:  # noqa: BLE001 - the last line of defence: the job must not stay RUNNING
            self.fail(reason_of(error, self.job))
        finally:
            self.lease.close()
            self.shipper.close()
        return 0

    def end(self, state: JobState, *, pointers: dict[str, Any] | None = None, error: YardError | None = None) -> None:
        """Writes how the job ended, unless another worker has it."""

        def change(job: Job, now: datetime) -> Job:
            must_own(job, self.job)
            return job.changed(state=state, pointers={**job.pointers, **(pointers or {})}, error=error, end_time=now, node="", crashes=0)

        _flush()
        self.shipper.catch_up()
        try:
            self.records.update(self.job.name, change)
            _log.info("job ended %s", state.value, extra={"job": str(self.job.name), "attempt": self.job.attempt})
        except LeaseLost:
            _log.warning("the job was taken over before it could be ended %s", state.value)

    def fail(self, error: YardError) -> None:
        _log.error("job failed: %s: %s", error.reason.name, error.message)
        self.reporter.close()
        self.end(JobState.FAILED, error=error)

    def give_back(self) -> None:
        """Puts the job back into the queue, at its old place."""

        def change(job: Job, _: datetime) -> Job | None:
            if job.attempt != self.job.attempt or job.state is not JobState.RUNNING:
                return None
            return job.changed(state=JobState.QUEUED, node="", crashes=0)

        self.records.update(self.job.name, change)
        _log.info("preempted: the job is back in the queue")

    def _overrun(self, cause: StopCause) -> None:
        """The handler did not stop in time: says what is to be said, then ends the whole process group."""
        with suppress(Exception):
            if cause is StopCause.CANCELLED:
                self.end(JobState.CANCELLED)
            elif cause is StopCause.PREEMPTED:
                self.give_back()
        shutil.rmtree(self.scratch, ignore_errors=True)
        _end_group()


def _end_group() -> NoReturn:
    """Kills the worker with its children (it leads its session), so that no data loader is left."""
    if os.getpgid(0) == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _flush() -> None:
    """Writes out what was printed; where the disk of the log is full the job must be able to say so all the same."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()


def no_room() -> YardError:
    """What to tell people where the store is full."""
    return YardError(Reason.DISK_FULL, "the object store has no room left: free some, then start the job again", {"path": "store"})


def disk_full(path: str) -> YardError:
    """What to tell people where this machine's disk is full."""
    return YardError(Reason.DISK_FULL, "there is no room left on this machine's disk: free some, then start the job again", {"path": path})


def reason_of(error: Exception, job: Job) -> YardError:
    """What to tell people of an exception that ended the work."""
    if isinstance(error, YardError):
        return error
    if isinstance(error, StoreFull):
        return no_room()
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return disk_full(str(error.filename or ""))
    return _unexpected(error, job)


def _unexpected(error: Exception, job: Job) -> YardError:
    _log.exception("unexpected error")
    return YardError(
        Reason.INTERNAL,
        f"the worker failed unexpectedly ({type(error).__name__}); its log has the details: yard job logs {job.name.id}",
        {"request_id": job.request_id},
    )


def run(
    kind: JobKind,
    handler: Handler,
    settings_type: type[JobServiceSettings] = JobServiceSettings,
    environ: Mapping[str, str] | None = None,
    events: MakeEvents | None = None,
) -> int:
    """Runs one claimed attempt to its end; the worker's ``main``.

    Args:
        kind: Which kind of job this worker does.
        handler: Does the work.
        settings_type: The room's settings.
        environ: The environment; the process's own unless a test gives one.
        events: Where the room wants to hear of the job's changes.

    Returns:
        The process's exit code: 0 where the job has ended one way or the other, EXIT_GIVEN_BACK where it goes on later.
    """
    # What was imported stays until the end: the collector need not go through it again and again, nor the interpreter at its exit (0.2 s of CPU).
    gc.freeze()
    parser = argparse.ArgumentParser(description=f"Runs one attempt of a {kind.value} job; started by the service, not by hand.")
    parser.add_argument("--job", help="the job's resource name")
    parser.add_argument("--attempt", type=int, help="the attempt that was claimed for this worker")
    parser.add_argument("--standby", action="store_true", help="wait for both on stdin")
    arguments = parser.parse_args()
    if not arguments.standby and (arguments.job is None or arguments.attempt is None):
        parser.error("give --job and --attempt, or --standby")
    order = await_order() if arguments.standby else (str(arguments.job), int(arguments.attempt))
    return 0 if order is None else _run_attempt(kind, handler, settings_type, os.environ if environ is None else environ, events, *order)


def _run_attempt(
    kind: JobKind,
    handler: Handler,
    settings_type: type[JobServiceSettings],
    environment: Mapping[str, str],
    events: MakeEvents | None,
    job_name: str,
    attempt: int,
) -> int:
    prefer_to_servers()
    settings = load_settings(settings_type)
    name = ResourceName.parse(job_name, kind.collection)
    scratch = Path(environment[SCRATCH_VARIABLE])
    os.chdir(scratch)  # what a library writes into the working directory goes with it
    configure_logging(f"{kind.value}-worker", settings.log_level, settings.secrets())
    with (scratch / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        store = open_store(settings, retry_for_s=STORE_PATIENCE_S)
        records = JobRecords(store, kind, events(store) if events is not None else None)
        job = records.get(name)
        set_request_id(job.request_id)
        if job.attempt != attempt or job.state not in {JobState.RUNNING, JobState.CANCELLING}:
            _log.warning("attempt %d of %s is not the running one any more", attempt, name)
            return 0
        code = _Attempt(job, records, scratch, settings).run(handler)
    _flush()
    shutil.rmtree(scratch, ignore_errors=True)
    return code
