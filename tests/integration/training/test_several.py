"""Trainings by several processes: two ranks on one machine (gloo), and two Ray nodes."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from ray_cluster import RayCluster
from shapes import RECIPE, publish_shapes

from conftest import PROJECT, Room
from visionyard.kit.artifacts.model import read_model_version
from visionyard.kit.errors import Reason
from visionyard.kit.jobs.model import Job, JobState
from visionyard.kit.names import ResourceName, VersionName
from visionyard.training.mapping import job_to_proto
from visionyard.training.processes import Capacity
from visionyard.training.spec import TrainingSpec
from visionyard.training.trainings import Trainings

EPOCHS = 16
WITHIN = 0.03


def spec_of(dataset: str, **changes: Any) -> TrainingSpec:
    spec = TrainingSpec(
        dataset,
        "projects/default/models/m",
        architecture="yolov8n.yaml",
        epochs=EPOCHS,
        batch_size=16,
        image_size_px=64,
        overrides={**RECIPE, "plots": False},
        gpus=2,
    )
    return TrainingSpec(**{**vars(spec), **changes})


def begin(room: Room, spec: TrainingSpec) -> ResourceName:
    return room.trainings.create(PROJECT, spec, "").job.name


def epoch_of(room: Room, name: ResourceName) -> int:
    return int((room.trainings.jobs.get(name).pointers.get("checkpoint") or {}).get("epoch", 0))


async def finished(room: Room, name: ResourceName, seconds: float) -> Job:
    await room.until(lambda: room.trainings.jobs.get(name).state.finished, seconds)
    job = room.trainings.jobs.get(name)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None), room.log(job)[-3000:]
    return job


def epochs_told(room: Room, name: ResourceName) -> list[int]:
    text = room.store.get(room.trainings.files(name)["results.csv"].key).data.decode()
    return [int({key.strip(): value for key, value in row.items()}["epoch"]) for row in csv.DictReader(io.StringIO(text))]


def quality(room: Room, job: Job) -> float:
    version = read_model_version(room.store, VersionName.parse(job.pointers["model_version"], "models"))
    return version.metrics["metrics/mAP50(B)"]


def ranks(room: Room) -> list[psutil.Process]:
    """The processes that train, rank 0 first."""
    found = []
    for process in room.workers():
        try:
            if "visionyard.training.worker.rank" in process.cmdline() and "RANK" in process.environ():
                found.append(process)
        except psutil.Error:
            continue
    return sorted(found, key=lambda process: int(process.environ()["RANK"]))


_alone: list[float] = []


async def quality_alone(room: Room, dataset: str) -> float:
    """What one process reaches; trained once for all tests."""
    if not _alone:
        _alone.append(quality(room, await finished(room, begin(room, spec_of(dataset, gpus=1)), 1200)))
        assert _alone[0] > 0.9, "it has not learned, so nothing can be compared"
    return _alone[0]


async def test_two_processes_train_together(room: Room) -> None:
    async with room.dispatching():
        job = await finished(room, begin(room, spec_of(publish_shapes(room.store, train=32, val=8), epochs=2)), 240)
        await room.until(lambda: not room.workers(), 20)
    assert job_to_proto(room.trainings.get(job.name)).training_progress.processes == 2
    assert epochs_told(room, job.name) == [1, 2]


@pytest.mark.long
@pytest.mark.timeout(2400)
async def test_two_processes_learn_what_one_learns(room: Room) -> None:
    dataset = publish_shapes(room.store, val=96)
    async with room.dispatching():
        alone = await quality_alone(room, dataset)
        job = await finished(room, begin(room, spec_of(dataset)), 1200)
        await room.until(lambda: not room.workers(), 20)
    assert job_to_proto(room.trainings.get(job.name)).training_progress.processes == 2
    assert epochs_told(room, job.name) == list(range(1, EPOCHS + 1))
    assert quality(room, job) == pytest.approx(alone, abs=WITHIN)


@pytest.mark.long
@pytest.mark.timeout(2400)
async def test_a_rank_that_is_killed_costs_an_epoch_at_most_and_a_cancellation_leaves_no_process(room: Room) -> None:
    dataset = publish_shapes(room.store, train=32, val=8)
    name = begin(room, spec_of(dataset, epochs=500))
    jobs = room.trainings.jobs
    async with room.dispatching():
        for killed, epoch in ((1, 1), (0, 3)):
            await room.until(lambda epoch=epoch: epoch_of(room, name) >= epoch, 900)
            first = jobs.get(name).attempt
            before = ranks(room)
            assert len(before) == 2
            before[killed].kill()
            await room.until(lambda first=first: jobs.get(name).attempt > first, 60)
            reached = epoch_of(room, name)
            await room.until(lambda before=before: not any(process.is_running() for process in before), 20)
        await room.until(lambda: epoch_of(room, name) > reached, 900)
        room.trainings.cancel(name)
        await room.until(lambda: jobs.get(name).state is JobState.CANCELLED, 30)
        await room.until(lambda: not room.workers(), 20)
        reached = epoch_of(room, name)
        assert epochs_told(room, name) == list(range(1, reached + 1))
        room.trainings.resume(name, reached + 1)
        job = await finished(room, name, 900)
        await room.until(lambda: not room.workers(), 20)
    assert epochs_told(room, name) == list(range(1, reached + 2))
    assert job.attempt == 4


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_no_rank_outlives_its_worker_and_service(room: Room) -> None:
    """The worker and its service die together, so that nobody is left to end the ranks, which have sessions of their own."""
    name = begin(room, spec_of(publish_shapes(room.store, train=32, val=8), epochs=500))
    async with room.dispatching():
        await room.until(lambda: epoch_of(room, name) >= 1, 900)
    left = ranks(room)
    (leader,) = [process for process in room.workers() if "--attempt" in process.cmdline()] or [None]
    if leader is not None:
        leader.kill()
    await room.until(lambda: not any(process.is_running() for process in left), 20)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_what_a_rank_fails_with_is_told(room: Room) -> None:
    name = begin(room, spec_of(publish_shapes(room.store, train=16, val=8), overrides={**RECIPE, "freeze": 100}))
    async with room.dispatching():
        await room.until(lambda: room.trainings.jobs.get(name).state.finished, 300)
        await room.until(lambda: not room.workers(), 20)
    job = room.trainings.jobs.get(name)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.reason is Reason.TRAINING_FAILED
    assert "froze the entire model" in job.error.message
    assert job.attempt == 1


@pytest.fixture
def cluster(room: Room, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
    cluster = RayCluster({})
    monkeypatch.setenv("VISIONYARD_RAY_ADDRESS", cluster.address)
    monkeypatch.setenv("VISIONYARD_RAY_DEVICE", "cpu")
    room.trainings = Trainings(room.store, room.trainings._table, room.outbox, capacity=Capacity(0, 2, cluster.address, ray_installed=True))
    yield cluster
    cluster.close()


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_two_ray_nodes_learn_what_one_process_learns_though_one_is_lost(room: Room, cluster: RayCluster) -> None:
    dataset = publish_shapes(room.store, val=96)
    jobs = room.trainings.jobs
    async with room.dispatching():
        alone = await quality_alone(room, dataset)
        await asyncio.to_thread(cluster.add, room.work_dir / "node0")
        name = begin(room, spec_of(dataset, gpus=1, nodes=2, launcher="ray"))

        def waiting() -> bool:
            status = job_to_proto(room.trainings.get(name)).status
            return (status.progress.phase, status.progress.done, status.progress.total) == ("waiting for Ray nodes", 1, 2)

        await room.until(waiting, 120)
        assert not ranks(room), "it begins when all nodes are there"
        lost = await asyncio.to_thread(cluster.add, room.work_dir / "node1")
        await room.until(lambda: epoch_of(room, name) >= 3, 900)
        assert {process.environ()["VISIONYARD_WORK_DIR"][-5:] for process in ranks(room)} == {"node0", "node1"}
        attempt = jobs.get(name).attempt
        await asyncio.to_thread(cluster.kill, lost)
        await room.until(lambda: jobs.get(name).attempt > attempt, 120)
        await room.until(waiting, 120)
        await room.until(lambda: not ranks(room), 30)
        await asyncio.to_thread(cluster.add, room.work_dir / "node2")
        job = await finished(room, name, 1200)
        await room.until(lambda: not ranks(room), 30)
    assert epochs_told(room, name) == list(range(1, EPOCHS + 1))
    assert job.attempt == 2
    for node in ("node0", "node1", "node2"):
        assert any((room.work_dir / node / "datasets").glob("*/images")), "each fetches the set itself"
    assert quality(room, job) == pytest.approx(alone, abs=WITHIN)


@pytest.mark.long
@pytest.mark.timeout(2400)
async def test_a_training_on_ray_that_is_cancelled_or_whose_worker_dies_leaves_no_rank(room: Room, cluster: RayCluster) -> None:
    for node in ("node0", "node1"):
        await asyncio.to_thread(cluster.add, room.work_dir / node)
    jobs = room.trainings.jobs
    name = begin(room, spec_of(publish_shapes(room.store, train=16, val=8), epochs=500, gpus=1, nodes=2, launcher="ray"))
    async with room.dispatching():
        await room.until(lambda: epoch_of(room, name) >= 1, 900)
        left = ranks(room)
        assert len(left) == 2
        (leader,) = [process for process in room.workers() if process.cmdline()[1:3] == ["-m", "visionyard.training.worker"]]
        leader.kill()
        await room.until(lambda: not any(process.is_running() for process in left), 60)
        await room.until(lambda: jobs.get(name).attempt == 2, 60)
        reached = epoch_of(room, name)
        await room.until(lambda: epoch_of(room, name) > reached, 900)
        room.trainings.cancel(name)
        await room.until(lambda: jobs.get(name).state is JobState.CANCELLED, 40)
        await room.until(lambda: not ranks(room), 30)
    for node in ("node0", "node1"):
        assert list((room.work_dir / node / "scratch" / "ray").iterdir()) == [], (
            "what the first attempt left is swept, and the second leaves nothing"
        )
