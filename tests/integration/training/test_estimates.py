"""Estimates of real trainings: wrong by little from the third run on, side by side with machines that were brought in, refined while a training runs.

Machines that tests run on are busy with other things, so the bounds are loose.
"""

from __future__ import annotations

import dataclasses
import signal
from datetime import UTC, datetime
from typing import Any

import pytest
from shapes import RECIPE, publish_shapes

from conftest import PROJECT, Room
from visionyard.kit.jobs.model import Job, JobState
from visionyard.kit.names import ResourceName
from visionyard.training.estimates.estimator import Basis
from visionyard.training.estimates.machine import Machine
from visionyard.training.estimates.measured import MeasuredMachine
from visionyard.training.estimates.price import Price
from visionyard.training.mapping import job_to_proto
from visionyard.training.report_mapping import report_to_proto
from visionyard.training.spec import TrainingSpec
from visionyard.training.v1 import training_job_pb2


def _spec(dataset: str, **changes: Any) -> TrainingSpec:
    spec = TrainingSpec(
        dataset,
        "projects/default/models/m",
        architecture="yolov8n.yaml",
        epochs=2,
        batch_size=8,
        image_size_px=64,
        overrides={**RECIPE, "plots": False},
    )
    return dataclasses.replace(spec, **changes)


async def _ended(room: Room, name: ResourceName) -> Job:
    await room.until(lambda: room.trainings.jobs.get(name).state.finished, 240)
    job = room.trainings.jobs.get(name)
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    return job


@pytest.mark.timeout(900)
async def test_from_the_third_run_on_the_estimate_is_about_right(room: Room) -> None:
    dataset = publish_shapes(room.store, train=24, val=8)
    first = room.trainings.estimate(PROJECT, _spec(dataset))
    assert [one.own for one in first] == [True]
    assert (first[0].expectation.basis, first[0].expectation.past_estimates) == (Basis.ROUGH, 0)
    taken, expected = [], []
    async with room.dispatching():
        for _ in range(3):
            name = room.trainings.create(PROJECT, _spec(dataset), "").job.name
            job = await _ended(room, name)
            message = job_to_proto(room.trainings.get(name))
            expected.append(message.estimate.expected_duration.ToMilliseconds() / 1000)
            taken.append((job.end_time - job.start_time).total_seconds())  # type: ignore[operator] - it has ended
            assert message.cost.training_time.ToMilliseconds() / 1000 == pytest.approx(taken[-1], abs=3)
            report = report_to_proto(room.trainings.report(name))
            assert (report.cost.training_time, report.cost.currency) == (message.cost.training_time, "")
            assert report.estimate == message.estimate
            assert message.early_stop == training_job_pb2.EARLY_STOP_UNSPECIFIED
    assert 0.5 <= expected[2] / taken[2] <= 2, f"expected {expected}, taken {taken}"
    now = room.trainings.estimate(PROJECT, _spec(dataset))[0]
    assert (now.expectation.basis, now.expectation.rests_on, now.expectation.past_estimates) == (Basis.SAME, 3, 3)
    measured = now.known.measurements
    assert [one.epochs for one in measured] == [2] * 3
    errors = [abs(e / t - 1) for e, t in zip(expected, taken, strict=True)]
    assert now.expectation.past_error_ratio == pytest.approx(sum(errors) / 3, rel=0.3)
    for one in measured:
        parts = one.start_up_s + one.fetch_s + one.first_extra_s + one.epochs * (one.train_s + one.val_s + one.save_s) + (one.end_s or 0)
        assert parts == pytest.approx(one.taken_s, rel=0.1), "the parts make the whole"
        assert (one.effort.train_images, one.effort.val_images, one.effort.batch_size) == (24, 8, 8)
        assert one.effort.parameter_count > 1_000_000
    longer = room.trainings.estimate(PROJECT, _spec(dataset, epochs=20))[0].expectation
    assert longer.seconds == pytest.approx(now.expectation.seconds + 18 * now.expectation.epoch_s)
    larger = room.trainings.estimate(PROJECT, _spec(dataset, image_size_px=640, architecture="yolov8s.yaml"))[0].expectation
    assert larger.basis is Basis.SCALED
    assert larger.epoch_s > 5 * now.expectation.epoch_s
    text = room.store.get(f"machines/{now.known.machine.id}.json").data.decode()
    assert dataset not in text
    assert "projects/" not in text
    assert "shapes" not in text


@pytest.mark.timeout(600)
async def test_a_running_training_tells_when_it_will_end_and_a_preempted_one_is_measured_too(room: Room) -> None:
    dataset = publish_shapes(room.store, train=24, val=8)
    name = room.trainings.create(PROJECT, _spec(dataset, epochs=8), "").job.name
    jobs = room.trainings.jobs
    async with room.dispatching():
        await room.until(lambda: (jobs.get(name).pointers.get("checkpoint") or {}).get("epoch", 0) >= 3, 240)
        view = room.trainings.get(name)
        assert view.expected_end is not None
        assert view.expected_end > datetime.now(UTC)
        spent = job_to_proto(view).cost.training_time.ToMilliseconds()
        assert spent > 0
        room.workers()[0].send_signal(signal.SIGTERM)
        await room.until(lambda: jobs.get(name).attempt == 2, 60)
        job = await _ended(room, name)
    measured = room.trainings.estimates.machines(PROJECT)[0].measurements
    assert [(one.end_s is None, one.taken_s is None) for one in measured] == [(False, True), (True, True)], "neither ran through"
    assert sum(one.epochs for one in measured) <= 8
    message = job_to_proto(room.trainings.get(name))
    assert message.cost.training_time.ToMilliseconds() > spent
    assert not message.training_progress.HasField("expected_end_time")
    assert job.pointers["checkpoint"]["epoch"] == 8


async def test_machines_that_were_brought_in_stand_beside_this_one(room: Room) -> None:
    dataset = publish_shapes(room.store, train=24, val=8)
    async with room.dispatching():
        await _ended(room, room.trainings.create(PROJECT, _spec(dataset), "").job.name)
    estimates = room.trainings.estimates
    (own,) = estimates.export(PROJECT, [])
    slow, fast = Machine("Old CPU", 1, 4 << 30), Machine("New CPU", 64, 256 << 30, "Large GPU", 1)

    def elsewhere(machine: Machine, factor: float, price: Price | None) -> MeasuredMachine:
        measurements = [
            dataclasses.replace(one, id=f"{int(one.id, 16) ^ machine.cpu_cores:032x}", train_s=one.train_s * factor, start_up_s=5.0)
            for one in own.measurements
        ]
        return MeasuredMachine(machine, tuple(measurements), price)

    found = [elsewhere(slow, 4.0, None), elsewhere(fast, 0.1, Price("EUR", per_hour=2.5))]
    for _ in range(2):  # twice is once
        assert len(estimates.bring_in(PROJECT, found)) == 2
    estimates.set_price(ResourceName("default", "machines", slow.id), Price("EUR", per_month=30.0))
    beside = room.trainings.estimate(PROJECT, _spec(dataset, epochs=1000))
    assert beside[0].own
    times = {one.known.machine.id: one for one in beside}
    assert set(times) == {own.machine.id, slow.id, fast.id}
    assert times[fast.id].expectation.seconds < times[own.machine.id].expectation.seconds < times[slow.id].expectation.seconds
    assert times[fast.id].cost == pytest.approx(times[fast.id].expectation.seconds / 3600 * 2.5)
    assert times[slow.id].cost == pytest.approx(times[slow.id].expectation.seconds / 3600 * 30 / 730.5)
    assert times[own.machine.id].cost == 0
    assert len(times[slow.id].known.measurements) == 1
