"""Imports through Datumaro with the service and its workers as processes: refused where it was not set up, whole after a stop, and no process left."""

import os
import signal
import time
from pathlib import Path

import grpc
import pytest
from grpc_status import rpc_status
from tests.integration.dataset.conftest import Room, reason
from tests.integration.dataset.test_datumaro import PYTHON, kitti, living
from tests.unit.dataset.conftest import zipped

from visionyard.dataset.v1 import import_job_service_pb2
from visionyard.jobs.v1 import job_pb2

DATA = zipped(kitti())


@pytest.fixture
def slow(seaweed_settings, s3_store, tmp_path):
    """A service whose Datumaro sleeps when it is started for the first time."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nif mkdir "{tmp_path}/slept" 2>/dev/null; then sleep 600; fi\nexec "{PYTHON}" "$@"\n')
    python.chmod(0o700)
    running = Room({**seaweed_settings, "VISIONYARD_DATUMARO_PYTHON": str(python)}, s3_store, tmp_path)
    running.start()
    yield running
    running.stop()
    assert not running.workers()


def refused(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return reason(rpc_status.from_call(caught.value)), caught.value.details()


def test_without_datumaro_and_by_wrong_names_it_is_refused_at_once(room):
    upload = room.upload(DATA)
    before = room.listing()
    why, said = refused(lambda: room.create(upload, "set", datumaro_format="kitti_detection"))
    assert why == "CONVERTER_MISSING"
    assert "VISIONYARD_DATUMARO_PYTHON" in said
    assert "make setup-datumaro" in said
    for name in ("../x", "Kitti", "a b", "x" * 65, "-x", "ä"):
        assert refused(lambda name=name: room.create(upload, "set", datumaro_format=name))[0] == "INVALID_FIELD"
    assert refused(lambda: room.create(upload, "set", datumaro_format="kitti", format="SOURCE_FORMAT_VOC"))[0] == "INVALID_FIELD"
    assert room.listing() == before


def sleeping(tmp_path):
    """The processes of Datumaro, once there are some."""
    end = time.monotonic() + 60
    while not (found := [pid for pid in living(tmp_path / "work") if pid_program(pid)]):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def pid_program(pid):
    return b"datumaro_program" in Path(f"/proc/{pid}/cmdline").read_bytes()


def wait_for_end(tmp_path):
    end = time.monotonic() + 30
    while living(tmp_path / "work") or list((tmp_path / "work").rglob("*.png")):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.datumaro
@pytest.mark.skipif(not PYTHON.exists(), reason="no environment with Datumaro: `make setup-datumaro` makes it (some 560 MB)")
def test_a_worker_told_to_go_is_followed_by_another_that_begins_anew(slow, tmp_path):
    job = slow.create(slow.upload(DATA), "set", datumaro_format="kitti_detection")
    sleeping(tmp_path)
    [pid] = slow.workers()
    os.kill(pid, signal.SIGTERM)
    done = slow.watch(job.name)[-1]
    assert (done.status.state, done.status.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2), done.status
    assert (done.spec.datumaro_format, done.report.format, done.dataset_version.source_format) == (
        "kitti_detection",
        *["datumaro:kitti_detection"] * 2,
    )
    wait_for_end(tmp_path)


def test_a_cancelled_import_leaves_no_process_and_no_file(slow, tmp_path):
    job = slow.create(slow.upload(DATA), "set", datumaro_format="kitti_detection")
    sleeping(tmp_path)
    slow.imports.CancelImportJob(import_job_service_pb2.CancelImportJobRequest(name=job.name))
    assert slow.watch(job.name)[-1].status.state == job_pb2.JOB_STATE_CANCELLED
    wait_for_end(tmp_path)


@pytest.mark.datumaro
@pytest.mark.skipif(not PYTHON.exists(), reason="no environment with Datumaro: `make setup-datumaro` makes it (some 560 MB)")
def test_datumaro_dies_with_its_worker(seaweed_settings, s3_store, tmp_path):
    many = kitti() | {
        f"kitti/training/label_2/{i:06}.txt": "Car 0.00 0 -1.57 1 2 40 30 1.5 1.6 4 1 1 20 0.1\n" * 1000 for i in range(10, 1000)
    }
    room = Room({**seaweed_settings, "VISIONYARD_DATUMARO_PYTHON": str(PYTHON)}, s3_store, tmp_path)
    room.start()
    try:
        job = room.create(room.upload(zipped(many)), "set", datumaro_format="kitti_detection")
        [child] = sleeping(tmp_path)
        end = time.monotonic() + 60
        while not list((tmp_path / "work").rglob("items.jsonl")):  # its limits are in force by then
            assert time.monotonic() < end
            time.sleep(0.02)
        [worker] = room.workers()
        os.kill(worker, signal.SIGKILL)
        room.imports.CancelImportJob(import_job_service_pb2.CancelImportJobRequest(name=job.name))
        end = time.monotonic() + 10
        while Path(f"/proc/{child}").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        assert room.watch(job.name)[-1].status.state == job_pb2.JOB_STATE_CANCELLED
        wait_for_end(tmp_path)
    finally:
        room.stop()
