"""The life of a job with real worker processes over a real SeaweedFS: runs, takeovers, cancelling, crashes."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from dispatching import LEASE_S, dispatching, gone, job_in, until, workers_of

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs import joblog
from visionyard.kit.jobs import service as service_module
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.service import JobService


async def test_a_job_runs_and_tells_how_far_it_is(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    job = service.create("default", {"steps": 4, "step_s": 1.2}, "")
    assert service.queue_position(job) == 1
    async with dispatching(s3_store, worker_environment):
        snapshots = [item async for item in service.watch(job.name, 0)]
    last, progress, _ = snapshots[-1]
    assert last.state is JobState.SUCCEEDED
    assert last.pointers == {"step": 4, "result": "counted by attempt 1"}
    assert (progress.phase, progress.done, progress.total, progress.detail) == ("counting", 4, 4, {"last": 3})
    sequences = [sequence for *_, sequence in snapshots]
    assert sequences == sorted(set(sequences))
    assert len(sequences) > 3
    assert last.start_time <= last.end_time
    log = b"".join(data for _, data in joblog.read(s3_store, job.name, 1, 0))
    assert b"attempt 1 begins at step 0" in log
    assert [entry.key for entry in s3_store.list("queue/")] == []
    assert not list((worker_environment / "scratch" / "export").iterdir())


async def test_the_end_of_a_job_is_told_and_its_slot_given_to_the_next_at_once(s3_store, worker_environment, monkeypatch):
    """Whoever watches, and the dispatcher, would look again in an hour."""
    monkeypatch.setattr(service_module, "_WATCH_INTERVAL_S", 3600.0)
    service = JobService(s3_store, JobKind.EXPORT)
    dispatcher = Dispatcher(s3_store, JobKind.EXPORT, "sleepy_worker", [{}], worker_environment, LEASE_S, poll_s=3600.0)
    service.tell(dispatcher.wake)
    dispatcher.tell(service.look)
    first, second = (service.create("default", {"steps": 1, "step_s": 0.1}, "") for _ in range(2))
    task = asyncio.create_task(dispatcher.run())
    try:
        async with asyncio.timeout(60):
            for job in (first, second):
                states = [snapshot.state async for snapshot, *_ in service.watch(job.name, 0)]
                assert states[-1] is JobState.SUCCEEDED
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_the_same_request_gives_the_same_job(s3_store):
    service = JobService(s3_store, JobKind.EXPORT)
    first = service.create("default", {"steps": 1}, "a7c9")
    assert service.create("default", {"steps": 1}, "a7c9").name == first.name
    with pytest.raises(YardError) as error:
        service.create("default", {"steps": 2}, "a7c9")
    assert error.value.reason is Reason.REQUEST_ID_REUSED
    jobs, _ = service.list("default", 0, "")
    assert [job.name for job in jobs] == [first.name]
    newest = service.create("default", {"of": "version 1"}, "b8", asked={"of": "the newest"})
    assert service.create("default", {"of": "version 2"}, "b8", asked={"of": "the newest"}).name == newest.name


async def test_a_killed_worker_is_taken_over_where_it_was(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    job = service.create("default", {"steps": 6, "step_s": 0.4}, "")
    async with dispatching(s3_store, worker_environment):
        await until(lambda: service.get(job.name).pointers.get("step", 0) >= 2)
        for process in workers_of(worker_environment):
            process.kill()
        done = await until(job_in(service, job.name, JobState.SUCCEEDED))
    assert done.attempt == 2
    assert done.pointers["result"] == "counted by attempt 2"
    steps = sorted(int(e.key.rsplit("/", 1)[1]) for e in s3_store.list(f"{job.name}/attempts/") if "/steps/" in e.key)
    assert steps[-1] == 5
    assert len(set(steps)) == 6
    assert len(steps) <= 7, "more than the running step was done again"


async def test_a_worker_outlives_its_service(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    job = service.create("default", {"steps": 8, "step_s": 0.4}, "")

    @asynccontextmanager
    async def service_process():
        dispatcher = Dispatcher(s3_store, JobKind.EXPORT, "sleepy_worker", [{}], worker_environment, LEASE_S, poll_s=0.1)
        task = asyncio.create_task(dispatcher.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async with service_process():
        await until(lambda: service.get(job.name).pointers.get("step", 0) >= 1)
    assert workers_of(worker_environment)
    async with dispatching(s3_store, worker_environment):
        done = await until(job_in(service, job.name, JobState.SUCCEEDED))
    assert done.attempt == 1


async def test_a_dead_machine_is_taken_over_when_its_lease_runs_out(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    job = service.create("default", {"steps": 5, "step_s": 0.4}, "")
    dispatcher = Dispatcher(s3_store, JobKind.EXPORT, "sleepy_worker", [{}], worker_environment / "a", LEASE_S, poll_s=0.1)
    task = asyncio.create_task(dispatcher.run())
    await until(lambda: service.get(job.name).pointers.get("step", 0) >= 1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    for process in workers_of(worker_environment / "a"):
        process.kill()
    async with dispatching(s3_store, worker_environment / "b"):
        done = await until(job_in(service, job.name, JobState.SUCCEEDED))
    assert done.attempt == 2


async def test_a_worker_that_slept_through_its_takeover_changes_nothing(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    job = service.create("default", {"steps": 5, "step_s": 0.4}, "")
    first = Dispatcher(s3_store, JobKind.EXPORT, "sleepy_worker", [{}], worker_environment / "a", LEASE_S, poll_s=0.1)
    task = asyncio.create_task(first.run())
    await until(lambda: service.get(job.name).pointers.get("step", 0) >= 1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    (sleeper,) = workers_of(worker_environment / "a")
    sleeper.suspend()
    async with dispatching(s3_store, worker_environment / "b"):
        done = await until(job_in(service, job.name, JobState.SUCCEEDED))
        assert done.attempt == 2
        before = service.get(job.name).etag
        sleeper.resume()
        await until(lambda: gone(sleeper))
    after = service.get(job.name)
    assert after.etag == before
    assert after.pointers["result"] == "counted by attempt 2"


async def test_a_worker_that_sleeps_is_taken_over_by_its_own_service(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    job = service.create("default", {"steps": 5, "step_s": 0.4}, "")
    async with dispatching(s3_store, worker_environment):
        await until(lambda: service.get(job.name).pointers.get("step", 0) >= 1)
        (sleeper,) = workers_of(worker_environment)
        sleeper.suspend()
        done = await until(job_in(service, job.name, JobState.SUCCEEDED))
        assert not sleeper.is_running()
    assert done.attempt == 2
    assert done.pointers["result"] == "counted by attempt 2"


async def test_cancelling_a_running_and_a_queued_job(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    running = service.create("default", {"steps": 1000, "step_s": 0.2}, "")
    async with dispatching(s3_store, worker_environment):
        await until(job_in(service, running.name, JobState.RUNNING))
        queued = service.create("default", {"steps": 1, "step_s": 0.1}, "")
        assert service.cancel(queued.name).state is JobState.CANCELLED
        service.cancel(running.name)
        service.cancel(running.name)
        done = await until(job_in(service, running.name, JobState.CANCELLED))
        assert done.end_time is not None
        await until(lambda: not workers_of(worker_environment))
    assert service.cancel(running.name).state is JobState.CANCELLED
    assert [entry.key for entry in s3_store.list("queue/")] == []


async def test_sigterm_gives_the_job_back(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    job = service.create("default", {"steps": 5, "step_s": 0.4}, "")
    async with dispatching(s3_store, worker_environment):
        await until(lambda: service.get(job.name).pointers.get("step", 0) >= 1)
        for process in workers_of(worker_environment):
            process.terminate()
        done = await until(job_in(service, job.name, JobState.SUCCEEDED))
    assert done.attempt == 2
    assert done.crashes == 0


async def test_failures_say_why(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    refused = service.create("default", {"steps": 1, "step_s": 0, "fail": True}, "")
    broken = service.create("default", {"steps": 1, "step_s": 0, "break": True}, "")
    async with dispatching(s3_store, worker_environment):
        first = await until(job_in(service, refused.name, JobState.FAILED))
        second = await until(job_in(service, broken.name, JobState.FAILED))
    assert (first.error.reason, first.error.message) == (Reason.NO_IMAGES, "there is no image in it")
    assert second.error.reason is Reason.INTERNAL
    assert "a bug" not in second.error.message
    log = b"".join(data for _, data in joblog.read(s3_store, broken.name, 1, 0))
    assert b"RuntimeError: a bug" in log


async def test_a_job_that_kills_its_workers_fails_in_the_end(s3_store, worker_environment):
    service = JobService(s3_store, JobKind.EXPORT)
    job = service.create("default", {"steps": 1, "step_s": 0, "crash_attempts": 100}, "")
    async with dispatching(s3_store, worker_environment):
        done = await until(job_in(service, job.name, JobState.FAILED), 90)
    assert done.error.reason is Reason.WORKER_CRASHED
    assert done.attempt == 6
