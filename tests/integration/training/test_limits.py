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
from visionyard.kit.names import VersionName
from visionyard.training.estimates.estimates import Estimates
from visionyard.training.estimates.machine import this_machine
from visionyard.training.estimates.price import Price
from visionyard.training.mapping import job_to_proto
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


@pytest.mark.timeout(900)
async def test_a_training_ends_well_when_its_time_is_over_and_may_go_on(room: Room) -> None:
    dataset = publish_shapes(room.store, train=16, val=8)
    jobs = room.trainings.jobs
    name = room.trainings.create(PROJECT, _spec(dataset), "", Scheduling(time_limit_s=90)).job.name
    assert room.trainings.get(name).job.spec["time_limit_s"] == 90
    async with room.dispatching():
        await room.until(lambda: jobs.get(name).state.finished, 400)
        job = jobs.get(name)
        assert (job.state, job.error) == (JobState.SUCCEEDED, None)
        message = job_to_proto(room.trainings.get(name))
        assert message.early_stop == training_job_pb2.EARLY_STOP_TIME_LIMIT
        assert message.scheduling.time_limit.seconds == 90
        reached = message.training_progress.epoch
        assert 1 <= reached < 2000
        assert read_model_version(room.store, VersionName.parse(job.pointers["model_version"], "models")).metrics
        resumed = room.trainings.resume(name, reached + 1)
        assert "early_stop" not in resumed.job.pointers
        assert "spent" not in resumed.job.pointers
        await room.until(lambda: jobs.get(name).state.finished, 400)
    job = jobs.get(name)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    assert job.pointers["checkpoint"]["epoch"] == reached + 1
    assert job_to_proto(room.trainings.get(name)).early_stop == training_job_pb2.EARLY_STOP_UNSPECIFIED


@pytest.mark.timeout(600)
async def test_a_limit_before_the_first_epochs_end_is_a_failure_that_says_so(room: Room) -> None:
    name = room.trainings.create(PROJECT, _spec(publish_shapes(room.store, train=16, val=8)), "", Scheduling(time_limit_s=1)).job.name
    async with room.dispatching():
        await room.until(lambda: room.trainings.jobs.get(name).state.finished, 300)
    job = room.trainings.jobs.get(name)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error.reason, job.error.metadata) == (Reason.LIMIT_REACHED, {"limit": "time limit of 1 s"})
    assert "--time-limit" in job.error.message


@pytest.mark.timeout(600)
async def test_a_budget_ends_a_training_by_the_price_and_patience_without_one(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = publish_shapes(room.store, train=16, val=8)
    with pytest.raises(YardError) as refused:
        room.trainings.create(PROJECT, _spec(dataset), "", Scheduling(budget=1.0))
    assert refused.value.reason is Reason.PRICE_UNKNOWN
    assert "VISIONYARD_PRICE_PER_HOUR" in refused.value.message

    monkeypatch.setenv("VISIONYARD_PRICE_PER_HOUR", "40")
    priced = Estimates(room.store, this_machine(uses_gpus=False), Price("EUR", per_hour=40.0))
    trainings = Trainings(room.store, room.trainings._table, estimates=priced)
    dear = trainings.create(PROJECT, _spec(dataset), "", Scheduling(budget=1.0)).job.name
    free = trainings.create(
        PROJECT, _spec(dataset, overrides={**RECIPE, "plots": False, "patience": 1, "lr0": 1e-6, "warmup_epochs": 0}), ""
    ).job.name
    async with room.dispatching():
        await room.until(lambda: all(trainings.jobs.get(name).state.finished for name in (dear, free)), 500)
    message = job_to_proto(trainings.get(dear))
    assert trainings.jobs.get(dear).state is JobState.SUCCEEDED, trainings.jobs.get(dear).error
    assert message.early_stop == training_job_pb2.EARLY_STOP_BUDGET
    assert message.cost.currency == "EUR"
    assert message.cost.amount == pytest.approx(message.cost.training_time.ToMilliseconds() / 3.6e6 * 40, rel=0.01)
    assert message.estimate.expected_cost > 1
    assert job_to_proto(trainings.get(free)).early_stop == training_job_pb2.EARLY_STOP_NO_IMPROVEMENT
