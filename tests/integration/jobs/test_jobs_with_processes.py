"""The life of a job with real worker processes over a real SeaweedFS: claims, takeovers, cancelling, preemption, crashes."""

import asyncio
import json
import multiprocessing
import os
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
from claims import race

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs import dispatcher as dispatcher_module
from visionyard.kit.jobs import joblog
from visionyard.kit.jobs import service as service_module
from visionyard.kit.jobs.child import Child
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.guarding import Guard
from visionyard.kit.jobs.model import JobKind, JobState, heartbeat_key
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.jobs.service import JobService
from visionyard.kit.jobs.standby import Standby

HERE = Path(__file__).parent
LEASE_S = 3.0


@pytest.fixture
def worker_environment(seaweed_settings, monkeypatch, tmp_path):
    """What the workers find in their environment: the store, and this folder to find their module in."""
    for name, value in seaweed_settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VISIONYARD_HEARTBEAT_S", "0.5")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))
    return tmp_path


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
