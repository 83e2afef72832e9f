"""The dataset service as a process, over gRPC, on a real SeaweedFS, with the real sets."""

import io
import os
import signal
import time
import uuid
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from grpc_status import rpc_status
from tests.integration.dataset.conftest import reason, tar_of

from visionyard.dataset.v1 import dataset_service_pb2, import_job_service_pb2
from visionyard.jobs.v1 import job_pb2
from visionyard.transfer.v1 import transfer_service_pb2


def generated(count=30, seed=0, size=(96, 64)):
    """A zip of a YOLO set with no split."""
    generator = np.random.default_rng(seed)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("classes.txt", "a\nb\n")
        for i in range(count):
            pixels = generator.integers(0, 255, (*size, 3), np.uint8)
            archive.writestr(f"images/{i}.jpg", cv2.imencode(".jpg", pixels)[1].tobytes())
            archive.writestr(f"labels/{i}.txt", f"{i % 2} 0.5 0.5 0.2 0.2\n")
    return buffer.getvalue()


def test_the_real_sets_come_in_with_their_counts(room, test_data):
    wanted = {
        "voc_bccd": ("bccd", 364, 4888, 4886, {"train": 205, "val": 87, "test": 72}),
        "coco128": ("coco128", 128, 941, 929, {"train": 102, "val": 26}),
        "yolo_cones_roboflow160": ("cones", 160, 374, 374, {"train": 120, "val": 24, "test": 16}),
        "labelstudio_yolo_combat50": ("combat", 50, 89, 89, {"train": 40, "val": 10}),
    }
    reports = {}
    for folder, (name, images, found, kept, splits) in wanted.items():
        job = room.good(tar_of(test_data / folder), name)
        version, report = room.version(name), job.report
        assert (version.image_count, version.label_count) == (images, kept), folder
        assert (report.images.found, report.images.kept, report.images.dropped) == (images, images, 0), folder
        assert (report.labels.found, report.labels.kept, report.labels.dropped) == (found, kept, found - kept), folder
        assert sum(report.dropped_by_code.values()) == found - kept
        if folder == "coco128":
            assert abs({s.name: s.image_count for s in version.splits}["val"] - 26) <= 2
        else:
            assert {s.name: s.image_count for s in version.splits} == splits, folder
        assert version == job.dataset_version
        reports[folder] = report
    assert [(Path(f.file).name, f.line, f.code, f.image, list(f.related)) for f in reports["voc_bccd"].findings] == [
        ("", 0, "CLASS_IMBALANCE", "", []),
        ("BloodImage_00338.xml", 158, "ZERO_AREA_BOX", "val/BloodImage_00338.jpg", []),
        ("BloodImage_00343.xml", 50, "ZERO_AREA_BOX", "train/BloodImage_00343.jpg", []),
        ("BloodImage_00037.jpg", 0, "NEAR_LEAKAGE", "val/BloodImage_00037.jpg", ["train/BloodImage_00038.jpg"]),
    ]
    assert {c.name: c.label_count for c in room.version("bccd").classes} == {"RBC": 4153, "WBC": 372, "Platelets": 361}
    coco = Counter(f.code for f in reports["coco128"].findings)
    judged = {
        "CHANNELS_DIFFER": 1,
        "CLASS_IMBALANCE": 1,
        "CLASS_NOT_IN_SPLIT": 1,
        "CLASS_WITHOUT_LABELS": 1,
        "RARE_CLASS": 1,
        "TINY_OBJECTS": 1,
    }
    assert coco == {"OTHER_LABELLING": 1, "SPLIT_MISSING": 1, "IMAGE_WITHOUT_LABELS": 2, "LABEL_WITHOUT_IMAGE": 2} | judged
    assert dict(reports["coco128"].dropped_by_code) == {"LABEL_WITHOUT_IMAGE": 12}
    listed = room.datasets.ListDatasets(dataset_service_pb2.ListDatasetsRequest(parent="projects/default", page_size=3))
    assert [d.name.rpartition("/")[2] for d in listed.datasets] == ["bccd", "coco128", "combat"]
    rest = room.datasets.ListDatasets(
        dataset_service_pb2.ListDatasetsRequest(parent="projects/default", page_size=3, page_token=listed.next_page_token)
    )
    assert [d.latest_version for d in rest.datasets] == [room.version("cones")]

    first = room.version("cones")
    room.good(tar_of(test_data / "yolo_cones_roboflow160"), "cones2")
    second = room.version("cones2")
    assert second.digest == first.digest
    assert second.stored_bytes <= first.stored_bytes * 0.02
    assert not any("/uploads/" in key or key.startswith("queue/") for key in room.listing())


def test_a_version_is_shown_as_a_page_and_as_thumbnails(room):
    room.good(generated(), "set")
    name = "projects/default/datasets/set/versions/-"
    page = b"".join(part.data for part in room.datasets.RenderImportReport(dataset_service_pb2.RenderImportReportRequest(name=name)))
    assert page.startswith(b"<!doctype html>")
    assert page.rstrip().endswith(b"</html>")
    assert page.count(b"data:image/jpeg;base64,") == 28
    request = dataset_service_pb2.PreviewDatasetVersionRequest(name=name, split="train", image_count=20, thumbnail_side_px=64)
    images = [answer.image for answer in room.datasets.PreviewDatasetVersion(request)]
    rows = [row for row in room.rows("set") if row.split == "train"]
    assert [image.image for image in images] == [f"train/{row.name}" for row in rows[:20]]
    for image in images:
        assert max(cv2.imdecode(np.frombuffer(image.thumbnail, np.uint8), cv2.IMREAD_COLOR).shape) == 64
        assert [label.class_name for label in image.labels] in (["a"], ["b"])
    request.after_image = images[-1].image
    rest = [answer.image.image for answer in room.datasets.PreviewDatasetVersion(request)]
    assert rest == [f"train/{row.name}" for row in rows[20:]]
    for call, wanted in (
        (
            lambda: room.datasets.PreviewDatasetVersion(dataset_service_pb2.PreviewDatasetVersionRequest(name=name, split="dev")),
            "INVALID_FIELD",
        ),
        (
            lambda: room.datasets.RenderImportReport(
                dataset_service_pb2.RenderImportReportRequest(name="projects/default/datasets/none/versions/1")
            ),
            "DATASET_NOT_FOUND",
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            list(call())
        assert reason(rpc_status.from_call(caught.value)) == wanted


def test_a_version_is_downloaded_whole_and_from_the_middle(room):
    room.good(generated(), "set")
    request = dataset_service_pb2.DownloadDatasetVersionRequest(name="projects/default/datasets/set/versions/1")
    files = {}
    for message in room.datasets.DownloadDatasetVersion(request):
        if message.WhichOneof("part") == "file":
            newest = files[message.file.path] = bytearray()
            header = message.file
        else:
            newest += message.data
    assert len(files) == header.file_count == 61
    assert sum(map(len, files.values())) == header.total_bytes
    assert files["data.yaml"].startswith(b"train: images/train\n")  # no path: the folder may lie anywhere
    paths = list(files)
    request.after_path = paths[40]
    rest = [m.file.path for m in room.datasets.DownloadDatasetVersion(request) if m.WhichOneof("part") == "file"]
    assert rest == paths[41:]
    read = transfer_service_pb2.ReadFileRequest(name="projects/default/datasets/set/versions/1", path="manifest.parquet")
    assert b"".join(chunk.data for chunk in room.transfer.ReadFile(read)).startswith(b"PAR1")


def test_a_repeated_request_is_the_same_job_also_when_it_is_done(room):
    upload, request_id = room.upload(generated()), str(uuid.uuid4())
    name = room.create(upload, "set", request_id).name
    room.watch(name)
    assert room.create(upload, "set", request_id).name == name
    with pytest.raises(grpc.RpcError) as caught:
        room.create(upload, "set", str(uuid.uuid4()))
    assert reason(rpc_status.from_call(caught.value)) == "UPLOAD_NOT_FOUND"


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"split_ratios": [0.8]}, "INVALID_FIELD"),
        ({"split_ratios": [0.8, 0.1]}, "INVALID_FIELD"),
        ({"split_ratios": [0.0, 1.0]}, "INVALID_FIELD"),
        ({"split_ratios": [float("nan"), 1.0]}, "INVALID_FIELD"),
        ({"format": 99}, "INVALID_FIELD"),
        ({"dataset": "../x"}, "INVALID_NAME"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(room, spec, wanted):
    upload = room.upload(b"x")
    before = room.listing()
    with pytest.raises(grpc.RpcError) as caught:
        room.create(upload, **{"dataset": "set", **spec})
    assert reason(rpc_status.from_call(caught.value)) == wanted
    assert room.listing() == before


def test_a_refused_source_leaves_its_record_only(room):
    before = room.listing()
    job = room.run(b"PK\x03\x04 half of a zip", "bad")
    assert job.status.state == job_pb2.JOB_STATE_FAILED
    assert reason(job.status.error) == "ARCHIVE_TRUNCATED"
    left = room.listing() - before
    assert left
    assert all(key.startswith(job.name) for key in left)


def test_a_worker_killed_midway_is_taken_up_and_publishes_once(room):
    began = room.create(room.upload(generated(600, size=(400, 500))), "set")
    request = import_job_service_pb2.WatchImportJobRequest(name=began.name)
    killed = False
    for snapshot in room.imports.WatchImportJob(request, timeout=120):
        job = snapshot.import_job
        if not killed and job.status.state == job_pb2.JOB_STATE_RUNNING and job.status.progress.phase:
            for pid in room.workers():
                os.kill(pid, signal.SIGKILL)
                killed = True
    assert killed
    assert job.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert job.status.attempt == 2
    assert job.dataset_version.image_count == 600
    kinds = Counter(key.split("/")[2] for key in room.listing() if key.startswith("projects/"))
    assert {kind: kinds[kind] for kind in ("shards", "manifests", "reports", "index", "datasets", "uploads")} == {
        "shards": 3,  # 135 MiB of images
        "manifests": 1,
        "reports": 1,
        "index": 1,
        "datasets": 1,
        "uploads": 0,
    }


def test_a_cancelled_import_leaves_its_record_only(room):
    before = room.listing()
    job = room.create(room.upload(generated(5000)), "set")
    request = import_job_service_pb2.WatchImportJobRequest(name=job.name)
    for snapshot in room.imports.WatchImportJob(request, timeout=120):
        if snapshot.import_job.status.state == job_pb2.JOB_STATE_RUNNING:  # it takes some seconds, and is looked at once a second
            room.imports.CancelImportJob(import_job_service_pb2.CancelImportJobRequest(name=job.name))
    assert snapshot.import_job.status.state == job_pb2.JOB_STATE_CANCELLED
    end = time.monotonic() + 20
    while any(not key.startswith(job.name) for key in room.listing() - before):
        assert time.monotonic() < end, room.listing() - before
        time.sleep(0.1)
