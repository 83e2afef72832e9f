"""Worker processes that are deaf, stand by, take too much, or are chosen by the kernel."""

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from dispatching import dispatching, gone, job_in, until, workers_of

from visionyard.kit.errors import Reason
from visionyard.kit.jobs import joblog
from visionyard.kit.jobs.child import Child
from visionyard.kit.jobs.guarding import Guard
from visionyard.kit.jobs.model import JobKind, JobState, heartbeat_key
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.jobs.service import JobService
from visionyard.kit.jobs.standby import Standby


async def test_a_deaf_worker_is_ended_by_force_when_it_lost_its_lease(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    job = service.create("default", {"steps": 1, "step_s": 600, "deaf": True}, "")
    async with dispatching(s3_store, worker_environment):
        await until(job_in(service, job.name, JobState.RUNNING))
        await until(lambda: list(s3_store.list(heartbeat_key(job.name, 1))))
        (worker,) = workers_of(worker_environment)
        records = JobRecords(s3_store, JobKind.EXPORT)
        records.update(job.name, lambda current, _: current.changed(attempt=current.attempt + 1, state=JobState.SUCCEEDED))
        await until(lambda: gone(worker))


def standing_by(environment):
    """The workers of this test that wait for a job or waited for theirs."""
    path = environment["PYTHONPATH"]
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "--standby" in process.cmdline() and process.environ().get("PYTHONPATH") == path:
                found.append(process)
    return found


async def test_a_worker_that_waits_for_its_job_does_it_and_logs_for_it(s3_store, worker_environment):
    service, standby = JobService(s3_store, JobKind.EXPORT), Standby("sleepy_worker")
    async with dispatching(s3_store, worker_environment, standby=standby):
        standby.prepare()
        standby.prepare()
        (waiting,) = await until(lambda: standing_by(os.environ))
        job = service.create("default", {"steps": 1000, "step_s": 0.1}, "")
        await until(lambda: service.get(job.name).pointers.get("step", 0) >= 1)
        assert json.loads(s3_store.get(heartbeat_key(job.name, 1)).data)["pid"] == waiting.pid
        other = service.create("default", {"steps": 1, "step_s": 0.1}, "")
        service.cancel(job.name)
        await until(job_in(service, job.name, JobState.CANCELLED))
        assert (await until(job_in(service, other.name, JobState.SUCCEEDED))).attempt == 1, (
            "nobody waited for it, so it got a worker of its own"
        )
    assert b"attempt 1 begins at step 0" in b"".join(data for _, data in joblog.read(s3_store, job.name, 1, 0))
    await until(lambda: not standing_by(os.environ))


async def test_a_job_does_not_suffer_from_the_death_of_who_waited_for_it(s3_store, worker_environment):
    service, standby = JobService(s3_store, JobKind.EXPORT), Standby("sleepy_worker")
    async with dispatching(s3_store, worker_environment, standby=standby):
        standby.prepare()
        (waiting,) = await until(lambda: standing_by(os.environ))
        waiting.kill()
        await until(lambda: not standing_by(os.environ))
        job = service.create("default", {"steps": 1, "step_s": 0.1}, "")
        done = await until(job_in(service, job.name, JobState.SUCCEEDED))
        assert (done.attempt, done.crashes) == (1, 0)
        (next_one,) = await until(lambda: standing_by(os.environ))
        standby.prepare()  # it is there already: who ended one job well waits for the next
        assert standing_by(os.environ) == [next_one]


async def test_nobody_waits_longer_than_the_service_or_the_time_it_is_given(s3_store, worker_environment):
    standby = Standby("sleepy_worker")
    async with dispatching(s3_store, worker_environment, standby=standby):
        standby.prepare()
        await until(lambda: standing_by(os.environ))
    assert not standing_by(os.environ)
    brief = Standby("sleepy_worker", kept_s=0.5)
    brief.prepare()
    await until(lambda: standing_by(os.environ))
    await until(lambda: not standing_by(os.environ))
    theirs, ours = os.pipe()
    orphan = Child([sys.executable, "-m", "sleepy_worker", "--standby"], dict(os.environ), Path(os.devnull), theirs)
    os.close(theirs)
    os.close(ours)  # as when the service is killed
    assert await asyncio.wait_for(orphan.wait(), 40) == 0


@pytest.mark.parametrize(
    ("greedy", "reason"), [({"takes_bytes": 400 << 20}, Reason.OUT_OF_MEMORY), ({"writes_bytes": 400 << 20}, Reason.DISK_FULL)]
)
async def test_a_job_that_takes_more_than_it_may_ends_alone(s3_store, worker_environment, greedy, reason):
    service = JobService(s3_store, JobKind.EXPORT)
    guard = Guard(300 << 20, 300 << 20, worker_environment, "take less")
    first = service.create("default", {"steps": 1000, "step_s": 0.1, **greedy}, "")
    modest = service.create("default", {"steps": 30, "step_s": 0.1}, "")
    async with dispatching(s3_store, worker_environment, slots=2, guard=guard):
        ended = await until(job_in(service, first.name, JobState.FAILED))
        assert ended.error.reason is reason
        assert ended.attempt == 1
        assert "spare the others" in ended.error.message
        assert (await until(job_in(service, modest.name, JobState.SUCCEEDED))).attempt == 1
        await until(lambda: not workers_of(worker_environment))


def oom_score(pid):
    return Path(f"/proc/{pid}/oom_score_adj").read_text()


async def test_the_kernel_kills_workers_before_servers(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    job = service.create("default", {"steps": 1000, "step_s": 0.1}, "")
    async with dispatching(s3_store, worker_environment):
        await until(lambda: service.get(job.name).pointers.get("step"))
        worker = workers_of(worker_environment)[0]
        own, workers = (int(oom_score(pid)) for pid in (os.getpid(), worker.pid))
        assert own < workers
