"""The project that everybody reads: who may write into it, and that no method was forgotten."""

import asyncio
import importlib
import re
from types import SimpleNamespace

import pytest
from google.protobuf import descriptor_pool

from visionyard.dataset.v1 import dataset_service_pb2, import_job_service_pb2, storage_service_pb2
from visionyard.export.v1 import export_job_pb2, export_job_service_pb2
from visionyard.inference.v1 import deployment_pb2, deployment_service_pb2
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.server.interceptors.chain import Call, Method
from visionyard.kit.server.interceptors.shared import READING, SharedProject, is_local
from visionyard.training.v1 import training_job_pb2, training_job_service_pb2
from visionyard.transfer.v1 import transfer_service_pb2

WRITING = {
    "CreateImportJob", "CancelImportJob", "DeleteDataset", "DeleteDatasetVersion", "CollectStorage",
    "CreateTrainingJob", "CancelTrainingJob", "ResumeTrainingJob", "CreateModelVersion", "CreateExportJob", "CancelExportJob",
    "CreateEvaluationJob", "CancelEvaluationJob",
    "CreateTuningJob", "CancelTuningJob",
    "CreateNotificationChannel", "DeleteNotificationChannel", "TestNotificationChannel",
    "SavePreset", "DeletePreset",
    "CreateDeployment", "UpdateDeployment", "DeleteDeployment", "StartUpload", "WriteUpload", "DeleteUpload",
}  # fmt: skip
"""Every method of ours that changes the bucket; a new one is added here, or begins with a word that says that it reads."""
SERVICES = [
    "dataset.v1.DatasetService", "dataset.v1.ImportJobService", "dataset.v1.StorageService", "training.v1.TrainingJobService", "training.v1.ModelService",
    "training.v1.NotificationService", "training.v1.PresetService", "training.v1.EvaluationJobService", "training.v1.TuningJobService",
    "export.v1.ExportJobService", "export.v1.ArtifactService", "inference.v1.DeploymentService", "inference.v1.PredictionService", "transfer.v1.TransferService",
]  # fmt: skip


def receive(method, message, peer="ipv4:10.0.0.7:4711"):
    async def go():
        call = Call(Method(f"/a.B/{method}", client_streaming=False, server_streaming=False), SimpleNamespace(peer=lambda: peer))
        async with SharedProject().around(call) as tap:
            tap.received(message)

    asyncio.run(go())


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:4711", True),
        ("ipv4:127.8.9.1:4711", True),
        ("ipv6:[::1]:4711", True),
        ("ipv6:%5B::1%5D:4711", True),
        ("ipv6:[::ffff:127.0.0.1]:4711", True),
        ("unix:", True),
        ("unix:/run/yard.sock", True),
        ("ipv4:10.0.0.7:4711", False),
        ("ipv6:[fe80::1%25eth0]:4711", False),
        ("ipv6:[::ffff:10.0.0.7]:4711", False),
        ("ipv4:127.0.0.1.evil.example:1", False),
        ("", False),
    ],
)
def test_who_sits_on_this_machine(peer, local):
    assert is_local(peer) is local


def test_every_method_is_told_to_read_or_to_write():
    pool = descriptor_pool.Default()
    for name in SERVICES:
        package, _, service = name.rpartition(".")
        importlib.import_module(f"visionyard.{package}.{re.sub('(?<!^)(?=[A-Z])', '_', service).lower()}_pb2")
    methods = {method.name for name in SERVICES for method in pool.FindServiceByName(f"visionyard.{name}").methods}
    assert {name for name in methods if not name.startswith(READING)} == WRITING


WRITES = [
    ("StartUpload", transfer_service_pb2.StartUploadRequest(parent="projects/shared")),
    ("WriteUpload", transfer_service_pb2.WriteUploadRequest(name="projects/shared/uploads/u")),
    ("CreateImportJob", import_job_service_pb2.CreateImportJobRequest(parent="projects/shared")),
    ("DeleteDataset", dataset_service_pb2.DeleteDatasetRequest(name="projects/shared/datasets/d")),
    ("CollectStorage", storage_service_pb2.CollectStorageRequest(parent="projects/shared")),
    (
        "UpdateDeployment",
        deployment_service_pb2.UpdateDeploymentRequest(deployment=deployment_pb2.Deployment(name="projects/shared/deployments/d")),
    ),
    (
        "CreateExportJob",  # the artifact would lie with its model
        export_job_service_pb2.CreateExportJobRequest(
            parent="projects/p",
            export_job=export_job_pb2.ExportJob(spec=export_job_pb2.ExportSpec(model_version="projects/shared/models/m/versions/1")),
        ),
    ),
    ("SomethingNew", dataset_service_pb2.GetDatasetRequest(name="projects/shared/datasets/d")),
]


@pytest.mark.parametrize(("method", "message"), WRITES)
def test_strangers_do_not_write_there_and_whoever_sits_there_does(method, message):
    with pytest.raises(YardError) as caught:
        receive(method, message)
    assert caught.value.reason is Reason.SHARED_READ_ONLY
    receive(method, message, peer="ipv6:[::1]:4711")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("GetDataset", dataset_service_pb2.GetDatasetRequest(name="projects/shared/datasets/d")),
        ("DeleteDataset", dataset_service_pb2.DeleteDatasetRequest(name="projects/shared2/datasets/d")),
        ("CollectStorage", storage_service_pb2.CollectStorageRequest(parent="projects/p")),
        (
            "CreateTrainingJob",
            training_job_service_pb2.CreateTrainingJobRequest(
                parent="projects/p",
                training_job=training_job_pb2.TrainingJob(
                    spec=training_job_pb2.TrainingSpec(dataset_version="projects/shared/datasets/d/versions/1")
                ),
            ),
        ),
    ],
)
def test_everybody_reads_and_refers_to_what_is_there(method, message):
    receive(method, message)
