"""Trainings on a real NVIDIA GPU: mixed precision, one process a GPU, what it measures of itself, and what it says when the GPU's memory runs out."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving import serving
from shapes import RECIPE, publish_shapes

from visionyard.jobs.v1 import job_pb2
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.training.gpus import gpu_models, gpu_uuids
from visionyard.training.v1 import machine_service_pb2, machine_service_pb2_grpc, training_job_pb2, training_job_service_pb2_grpc
from visionyard.training.v1 import training_job_service_pb2 as messages

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]
PARENT = "projects/default"
ON_ITS_GPUS = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(len(gpu_uuids())))))}
"""The service's, where the other tests have none."""


@pytest.fixture(autouse=True)
def gpus() -> list[str]:
    """The GPUs' names."""
    found = gpu_models()
    if not found:
        reason = "no NVIDIA GPU can be reached"
        pytest.fail(reason) if os.environ.get("VISIONYARD_GPU_TEST") else pytest.skip(reason)
    return found


def _trained(channel: grpc.Channel, dataset: str, overrides: dict[str, Any], **spec: Any) -> training_job_pb2.TrainingJob:
    jobs = training_job_service_pb2_grpc.TrainingJobServiceStub(channel)
    wanted = training_job_pb2.TrainingSpec(**{"dataset_version": dataset, "model": f"{PARENT}/models/m", **spec})
    wanted.overrides.update({name: value for name, value in {**RECIPE, **overrides}.items() if value is not None})
    request = messages.CreateTrainingJobRequest(parent=PARENT, training_job=training_job_pb2.TrainingJob(spec=wanted))
    name = jobs.CreateTrainingJob(request).training_job.name
    return [snapshot.training_job for snapshot in jobs.WatchTrainingJob(messages.WatchTrainingJobRequest(name=name))][-1]


def _log(channel: grpc.Channel, name: str) -> str:
    jobs = training_job_service_pb2_grpc.TrainingJobServiceStub(channel)
    return b"".join(part.data for part in jobs.ReadLogs(messages.ReadLogsRequest(name=name))).decode(errors="replace")


@pytest.mark.parametrize("gpus_wanted", [0, 1])
def test_a_training_learns_with_mixed_precision_and_measures_its_gpu(
    seaweed_settings: dict[str, str], s3_store: ObjectStore, tmp_path: Path, gpus: list[str], gpus_wanted: int
) -> None:
    dataset = publish_shapes(s3_store, train=256, val=64)
    metrics = tmp_path / "metrics"
    with serving(seaweed_settings, tmp_path, **ON_ITS_GPUS, VISIONYARD_METRICS_LISTEN="127.0.0.1:19102") as channel:
        job = _trained(
            channel, dataset, {"amp": True}, architecture="yolov8n.yaml", epochs=20, batch_size=16, image_size_px=64, gpus=gpus_wanted
        )
        assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, _log(channel, job.name)[-3000:]
        metrics.write_bytes(urllib.request.urlopen("http://127.0.0.1:19102/metrics", timeout=10).read())
        jobs = training_job_service_pb2_grpc.TrainingJobServiceStub(channel)
        report = jobs.GetTrainingReport(messages.GetTrainingReportRequest(name=job.name)).report
        machines = machine_service_pb2_grpc.MachineServiceStub(channel)
        own = next(m for m in machines.ListMachines(machine_service_pb2.ListMachinesRequest(parent=PARENT)).machines if m.own)
    assert report.device.startswith("cuda"), report.device
    assert report.gpu.name in gpus
    assert report.gpu.peak_memory_bytes > 100 << 20
    assert 0 < report.gpu.utilisation_ratio <= 1
    assert max(figures.values["metrics/mAP50(B)"] for figures in report.epoch_figures) > 0.5
    assert own.gpu_model
    assert own.measurement_count == 1
    shown = metrics.read_text()
    for name in ("visionyard_training_gpu_utilisation_ratio{", "visionyard_training_gpu_memory_bytes{"):
        assert name in shown
    assert 'visionyard_training_slots{device="gpu"} 0.0' not in shown
    print(f"\n{report.gpu}\n{report.images_per_second:.0f} images/s, {report.phase_times}")


def test_when_the_gpu_s_memory_runs_out_it_says_what_to_change(
    seaweed_settings: dict[str, str], s3_store: ObjectStore, tmp_path: Path
) -> None:
    """64 pictures of 4,096 pixels at once take more than any GPU has, and so do the 8 that Ultralytics tries in the end."""
    dataset = publish_shapes(s3_store, train=64, val=4)
    with serving(seaweed_settings, tmp_path, **ON_ITS_GPUS) as channel:
        job = _trained(
            channel, dataset, {"amp": True, "workers": 2}, architecture="yolov8x.yaml", epochs=1, batch_size=64, image_size_px=4096
        )
        assert job.status.state == job_pb2.JOB_STATE_FAILED
        for word in ("out of memory", "--batch", "--imgsz"):
            assert word in job.status.error.message, job.status.error.message
        again = _trained(channel, dataset, {"amp": True}, architecture="yolov8n.yaml", epochs=1, batch_size=16, image_size_px=64)
        assert again.status.state == job_pb2.JOB_STATE_SUCCEEDED, "the GPU's memory is free again"
