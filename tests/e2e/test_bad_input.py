"""Bad input over live gRPC: one clear sentence, a status code and a reason, and nothing left behind but the failed job's record."""

import os
import signal
import tarfile
import time
import uuid
import zipfile
from pathlib import Path

import grpc
import pytest
from hostile import (
    LABEL,
    LFS_POINTER,
    checkpoint_that_runs,
    encrypted,
    entity_bomb,
    external_entity,
    good,
    huge_png,
    link,
    photo,
    pickle_that_runs,
    tarred,
    yaml_that_runs,
    yolo_with,
    zipped,
)
from wire import Refused, decode, refusal

from visionyard.dataset.v1 import dataset_service_pb2
from visionyard.inference.v1 import prediction_service_pb2
from visionyard.jobs.v1 import job_pb2
from visionyard.training.v1 import training_job_pb2, training_job_service_pb2

WHOLE = zipped(good())
ARCHIVES = {
    "no archive": (os.urandom(5000), "ARCHIVE_UNREADABLE"),
    "empty file": (b"", "ARCHIVE_UNREADABLE"),
    "truncated zip": (WHOLE[: len(WHOLE) // 2], "ARCHIVE_TRUNCATED"),
    "encrypted zip": (encrypted(), "ARCHIVE_ENCRYPTED"),
    "zip bomb": (zipped([*good(), ("images/zeros.jpg", bytes(600_000_000))], compression=zipfile.ZIP_DEFLATED), "ARCHIVE_BOMB"),
    "climbs out": (zipped([*good(), ("../../climbed.txt", "x")]), "ARCHIVE_UNSAFE_PATH"),
    "absolute path": (
        tarred([(tarfile.TarInfo("images/a.jpg"), photo()), (tarfile.TarInfo("/tmp/visionyard_climbed.txt"), b"x")]),
        "ARCHIVE_UNSAFE_PATH",
    ),
    "symbolic link": (
        tarred([(tarfile.TarInfo("images/a.jpg"), photo()), (link("images/l.jpg", "/etc/passwd", tarfile.SYMTYPE), b"")]),
        "ARCHIVE_UNSAFE_PATH",
    ),
    "hard link": (
        tarred([(tarfile.TarInfo("images/a.jpg"), photo()), (link("images/l.jpg", "/etc/passwd", tarfile.LNKTYPE), b"")]),
        "ARCHIVE_UNSAFE_PATH",
    ),
    "no images": (zipped([("data.yaml", "names: [a]\n"), ("labels/a.txt", LABEL)]), "NO_IMAGES"),
    "no labels": (zipped([("images/a.jpg", photo()), ("images/b.jpg", photo(1))]), "NO_LABELS"),
    "only unknown class ids": (yolo_with("7 0.5 0.5 0.2 0.2\n"), "NO_LABELS"),
    "only NaN": (yolo_with("0 nan 0.5 0.2 0.2\n"), "NO_LABELS"),
    "only out of range": (yolo_with("0 7.5 0.5 0.2 0.2\n"), "NO_LABELS"),
    "only corrupt images": (
        zipped([("images/a.jpg", photo()[:300]), ("labels/a.txt", LABEL), ("data.yaml", "names: [thing]\n")]),
        "NO_IMAGES",
    ),
    "XML entity bomb": (entity_bomb(), "ANNOTATION_BOMB"),
    "XML external entity": (external_entity(), "ANNOTATION_BOMB"),
}


def sentence(error: Refused) -> None:
    assert error.message, "no message"
    assert len(error.message) <= 600
    assert "Traceback" not in error.message
    assert "/work" not in error.message


def nothing_left(stack, before):
    """The bucket holds what it held, besides the records of failed jobs. A worker takes the queue's marker away, and merges its log, just after the job's end is told."""
    end = time.monotonic() + 20
    while left := {key for key in stack.keys() - before if "/importJobs/" not in key and "/requests/" not in key}:
        assert time.monotonic() < end, left
        time.sleep(0.1)


@pytest.mark.parametrize("name", ARCHIVES)
def test_bad_archives(stack, name):
    data, reason = ARCHIVES[name]
    before = stack.keys()
    job = stack.wire.import_archive(data)
    assert job.status.state == job_pb2.JOB_STATE_FAILED
    error = decode(job.status.error)
    assert error.reason == reason, error
    assert error.code == "INVALID_ARGUMENT"
    sentence(error)
    nothing_left(stack, before)
    assert not Path("/tmp/visionyard_climbed.txt").exists()


def test_one_bad_row_or_image_is_dropped_and_named(stack):
    rows = LABEL + "7 0.5 0.5 0.2 0.2\n" + "0 nan 0.5 0.2 0.2\n" + "0 3.5 0.5 0.2 0.2\n" + "0 0.5 0.5 0 0.1\n"
    entries = [
        *[(f"images/{i}.jpg", photo(i)) for i in range(8)],
        *[(f"labels/{i}.txt", rows if i == 3 else LABEL) for i in range(8)],
        ("images/broken.jpg", photo()[:400]),
        ("labels/broken.txt", LABEL),
        ("images/huge.png", huge_png()),
        ("labels/huge.txt", LABEL),
        ("data.yaml", "names: [thing]\n"),
    ]
    job = stack.wire.import_archive(zipped(entries), dataset=f"odd-{uuid.uuid4().hex[:6]}")
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED, job.status.error
    report = job.report
    assert (report.images.found, report.images.kept, report.images.dropped) == (10, 8, 2)
    assert report.labels.kept == 8
    assert report.labels.found == report.labels.kept + report.labels.dropped
    assert sum(report.dropped_by_code.values()) == report.labels.dropped == 6
    lines = {(finding.file, finding.line) for finding in report.findings}
    assert {("labels/3.txt", line) for line in (2, 3, 4, 5)} <= lines
    assert {"images/broken.jpg", "images/huge.png"} <= {finding.file for finding in report.findings}
    assert all(finding.code and finding.message and finding.remedy for finding in report.findings)


WEIGHTS = {
    "Git LFS pointer": lambda _: (LFS_POINTER, "WEIGHTS_UNREADABLE"),
    "noise": lambda _: (os.urandom(5000), "WEIGHTS_UNREADABLE"),
    "empty": lambda _: (b"", "WEIGHTS_UNREADABLE"),
    "pickle that runs code": lambda trap: (pickle_that_runs(trap), "WEIGHTS_UNSAFE"),
    "checkpoint that runs code": lambda trap: (checkpoint_that_runs(trap), "WEIGHTS_UNSAFE"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_bad_weights(stack, tmp_path, name):
    trap = str(tmp_path / "ran")
    data, reason = WEIGHTS[name](trap)
    before = stack.keys()
    with pytest.raises(grpc.RpcError) as caught:
        stack.wire.push(data)
    error = refusal(caught.value)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", reason)
    sentence(error)
    assert stack.keys() == before
    assert not Path(trap).exists()


def test_truncated_weights(stack, test_data):
    paths = sorted((test_data / "nasty").glob("*truncated*.pt"))
    assert paths, "the test data has no truncated weights"
    for path in paths:
        before = stack.keys()
        with pytest.raises(grpc.RpcError) as caught:
            stack.wire.push(path.read_bytes())
        assert refusal(caught.value).reason == "WEIGHTS_UNREADABLE"
        assert stack.keys() == before


def test_a_model_yaml_that_would_run_code(stack, small_dataset, tmp_path):
    trap = str(tmp_path / "ran")
    spec = training_job_pb2.TrainingSpec(
        dataset_version=f"projects/default/datasets/{small_dataset}/versions/-",
        model_yaml=yaml_that_runs(trap),
        model="projects/default/models/bad",
        epochs=1,
    )
    request = training_job_service_pb2.CreateTrainingJobRequest(
        parent="projects/default", training_job=training_job_pb2.TrainingJob(spec=spec)
    )
    before = stack.keys()
    with pytest.raises(grpc.RpcError) as caught:
        stack.wire.training.CreateTrainingJob(request, timeout=60)
    error = refusal(caught.value)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "MODEL_YAML_INVALID")
    sentence(error)
    assert stack.keys() == before
    assert not Path(trap).exists()


def predict(stack, image: bytes, name: str, **options):
    wanted = prediction_service_pb2.PredictOptions(**options) if options else None
    request = prediction_service_pb2.PredictRequest(name=f"projects/default/deployments/{name}", image=image, options=wanted)
    return stack.wire.predictions.Predict(request, timeout=60)


PICTURES = {
    "50,000 x 50,000 pixels": (huge_png(), {}, "INVALID_ARGUMENT", "IMAGE_TOO_LARGE"),
    "no bytes": (b"", {}, "INVALID_ARGUMENT", "INVALID_FIELD"),
    "no image": (os.urandom(4000), {}, "INVALID_ARGUMENT", "IMAGE_UNREADABLE"),
    "truncated": (photo()[:400], {}, "INVALID_ARGUMENT", "IMAGE_UNREADABLE"),
    "too many bytes": (b"\xff\xd8\xff" + bytes(20 << 20), {}, "RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE"),
    "confidence out of range": (photo(), {"confidence": 1.5}, "INVALID_ARGUMENT", "INVALID_FIELD"),
    "IoU not a number": (photo(), {"iou": float("nan")}, "INVALID_ARGUMENT", "INVALID_FIELD"),
    "class that the model has not": (photo(), {"class_ids": [99]}, "INVALID_ARGUMENT", "INVALID_FIELD"),
    "no detections wanted": (photo(), {"max_detections": 0}, "INVALID_ARGUMENT", "INVALID_FIELD"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_bad_predictions(stack, small_deployment, name):
    image, options, code, reason = PICTURES[name]
    with pytest.raises(grpc.RpcError) as caught:
        predict(stack, image, small_deployment, **options)
    error = refusal(caught.value)
    assert (error.code, error.reason) == (code, reason)
    sentence(error)
    assert predict(stack, photo(), small_deployment).prediction.image_width_px == 96


def test_an_empty_request(stack):
    with pytest.raises(grpc.RpcError) as caught:
        stack.wire.predictions.Predict(prediction_service_pb2.PredictRequest(), timeout=30)
    assert refusal(caught.value).code == "INVALID_ARGUMENT"
    with pytest.raises(grpc.RpcError) as caught:
        stack.wire.predictions.BatchPredict(prediction_service_pb2.BatchPredictRequest(name="projects/default/deployments/x"), timeout=30)
    assert refusal(caught.value).code in {"INVALID_ARGUMENT", "NOT_FOUND"}


def test_a_message_over_the_limit(stack, small_deployment):
    request = prediction_service_pb2.BatchPredictRequest(
        name=f"projects/default/deployments/{small_deployment}", images=[bytes(15 << 20)] * 6
    )
    with pytest.raises(grpc.RpcError) as caught:
        stack.wire.predictions.BatchPredict(request, timeout=60)
    assert refusal(caught.value).code == "RESOURCE_EXHAUSTED"


def test_a_deployment_that_does_not_exist(stack):
    with pytest.raises(grpc.RpcError) as caught:
        predict(stack, photo(), "nowhere")
    error = refusal(caught.value)
    assert (error.code, error.reason) == ("NOT_FOUND", "DEPLOYMENT_NOT_FOUND")


def test_a_batch_answers_each_image(stack, small_deployment):
    images = [photo(), b"no image", photo(2)]
    request = prediction_service_pb2.BatchPredictRequest(name=f"projects/default/deployments/{small_deployment}", images=images)
    items = stack.wire.predictions.BatchPredict(request, timeout=60).items
    assert [item.WhichOneof("result") for item in items] == ["prediction", "error", "prediction"]
    assert decode(items[1].error).reason == "IMAGE_UNREADABLE"


def away(stack, name, call, reason):
    """The refusal of ``call`` while a process is stopped: it holds its port but does not answer, which is worse than being dead."""
    pid = stack.pid(name)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(grpc.RpcError) as caught:
            call()
    finally:
        os.kill(pid, signal.SIGCONT)
    error = refusal(caught.value)
    # All calls here allow 60 s. The service says sooner who is away: it gives the store 10 s to answer a request, and Triton 30 s.
    assert (error.code, error.reason) == ("UNAVAILABLE", reason)
    sentence(error)


def test_the_store_away(stack):
    request = dataset_service_pb2.ListDatasetsRequest(parent="projects/default")
    away(stack, "store", lambda: stack.wire.datasets.ListDatasets(request, timeout=60), "STORE_UNAVAILABLE")
    assert stack.wire.datasets.ListDatasets(request, timeout=60) is not None


def test_triton_away(stack, small_deployment):
    away(stack, "triton", lambda: predict(stack, photo(), small_deployment), "TRITON_UNAVAILABLE")
    stack.until_predicts(small_deployment, photo())
