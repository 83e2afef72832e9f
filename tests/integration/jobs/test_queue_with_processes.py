"""Who is next, with real worker processes over a real SeaweedFS: order, priority, preemption, claims that race."""

import asyncio
import multiprocessing
import os
from contextlib import suppress
from pathlib import Path

from claims import race
from dispatching import LEASE_S, dispatching, job_in, until

from visionyard.kit.jobs import dispatcher as dispatcher_module
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.jobs.service import JobService


async def test_jobs_run_in_the_order_in_which_they_came(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    jobs = []
    for _ in range(3):
        jobs.append(service.create("default", {"steps": 1, "step_s": 0.1}, ""))
        await asyncio.sleep(0.01)
    assert [service.queue_position(job) for job in jobs] == [1, 2, 3]
    async with dispatching(s3_store, worker_environment):
        done = [await until(job_in(service, job.name, JobState.SUCCEEDED)) for job in jobs]
    ends = [job.end_time for job in done]
    starts = [job.start_time for job in done]
    assert all(start >= end for start, end in zip(starts[1:], ends[:-1], strict=True)), "two ran at once in one slot"


async def test_a_running_job_makes_room_for_one_of_a_higher_priority_and_goes_on_behind_it(s3_store, worker_environment, monkeypatch):
    monkeypatch.setattr(dispatcher_module, "_ELSEWHERE_S", 0.5)
    service = JobService(s3_store, JobKind.EXPORT)
    low = service.create("default", {"steps": 12, "step_s": 0.3}, "", priority=-5)
    async with dispatching(s3_store, worker_environment):
        await until(lambda: service.get(low.name).pointers.get("step", 0) >= 1)
        equal = service.create("default", {"steps": 1, "step_s": 0.1}, "", priority=-5)
        high = service.create("default", {"steps": 2, "step_s": 0.3}, "", priority=5)
        asked = await until(lambda: (job := service.get(low.name)).yields_to and job)
        done = {name: await until(job_in(service, name, JobState.SUCCEEDED)) for name in (high.name, low.name, equal.name)}
    assert asked.yields_to == str(high.name)
    assert (done[low.name].attempt, done[low.name].crashes, done[low.name].yields_to) == (2, 0, "")
    assert done[high.name].end_time <= done[low.name].end_time <= done[equal.name].start_time, "it goes on before what came later"
    steps = sorted(int(entry.key.rpartition("/")[2]) for entry in s3_store.list(f"{low.name}/attempts/") if "/steps/" in entry.key)
    assert steps == list(range(12)), "no step was done twice or lost"


async def test_a_machine_with_a_free_slot_spares_the_other_one_the_preemption(s3_store, worker_environment, monkeypatch):
    monkeypatch.setattr(dispatcher_module, "_ELSEWHERE_S", 2.0)
    service = JobService(s3_store, JobKind.EXPORT)
    low = service.create("default", {"steps": 10, "step_s": 0.4}, "")
    async with dispatching(s3_store, worker_environment / "a"):
        await until(job_in(service, low.name, JobState.RUNNING))
        async with dispatching(s3_store, worker_environment / "b"):
            high = service.create("default", {"steps": 1, "step_s": 0.1}, "", priority=5)
            await until(job_in(service, high.name, JobState.SUCCEEDED))
            done = await until(job_in(service, low.name, JobState.SUCCEEDED))
    assert done.attempt == 1


def _claim(settings, barrier, name, results):
    """Runs in a process of its own: claims the job once everybody is there."""
    from visionyard.kit.config import JobServiceSettings, load_settings
    from visionyard.kit.objectstore.s3 import open_store

    os.environ.update(settings)
    store = open_store(load_settings(JobServiceSettings), retry_for_s=30)
    dispatcher = Dispatcher(store, JobKind.EXPORT, "sleepy_worker", [{}], Path("/nowhere"), LEASE_S)
    job = dispatcher.records.get(name)
    barrier.wait()
    results.put(dispatcher._settler.claim(job, dispatcher._node, (0,)) is not None)


def test_of_twelve_claimers_one_wins(s3_store, seaweed_settings):
    service = JobService(s3_store, JobKind.EXPORT)
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        job = service.create("default", {"steps": 1}, "")
        barrier, results = context.Barrier(6), context.Queue()
        claimers = [context.Process(target=_claim, args=(seaweed_settings, barrier, job.name, results)) for _ in range(6)]
        for claimer in claimers:
            claimer.start()
        won = [results.get(timeout=60) for _ in claimers]
        for claimer in claimers:
            claimer.join(30)
        assert won.count(True) == 1
        assert service.get(job.name).attempt == 1


async def test_two_services_on_one_bucket_never_run_a_job_twice(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.TRAINING)
    queued = {str(service.create(f"p{n % 3}", {"n": n}, "", priority=n % 2).name) for n in range(40)}
    told = await race(dict(os.environ), [worker_environment / name for name in ("a", "b")])
    claimed = [claim["job"] for claims in told for claim in claims]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == queued
    assert all(told), "one of them did all"
    assert {claim["attempt"] for claims in told for claim in claims} == {1}
    assert list(s3_store.list("queue/")) == []


async def test_a_marker_without_a_job_does_no_harm(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    job = service.create("default", {"steps": 1, "step_s": 0}, "")
    s3_store.put("queue/export/waiting/1000/default/zzzzzzzzzzzzzzzz.1", b"left by a service that died")
    async with dispatching(s3_store, worker_environment):
        await until(job_in(service, job.name, JobState.SUCCEEDED))
    assert JobRecords(s3_store, JobKind.EXPORT).list("default")[0][0].name == job.name
    assert not any(job.name.id in e.key for e in s3_store.list("queue/"))


async def test_a_job_that_is_queued_here_is_begun_at_once(s3_store, worker_environment):
    """The dispatcher would look again in an hour."""
    service = JobService(s3_store, JobKind.EXPORT)
    dispatcher = Dispatcher(s3_store, JobKind.EXPORT, "sleepy_worker", [{}], worker_environment, LEASE_S, poll_s=3600.0)
    service.tell(dispatcher.wake)
    service.create("default", {"steps": 1, "step_s": 0.1}, "")  # while nobody works: told in vain
    task = asyncio.create_task(dispatcher.run())
    try:
        first = (await asyncio.to_thread(service.list, "default", 0, ""))[0][0]
        await until(job_in(service, first.name, JobState.SUCCEEDED))
        second = await asyncio.to_thread(service.create, "default", {"steps": 1, "step_s": 0.1}, "")
        await until(job_in(service, second.name, JobState.SUCCEEDED))
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    dispatcher.wake()  # has ended: of no effect
