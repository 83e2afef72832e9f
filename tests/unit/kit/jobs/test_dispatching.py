"""What the dispatcher and the job service decide, over a store in memory."""

import asyncio
import errno
import fcntl
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from visionyard.kit.errors import Reason
from visionyard.kit.jobs import dispatcher as module
from visionyard.kit.jobs.child import Child
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.dispatcher import Dispatcher
from visionyard.kit.jobs.model import JobKind, JobState, heartbeat_key, progress_key
from visionyard.kit.jobs.scratch import sweep
from visionyard.kit.jobs.service import JobService
from visionyard.kit.jobs.worker import EXIT_STORE_FULL, LOCK_FILE, _Attempt, no_room
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import StoreFull


@pytest.fixture
def store():
    return MemoryObjectStore()


@pytest.fixture
def service(store):
    return JobService(store, JobKind.EXPORT)


def running(service, job, attempt):
    return service.records.update(job.name, lambda current, _: current.changed(state=JobState.RUNNING, attempt=attempt))


def reports(store, job, attempt, sequence):
    snapshot = {"sequence": sequence, "phase": f"attempt {attempt}", "done": sequence, "total": 0, "unit": "", "detail": {}}
    store.put(progress_key(job.name, attempt), json.dumps(snapshot).encode())


async def test_a_watch_goes_on_telling_after_a_takeover(store, service):
    job = service.create("default", {}, "")
    running(service, job, 1)
    reports(store, job, 1, 300)
    seen = []

    async def watch():
        async for _, snapshot, sequence in service.watch(job.name, 0):
            seen.append((snapshot.phase, snapshot.done, sequence))

    async def told(count):
        service.look()
        async with asyncio.timeout(20):
            while len(seen) < count:
                await asyncio.sleep(0.01)

    watcher = asyncio.create_task(watch())
    await told(1)
    running(service, job, 2)
    await told(2)
    for sequence in (1, 2):
        reports(store, job, 2, sequence)
        await told(2 + sequence)
    watcher.cancel()
    with suppress(asyncio.CancelledError):
        await watcher
    assert [(phase, done) for phase, done, _ in seen] == [("attempt 1", 300), ("attempt 1", 300), ("attempt 2", 1), ("attempt 2", 2)]
    sequences = [sequence for *_, sequence in seen]
    assert sequences == sorted(set(sequences))


def test_the_queue_is_not_read_for_every_job_that_is_listed(store, service, monkeypatch):
    jobs = [service.create("default", {"n": n}, "") for n in range(30)]
    reads = []
    markers = service.records.markers
    monkeypatch.setattr(service.records, "markers", lambda place: reads.append(place) or markers(place))
    assert sorted(service.queue_position(job) for job in jobs) == list(range(1, 31))
    assert len(reads) <= 4  # those that wait and those that run, twice


async def test_a_worker_that_cannot_be_started_gives_its_job_back_uncounted(store, service, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    job = service.create("default", {}, "")
    monkeypatch.setattr(module, "Child", refuse)
    monkeypatch.setattr(module, "_NO_WORKER_PAUSE_S", 0.01)
    dispatcher = Dispatcher(store, JobKind.EXPORT, "nothing", [{}], tmp_path, 15.0, poll_s=0.01)
    task = asyncio.create_task(dispatcher.run())
    while service.get(job.name).attempt < 3:
        assert not task.done()
        await asyncio.sleep(0.02)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert service.get(job.name).crashes == 1, "it does not count up, and is told to nobody"


def test_only_saved_work_makes_deaths_forgotten(store, service, tmp_path):
    job = service.create("default", {}, "")
    dispatcher = Dispatcher(store, JobKind.EXPORT, "nothing", [{}], tmp_path, 15.0)
    for move, crashes in (("announce", 1), ("announce", 2), ("point", 1), ("announce", 2)):
        taken = dispatcher._settler.claim(service.get(job.name), dispatcher._node, (0,))
        context = JobContext(taken, service.records, None, None, tmp_path, None)
        getattr(context, move)(step=taken.attempt)
        dispatcher._settler.requeue(taken)
        after = service.get(job.name)
        assert (after.crashes, after.pointers) == (crashes, {"step": taken.attempt})


@pytest.fixture
def sleepers(monkeypatch):
    """Children that live and do nothing, not even beat."""
    spawned = []

    def spawn(_, environment, output):
        child = Child([sys.executable, "-c", "import time; time.sleep(600)"], environment, output)
        spawned.append(child)
        return child

    monkeypatch.setattr(module, "Child", spawn)
    yield spawned
    for child in spawned:
        child.kill_group()


async def test_a_child_that_lives_but_does_not_beat_is_taken_over(store, service, tmp_path, sleepers):
    job = service.create("default", {}, "")
    dispatcher = Dispatcher(store, JobKind.EXPORT, "nothing", [{}], tmp_path, 1.0, poll_s=0.05)
    task = asyncio.create_task(dispatcher.run())
    try:
        async with asyncio.timeout(30):
            while service.get(job.name).attempt < 1:
                await asyncio.sleep(0.05)
            await asyncio.sleep(1.6)
            assert service.get(job.name).attempt == 1, "it may only just have begun"
            store.put(heartbeat_key(job.name, 1), b"{}")
            while service.get(job.name).attempt < 2:
                await asyncio.sleep(0.05)
            assert await sleepers[0].wait() == -9
        assert service.get(job.name).crashes == 1
        service.cancel(job.name)
        store.put(heartbeat_key(job.name, 2), b"{}")
        async with asyncio.timeout(30):
            while service.get(job.name).state is not JobState.CANCELLED:
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert len(sleepers) == 2


async def test_several_may_wait_for_one_child(tmp_path):
    child = Child([sys.executable, "-c", "import time; time.sleep(0.2); raise SystemExit(3)"], {}, tmp_path / "out")
    first = asyncio.create_task(child.wait())
    assert await asyncio.wait_for(child.wait(), 20) == 3
    assert await asyncio.wait_for(first, 20) == 3
    assert await child.wait() == 3


def left(root, name, *, age, lock_age=None):
    """An attempt's folder, so many seconds old, with a lock file unless ``lock_age`` is None."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "shard.tar").write_bytes(b"bytes")
    if lock_age is not None:
        (folder / LOCK_FILE).touch()
        os.utime(folder / LOCK_FILE, (time.time() - lock_age,) * 2)
    os.utime(folder, (time.time() - age,) * 2)
    return folder


async def test_what_a_worker_left_whose_service_died_with_it_goes_within_seconds_and_a_living_ones_stays(store, tmp_path):
    dispatcher = Dispatcher(store, JobKind.IMPORT, "none", [], tmp_path, lease_s=10, poll_s=0.02)
    root = tmp_path / "scratch" / "import"
    dead = left(root, "dead", age=0, lock_age=10)  # a killed worker wrote into it until just now
    dead_early = left(root, "dead-early", age=100)
    staying = [left(root, "spawned", age=10), left(root, "locking", age=100, lock_age=1), left(root, "alive", age=100, lock_age=100)]
    with (root / "alive" / LOCK_FILE).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = asyncio.create_task(dispatcher.run())
        await asyncio.sleep(0.3)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert not dead.exists()
        assert not dead_early.exists()
        assert all(folder.exists() for folder in staying)


def test_the_folder_of_an_own_worker_is_not_swept_before_its_log_is_safe(tmp_path):
    folder = left(tmp_path, "own", age=100, lock_age=100)
    sweep(tmp_path, {folder})
    assert folder.exists()
    sweep(tmp_path, set())
    assert not folder.exists()


async def test_a_wide_job_gets_its_slots_though_small_ones_wait_behind_it(store, service, tmp_path, sleepers, monkeypatch):
    environments = []
    spawn = module.Child
    monkeypatch.setattr(module, "Child", lambda *given: environments.append(given[1]) or spawn(*given))
    jobs = []
    for width in (1, 2, 1, 3):
        jobs.append(service.create("default", {"width": width}, ""))
        await asyncio.sleep(0.005)  # ids of one millisecond have no order
    small, wide, behind, too_wide = jobs
    slots = [{"CUDA_VISIBLE_DEVICES": name} for name in ("a", "b")]
    dispatcher = Dispatcher(store, JobKind.EXPORT, "nothing", slots, tmp_path, 15.0, poll_s=0.02, width=lambda spec: spec["width"])
    task = asyncio.create_task(dispatcher.run())

    async def begun(job, children):
        async with asyncio.timeout(30):
            while service.get(job.name).attempt < 1 or len(sleepers) < children:
                await asyncio.sleep(0.02)

    try:
        await begun(small, 1)
        await asyncio.sleep(0.3)
        assert [service.get(job.name).attempt for job in (wide, behind)] == [0, 0], "the free slot is kept for the one that takes two"
        for ended, next_one in ((0, wide), (1, behind)):
            service.cancel((small, wide)[ended].name)
            sleepers[ended].kill_group()
            await begun(next_one, ended + 2)
        assert service.get(wide.name).slots == (0, 1)
        assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments] == ["a", "a,b", "a"]
        assert service.get(too_wide.name).attempt == 0, "left to other machines"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_one_after_the_other_makes_room_for_a_wide_job_of_a_higher_priority(store, service, tmp_path, sleepers, monkeypatch):
    monkeypatch.setattr(module, "_ELSEWHERE_S", 0.0)
    low = [service.create("default", {"width": 1}, "", priority=priority) for priority in (0, 1)]
    slots = [{"CUDA_VISIBLE_DEVICES": name} for name in ("a", "b")]
    dispatcher = Dispatcher(store, JobKind.EXPORT, "nothing", slots, tmp_path, 15.0, poll_s=0.02, width=lambda spec: spec["width"])
    task = asyncio.create_task(dispatcher.run())

    async def until(condition):
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.02)

    def gives_way(job):
        service.records.update(job.name, lambda current, _: current.changed(state=JobState.QUEUED, node=""))
        sleepers[service.get(job.name).slots[0]].kill_group()

    try:
        await until(lambda: all(service.get(job.name).attempt for job in low) and len(sleepers) == 2)
        too_wide = service.create("default", {"width": 3}, "", priority=9)
        await asyncio.sleep(0.3)
        assert [service.get(job.name).yields_to for job in low] == ["", ""], "it fits no machine like this one"
        wide = service.create("default", {"width": 2}, "", priority=5)
        await until(lambda: service.get(low[0].name).yields_to == str(wide.name))
        assert service.get(low[1].name).yields_to == ""
        gives_way(low[0])
        await until(lambda: service.get(low[1].name).yields_to == str(wide.name))
        gives_way(low[1])
        await until(lambda: service.get(wide.name).attempt)
        assert [service.get(job.name).attempt for job in (*low, too_wide)] == [1, 1, 0]
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def claimed(store, service, tmp_path, **options):
    """A dispatcher that has claimed a job, and the job."""
    dispatcher = Dispatcher(store, JobKind.EXPORT, "none", [{}], tmp_path, 15.0, **options)
    return dispatcher, dispatcher._settler.claim(service.create("default", {}, ""), dispatcher._node, (0,))


def attempt_of(job, service, scratch):
    return _Attempt(job, service.records, scratch, SimpleNamespace(heartbeat_s=60.0))


def test_a_job_fails_with_the_reason_though_its_log_is_on_the_full_disk(store, service, tmp_path, monkeypatch):
    _, job = claimed(store, service, tmp_path)

    def handler(_):
        print("epoch 1")
        raise OSError(errno.ENOSPC, "No space left on device")

    full = Path("/dev/full").open("w")  # noqa: SIM115 - it cannot be closed well
    with monkeypatch.context() as printing:
        printing.setattr(sys, "stdout", full)
        assert attempt_of(job, service, tmp_path).run(handler) == 0
    with suppress(OSError):
        full.close()
    ended = service.get(job.name)
    assert (ended.state, ended.error.reason) == (JobState.FAILED, Reason.DISK_FULL)


async def test_a_job_fails_with_the_reason_once_the_full_store_has_room_for_that(store, service, tmp_path, monkeypatch):
    dispatcher, job = claimed(store, service, tmp_path)

    def full(*_, **__):
        raise StoreFull("no room")

    def handler(_):
        for write in ("put", "put_file", "create", "compare_and_swap"):
            closing.setattr(store, write, full)
        raise StoreFull("no room")

    with monkeypatch.context() as closing:
        code = attempt_of(job, service, tmp_path).run(handler)
        assert code == EXIT_STORE_FULL
        assert not await dispatcher._settler.settle(job, no_room())
    assert await dispatcher._settler.settle(job, no_room())
    ended = service.get(job.name)
    assert (ended.state, ended.error.reason, ended.crashes) == (JobState.FAILED, Reason.DISK_FULL, 0)


def test_a_worker_that_cannot_be_started_is_no_news_and_no_crash(store, service, tmp_path):
    dispatcher, job = claimed(store, service, tmp_path)
    for _ in range(10):
        dispatcher._settler.requeue(job, died=False)
        waiting = service.get(job.name)
        assert (waiting.state, waiting.crashes) == (JobState.QUEUED, 1), "events are told of jobs without a crash"
        job = dispatcher._settler.claim(waiting, dispatcher._node, (0,))


async def test_a_slot_is_not_free_while_its_last_worker_lives(store, service, tmp_path):
    """One whose job has ended may still be uploading, or keep a GPU's memory."""
    dispatcher = Dispatcher(store, JobKind.EXPORT, "none", [{}], tmp_path, 15.0)

    async def spawn(job, environment, output):
        service.records.update(job.name, lambda current, now: current.changed(state=JobState.SUCCEEDED, end_time=now, node=""))
        return Child([sys.executable, "-c", "input()"], {}, output, reading)

    dispatcher._spawn = spawn
    reading, writing = os.pipe()
    first, second = (service.create("default", {"n": n}, "") for n in range(2))
    await dispatcher._round()
    assert service.get(first.name).state is JobState.SUCCEEDED
    await dispatcher._round()
    assert service.get(second.name).state is JobState.QUEUED
    os.write(writing, b"\n")
    async with asyncio.timeout(30):
        while service.get(second.name).state is JobState.QUEUED:
            await asyncio.sleep(0.05)
            await dispatcher._round()
    os.write(writing, b"\n")
    await asyncio.wait(dispatcher._watchers)
    os.close(reading)
    os.close(writing)


async def test_who_follows_a_job_that_was_cancelled_fails_while_all_slots_are_busy(store, service, tmp_path):
    dispatcher, _ = claimed(store, service, tmp_path)
    followed = service.create("default", {"n": 1}, "")
    follower = service.create("default", {"n": 2}, "", follows=followed.name.id)
    service.cancel(followed.name)
    await dispatcher._round()
    assert service.get(follower.name).error.reason is Reason.DEPENDENCY_FAILED
