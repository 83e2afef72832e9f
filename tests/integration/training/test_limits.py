"""Real trainings that end because their time, their money or their patience does."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from shapes import RECIPE, publish_shapes

from conftest import PROJECT, Room
from visionyard.kit.artifacts.model import read_model_version
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import JobState
from visionyard.kit.names import ResourceName, VersionName
from visionyard.training.estimates.estimates import Estimates
from visionyard.training.estimates.machine import this_machine
from visionyard.training.estimates.price import Price
from visionyard.training.mapping import job_to_proto
from visionyard.training.report_mapping import report_to_proto
from visionyard.training.scheduling import Scheduling
from visionyard.training.spec import TrainingSpec
from visionyard.training.trainings import Trainings
from visionyard.training.v1 import training_job_pb2


def _spec(dataset: str, **changes: Any) -> TrainingSpec:
    spec = TrainingSpec(
        dataset,
        "projects/default/models/m",
        architecture="yolov8n.yaml",
        epochs=2000,
        batch_size=8,
        image_size_px=64,
        overrides={**RECIPE, "plots": False},
    )
    return dataclasses.replace(spec, **changes)


async def _enough(room: Room, trainings: Trainings, dataset: str, limits: tuple[Scheduling, ...]) -> ResourceName:
    """A training that ended within the first of the limits that an epoch fits into: how much that is depends on what the machine does besides."""
    for limit in limits:
        name = trainings.create(PROJECT, _spec(dataset), "", limit).job.name
        await room.until(lambda name=name: trainings.jobs.get(name).state.finished, 1500)
        job = trainings.jobs.get(name)
        if job.error is None or job.error.reason is not Reason.LIMIT_REACHED:
            assert (job.state, job.error) == (JobState.SUCCEEDED, None)
            return name
    raise AssertionError("no epoch fits into any of the limits")


@pytest.mark.timeout(3000)
async def test_a_training_ends_well_when_its_time_is_over_and_may_go_on(room: Room) -> None:
    dataset = publish_shapes(room.store, train=16, val=8)
    jobs = room.trainings.jobs
    async with room.dispatching():
        name = await _enough(room, room.trainings, dataset, tuple(Scheduling(time_limit_s=limit) for limit in (40, 160, 640)))
        job = jobs.get(name)
        message = job_to_proto(room.trainings.get(name))
        assert message.early_stop == training_job_pb2.EARLY_STOP_TIME_LIMIT
        assert message.scheduling.time_limit.seconds == job.spec["time_limit_s"]
        reached = message.training_progress.epoch
        assert 1 <= reached < 2000
        assert read_model_version(room.store, VersionName.parse(job.pointers["model_version"], "models")).metrics
        resumed = room.trainings.resume(name, reached + 1)
        assert "early_stop" not in resumed.job.pointers
        assert "spent" not in resumed.job.pointers
        await room.until(lambda: jobs.get(name).state.finished, 1500)
    job = jobs.get(name)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    # On a machine that has become slower the limit may be too short even for that.
    went_on = job.pointers["checkpoint"]["epoch"] == reached + 1
    stopped = training_job_pb2.EARLY_STOP_UNSPECIFIED if went_on else training_job_pb2.EARLY_STOP_TIME_LIMIT
    assert job_to_proto(room.trainings.get(name)).early_stop == stopped


@pytest.mark.timeout(600)
async def test_a_limit_before_the_first_epochs_end_is_a_failure_that_says_so(room: Room) -> None:
    asked = Scheduling(time_limit_s=1)
    name = room.trainings.create(PROJECT, _spec(publish_shapes(room.store, train=16, val=8)), "", asked).job.name
    async with room.dispatching():
        await room.until(lambda: room.trainings.jobs.get(name).state.finished, 300)
    job = room.trainings.jobs.get(name)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.reason, job.error.metadata) == (Reason.LIMIT_REACHED, {"limit": "time limit of 1 s"})
    assert "--time-limit" in job.error.message


@pytest.mark.long
@pytest.mark.timeout(3000)
async def test_a_budget_ends_a_training_by_the_price(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = publish_shapes(room.store, train=16, val=8)
    with pytest.raises(YardError) as refused:
        room.trainings.create(PROJECT, _spec(dataset), "", Scheduling(budget=1.0))
    assert refused.value.reason is Reason.PRICE_UNKNOWN
    assert "VISIONYARD_PRICE_PER_HOUR" in refused.value.message

    monkeypatch.setenv("VISIONYARD_PRICE_PER_HOUR", "40")
    priced = Estimates(room.store, this_machine(uses_gpus=False), Price("EUR", per_hour=40.0))
    trainings = Trainings(room.store, room.trainings._table, estimates=priced)
    async with room.dispatching():
        dear = await _enough(room, trainings, dataset, tuple(Scheduling(budget=budget) for budget in (0.5, 2.0, 8.0)))
    message = job_to_proto(trainings.get(dear))
    assert message.early_stop == training_job_pb2.EARLY_STOP_BUDGET
    assert message.cost.currency == "EUR"
    assert message.cost.amount == pytest.approx(message.cost.training_time.ToMilliseconds() / 3.6e6 * 40, rel=0.01)
    assert message.estimate.expected_cost > 0
    report = report_to_proto(trainings.report(dear))
    assert (report.cost.amount, report.cost.currency) == (message.cost.amount, "EUR")
    assert report.estimate == message.estimate
    assert f"{message.cost.amount:.2f} EUR".encode() in trainings.page(dear)


@pytest.mark.long
@pytest.mark.timeout(1500)
async def test_a_limit_within_an_epoch_keeps_the_ones_before(room: Room) -> None:
    name = room.trainings.create(PROJECT, _spec(publish_shapes(room.store, train=16, val=8), epochs=1), "").job.name
    jobs = room.trainings.jobs
    async with room.dispatching():
        await room.until(lambda: jobs.get(name).state.finished, 600)
    assert jobs.get(name).state is JobState.SUCCEEDED
    room.trainings.resume(name, 5)
    # Its start-up alone takes longer, so that the limit is found to be over at the second epoch's first batch.
    jobs.records.update(name, lambda job, _: job.changed(spec={**job.spec, "time_limit_s": 1.0}))
    async with room.dispatching():
        await room.until(lambda: jobs.get(name).state.finished, 600)
    job = jobs.get(name)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert job.pointers["checkpoint"]["epoch"] == 1
    assert job_to_proto(room.trainings.get(name)).early_stop == training_job_pb2.EARLY_STOP_TIME_LIMIT
    assert job.pointers["model_version"].endswith("/versions/2")
    assert read_model_version(room.store, VersionName.parse(job.pointers["model_version"], "models")).metrics
    again = room.trainings.resume(name, 0)
    assert again.job.state is JobState.QUEUED, "it has epochs left"


@pytest.mark.timeout(900)
async def test_patience_ends_a_training_and_says_so(room: Room) -> None:
    # A classifier is right now and then from the first epoch on; Ultralytics has patience with a model that never was.
    dataset = publish_shapes(room.store, train=16, val=8, task="classify")
    spec = _spec(dataset, architecture="yolov8n-cls.yaml", overrides={**RECIPE, "plots": False, "patience": 1})
    name = room.trainings.create(PROJECT, spec, "").job.name
    async with room.dispatching():
        await room.until(lambda: room.trainings.jobs.get(name).state.finished, 800)
    message = job_to_proto(room.trainings.get(name))
    assert room.trainings.jobs.get(name).state is JobState.SUCCEEDED, message.status.error
    assert message.early_stop == training_job_pb2.EARLY_STOP_NO_IMPROVEMENT
    assert 1 < message.training_progress.epoch < 2000
