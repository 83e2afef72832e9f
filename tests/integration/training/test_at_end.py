"""A real service that trains, and then runs its operator's command: not before its result is safe, and once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from serving import free_address, serving
from shapes import RECIPE, publish_shapes

from visionyard.client import Client, transport
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.host import METADATA_KEY
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.training.v1 import training_job_pb2, training_job_service_pb2_grpc
from visionyard.training.v1 import training_job_service_pb2 as messages
from visionyard.transfer.v1 import transfer_service_pb2, transfer_service_pb2_grpc

PARENT = "projects/default"


def _trained(channel: grpc.Channel, dataset: str) -> training_job_pb2.TrainingJob:
    """A training of one epoch, ended."""
    jobs = training_job_service_pb2_grpc.TrainingJobServiceStub(channel)
    spec = training_job_pb2.TrainingSpec(
        dataset_version=dataset, model=f"{PARENT}/models/m", architecture="yolov8n.yaml", epochs=1, batch_size=8, image_size_px=64
    )
    spec.overrides.update({**RECIPE, "plots": False})
    request = messages.CreateTrainingJobRequest(parent=PARENT, training_job=training_job_pb2.TrainingJob(spec=spec))
    name = jobs.CreateTrainingJob(request).training_job.name
    last = [snapshot.training_job for snapshot in jobs.WatchTrainingJob(messages.WatchTrainingJobRequest(name=name))][-1]
    assert last.status.state == job_pb2.JOB_STATE_SUCCEEDED, last.status.error
    return last


def _waits_for(channel: grpc.Channel) -> str:
    jobs = training_job_service_pb2_grpc.TrainingJobServiceStub(channel)
    return jobs.GetTrainingQueue(messages.GetTrainingQueueRequest(parent=PARENT)).end_command_waits_for


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.2)


def _has(channel: grpc.Channel, version: str, host: str, sha256: str) -> None:
    transfers = transfer_service_pb2_grpc.TransferServiceStub(channel)
    request = transfer_service_pb2.ConfirmDownloadRequest(name=version, path="best.pt", sha256=sha256)
    transfers.ConfirmDownload(request, metadata=((METADATA_KEY, host),))


def _downloaded(address: str, version: str, folder: Path) -> None:
    """As `yard model download` does it."""
    with Client(addresses={"training": address}) as client:
        client.models.download(version, folder)


@pytest.mark.timeout(600)
def test_with_a_store_on_the_machine_it_waits_for_a_download_to_another(
    seaweed_settings: dict[str, str], s3_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, off, address = publish_shapes(s3_store, train=8, val=4), tmp_path / "off", free_address()
    command = f'echo "$VISIONYARD_S3_SECRET_KEY" off >> {off}'
    variables = {"VISIONYARD_LISTEN": address, "VISIONYARD_END_COMMAND": command, "VISIONYARD_END_AFTER_S": "1"}
    with serving(seaweed_settings, tmp_path, **variables) as channel:
        assert _waits_for(channel) == ""
        version = _trained(channel, dataset).model_version
        _until(lambda: "weights/best.pt of job" in _waits_for(channel))
        for sha256 in ("", "0" * 64):
            _has(channel, version, "0" * 16, sha256)  # it has something else
        _downloaded(address, version, tmp_path / "here")
        time.sleep(5)
        assert not off.exists(), "a copy on the same machine is no other one"
        monkeypatch.setattr(transport, "host_id", lambda: "0" * 16)
        _downloaded(address, version, tmp_path / "here")  # it lies there already, which is to be told all the same
        _until(off.exists)
        _until(lambda: _waits_for(channel) == "")
        time.sleep(5)
    assert off.read_text() == " off\n"
    assert command not in (tmp_path / "service.log").read_text()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_where_the_disk_outlives_the_machine_it_waits_for_nobody(
    seaweed_settings: dict[str, str], s3_store: ObjectStore, tmp_path: Path
) -> None:
    dataset, off = publish_shapes(s3_store, train=8, val=4), tmp_path / "off"
    variables = {"VISIONYARD_END_COMMAND": f"touch {off}", "VISIONYARD_END_AFTER_S": "3", "VISIONYARD_KEEP_LOCAL": "true"}
    with serving(seaweed_settings, tmp_path, **variables) as channel:
        _trained(channel, dataset)
        _until(off.exists)
