"""The line spoken over plain gRPC with the generated stubs, as a client in any language would: what the end-to-end tests use where `yard` would be in the way."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import google_crc32c
import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from visionyard.dataset.v1 import dataset_service_pb2_grpc, import_job_pb2, import_job_service_pb2, import_job_service_pb2_grpc
from visionyard.export.v1 import artifact_service_pb2_grpc, export_job_service_pb2_grpc
from visionyard.inference.v1 import deployment_service_pb2_grpc, prediction_service_pb2_grpc
from visionyard.training.v1 import model_service_pb2, model_service_pb2_grpc, training_job_service_pb2_grpc
from visionyard.transfer.v1 import transfer_service_pb2, transfer_service_pb2_grpc

CHUNK = 1 << 20
LIMIT = 256 << 20


@dataclass
class Refused(Exception):
    """An error that came over the wire."""

    code: str
    reason: str
    message: str


def decode(status: status_pb2.Status, fallback: str = "") -> Refused:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            assert info.domain == "visionyard"
            break
    code = next(c.name for c in grpc.StatusCode if c.value[0] == status.code)
    return Refused(code, info.reason, status.message or fallback)


def refusal(error: grpc.RpcError) -> Refused:
    """The refusal that an RpcError carries; without details its code and text alone."""
    status = rpc_status.from_call(error)
    if status is None:
        return Refused(error.code().name, "", error.details() or "")
    return decode(status)


class Wire:
    """Stubs of all services."""

    def __init__(self, addresses: dict[str, str]) -> None:
        options = [("grpc.max_send_message_length", LIMIT), ("grpc.max_receive_message_length", LIMIT)]
        self.channels = {name: grpc.insecure_channel(address, options=options) for name, address in addresses.items()}
        channel = self.channels
        self.transfer = {name: transfer_service_pb2_grpc.TransferServiceStub(channel[name]) for name in ("dataset", "training")}
        self.datasets = dataset_service_pb2_grpc.DatasetServiceStub(channel["dataset"])
        self.imports = import_job_service_pb2_grpc.ImportJobServiceStub(channel["dataset"])
        self.training = training_job_service_pb2_grpc.TrainingJobServiceStub(channel["training"])
        self.models = model_service_pb2_grpc.ModelServiceStub(channel["training"])
        self.exports = export_job_service_pb2_grpc.ExportJobServiceStub(channel["export"])
        self.artifacts = artifact_service_pb2_grpc.ArtifactServiceStub(channel["export"])
        self.deployments = deployment_service_pb2_grpc.DeploymentServiceStub(channel["inference"])
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel["inference"])

    def close(self) -> None:
        for channel in self.channels.values():
            channel.close()

    def upload(self, service: str, data: bytes) -> str:
        stub = self.transfer[service]
        request = transfer_service_pb2.StartUploadRequest(
            parent="projects/default", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), request_id=str(uuid.uuid4())
        )
        upload = stub.StartUpload(request, timeout=60).upload
        if not upload.complete:
            upload = stub.WriteUpload(_chunks(upload.name, data), timeout=120).upload
        assert upload.complete
        return str(upload.name)

    def import_archive(self, data: bytes, dataset: str = "bad", name: str = "archive.zip", **spec: object) -> import_job_pb2.ImportJob:
        """Uploads and imports; the job as it ended."""
        wanted = import_job_pb2.ImportSpec(
            dataset=f"projects/default/datasets/{dataset}", upload=self.upload("dataset", data), source_name=name, **spec
        )
        request = import_job_service_pb2.CreateImportJobRequest(
            parent="projects/default", import_job=import_job_pb2.ImportJob(spec=wanted), request_id=str(uuid.uuid4())
        )
        job = self.imports.CreateImportJob(request, timeout=60).import_job
        for snapshot in self.imports.WatchImportJob(import_job_service_pb2.WatchImportJobRequest(name=job.name), timeout=300):
            job = snapshot.import_job
        return job

    def push(self, data: bytes, model: str = "bad", name: str = "weights.pt") -> model_service_pb2.CreateModelVersionResponse:
        request = model_service_pb2.CreateModelVersionRequest(
            parent=f"projects/default/models/{model}", upload=self.upload("training", data), source_name=name
        )
        return self.models.CreateModelVersion(request, timeout=120)


def _chunks(name: str, data: bytes) -> Iterator[transfer_service_pb2.WriteUploadRequest]:
    for offset in range(0, max(len(data), 1), CHUNK):
        part = data[offset : offset + CHUNK]
        yield transfer_service_pb2.WriteUploadRequest(name=name, offset=offset, data=part, crc32c=google_crc32c.value(part))
