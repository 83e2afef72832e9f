"""A queue of 1,000 trainings: what a claim and a page of the list cost, and whether two services on one bucket run a job twice."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
from pathlib import Path
from unittest.mock import patch

import grpc
from claims import race
from stack import Stack, say, timed

from visionyard.kit.jobs import records as records_module
from visionyard.kit.jobs.model import JobKind, new_job_id
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.objectstore.s3 import S3ObjectStore, S3Settings
from visionyard.training.spec import TrainingSpec
from visionyard.training.v1 import training_job_service_pb2, training_job_service_pb2_grpc

JOBS, PAGE_SIZE, PROJECTS = 1000, 50, ("a", "b", "c")
BUCKET = "bench-queue"
"""A bucket of its own: the stack's services would begin the jobs."""


def measure(stack: Stack, folder: Path) -> None:
    """Prints the claims of two racing services, and the pages that the stack's training service gives of 1,000 waiting jobs."""
    keys = json.loads((stack.home / "store" / "credentials.json").read_text())
    settings = S3Settings(stack.address("store"), BUCKET, keys["access_key"], keys["secret_key"])
    store = S3ObjectStore(settings)
    store.ensure_bucket()
    records = JobRecords(store, JobKind.TRAINING)
    environment = {
        **os.environ,
        "VISIONYARD_S3_ENDPOINT": settings.endpoint,
        "VISIONYARD_S3_BUCKET": BUCKET,
        "VISIONYARD_S3_ACCESS_KEY": settings.access_key,
        "VISIONYARD_S3_SECRET_KEY": settings.secret_key,
    }
    for services in ("one",), ("one", "two"):
        for number in range(JOBS):
            _queue(records, PROJECTS[number % len(PROJECTS)], number)
        told = asyncio.run(race(environment, [folder / f"{len(services)}-{name}" for name in services]))
        claims = [claim for each in told for claim in each]
        twice = len(claims) - len({claim["job"] for claim in claims})
        times = sorted(claim["claim_s"] * 1000 for claim in claims)
        shared = " and ".join(str(len(each)) for each in told)
        say(
            f"queue      {JOBS} waiting, {' and '.join(services)}: {shared} claimed, {twice} twice (wanted: 0); a claim takes {statistics.median(times):.0f} ms, "
            f"95 % {times[int(len(times) * 0.95)]:.0f}, at most {times[-1]:.0f} (wanted: under 150)"
        )
    _pages(stack, keys)


def _queue(records: JobRecords, project: str, number: int, follows: str = "") -> str:
    spec = TrainingSpec(f"projects/{project}/datasets/d/versions/1", f"projects/{project}/models/m", architecture="yolov8n.yaml", epochs=1)
    return records.create(project, spec.to_json(), "", "", priority=number % 2, follows=follows)[0].name.id


def _pages(stack: Stack, keys: dict[str, str]) -> None:
    """Lists 1,000 jobs of the stack itself; the first of them waits for its own end, and all others for it, so that none begins."""
    store = S3ObjectStore(S3Settings(stack.address("store"), "visionyard", keys["access_key"], keys["secret_key"]))
    records = JobRecords(store, JobKind.TRAINING)
    first = new_job_id()
    with patch.object(records_module, "new_job_id", lambda: first):
        _queue(records, "queue", 0, follows=first)
    for number in range(1, JOBS):
        _queue(records, "queue", number, follows=first)
    pages: list[float] = []
    with grpc.insecure_channel(stack.address("training")) as wire:
        stub = training_job_service_pb2_grpc.TrainingJobServiceStub(wire)
        for _ in range(2):
            token = ""
            while True:
                request = training_job_service_pb2.ListTrainingJobsRequest(parent="projects/queue", page_size=PAGE_SIZE, page_token=token)
                with timed(pages):
                    page = stub.ListTrainingJobs(request)
                token = page.next_page_token
                if not token:
                    break
    times = [second * 1000 for second in pages]
    cold, warm = times[: len(times) // 2], times[len(times) // 2 :]
    say(
        f"queue      a page of {PAGE_SIZE} of {JOBS} queued jobs: first time {statistics.median(cold):.0f} ms, at most {max(cold):.0f}; again {statistics.median(warm):.0f}, at most {max(warm):.0f} "
        "(wanted: under 200)"
    )
