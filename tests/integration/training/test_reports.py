"""The report of a training: its figures are Ultralytics' own, over all attempts, and stay bounded."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from shapes import RECIPE, publish_shapes

from conftest import PROJECT, Room
from visionyard.kit.jobs.model import JobState
from visionyard.training.spec import TrainingSpec


@pytest.mark.timeout(900)
async def test_a_preempted_training_reports_all_of_its_time_and_errors(room: Room) -> None:
    spec = TrainingSpec(
        publish_shapes(room.store, train=64, val=24),
        "projects/default/models/m",
        architecture="yolov8n.yaml",
        epochs=6,
        batch_size=8,
        image_size_px=64,
        overrides={**RECIPE, "plots": False},
    )
    name = room.trainings.create(PROJECT, spec, "").job.name
    jobs = room.trainings.jobs
    async with room.dispatching():
        await room.until(lambda: (jobs.get(name).pointers.get("checkpoint") or {}).get("epoch", 0) >= 2, 240)
        before = jobs.get(name).pointers["checkpoint"]
        room.workers()[0].send_signal(signal.SIGTERM)
        await room.until(lambda: jobs.get(name).state.finished, 240)
    job = jobs.get(name)
    assert (job.state, job.error, job.attempt) == (JobState.SUCCEEDED, None, 2)
    measured: dict[str, Any] = job.pointers["checkpoint"]["measured"]
    print(before, measured)
    assert measured["images"] == 6 * 64
    files = room.trainings.files(name)
    document = json.loads(room.store.get(files["report.json"].key).data)
    print(json.dumps(document)[:6000])
    assert False
