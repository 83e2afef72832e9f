"""A training that takes more memory than its operator lets it: it ends with the reason and with what to change, and the service goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import serving
from shapes import RECIPE, publish_shapes

from visionyard.jobs.v1 import job_pb2
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.training.v1 import training_job_pb2, training_job_service_pb2_grpc
from visionyard.training.v1 import training_job_service_pb2 as messages


@pytest.mark.timeout(300)
def test_a_training_beyond_its_memory_ends_with_what_to_change(
    seaweed_settings: dict[str, str], s3_store: ObjectStore, tmp_path: Path
) -> None:
    dataset = publish_shapes(s3_store, train=8, val=4)
    with serving(seaweed_settings, tmp_path, VISIONYARD_JOB_MEMORY_BYTES=str(300 << 20)) as channel:
        jobs = training_job_service_pb2_grpc.TrainingJobServiceStub(channel)
        spec = training_job_pb2.TrainingSpec(
            dataset_version=dataset, model="projects/default/models/m", architecture="yolov8n.yaml", epochs=50, image_size_px=64
        )
        spec.overrides.update(RECIPE)
        request = messages.CreateTrainingJobRequest(parent="projects/default", training_job=training_job_pb2.TrainingJob(spec=spec))
        name = jobs.CreateTrainingJob(request).training_job.name
        last = [snapshot.training_job for snapshot in jobs.WatchTrainingJob(messages.WatchTrainingJobRequest(name=name))][-1]
        assert (last.status.state, last.status.attempt) == (job_pb2.JOB_STATE_FAILED, 1)
        assert last.status.error.details
        for word in ("spare the others", "VISIONYARD_JOB_MEMORY_BYTES lets it take 0.3 GiB", "--batch", "--set workers=2"):
            assert word in last.status.error.message
