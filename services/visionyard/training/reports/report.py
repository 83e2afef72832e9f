"""The report of a training, put together from what the bucket holds: the job, its checkpoint's figures, ``results.csv``, and ``report.json`` once it has ended well."""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import Job, ProgressSnapshot
from visionyard.kit.jobs.service import JobService
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import NotFound, ObjectStore
from visionyard.training.estimates.estimates import MachineEstimate, estimate_of
from visionyard.training.limits import Spent, spent_in_all
from visionyard.training.reports.findings import REPORT_FILE

MAX_ROWS = 1000
_TRIES = 3
_RESULTS = "results.csv"
_TRAINED_IN = ("data", "training")


@dataclass(frozen=True)
class TrainingReport:
    """What a training has come to.

    Attributes:
        job: The job.
        device: What it trained on, for people.
        epoch: Epochs stored.
        epochs: Epochs in all, as far as a worker has told.
        measured: What was measured; see :mod:`visionyard.training.worker.measuring`.
        rows: The epochs' figures by Ultralytics' keys, each with its number, in their order; at most 1,000.
        findings: What the validation of ``best.pt`` has found; see :mod:`.findings`. None until the training has ended well.
    """

    job: Job
    device: str
    epoch: int
    epochs: int
    measured: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[tuple[int, Mapping[str, float]]] = ()
    findings: Mapping[str, Any] | None = None

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are ``best.pt``; 0 where that is not known."""
        return int(self.measured.get("best_epoch", 0))

    @property
    def spent(self) -> Spent:
        """What it has taken in all, and what that costs."""
        return spent_in_all(self.job.pointers)

    @property
    def estimate(self) -> MachineEstimate | None:
        """What was expected of it when it was queued; None where it was not estimated."""
        return estimate_of(self.job.pointers)

    @property
    def elapsed_s(self) -> float | None:
        """From its first worker's start to its end, in seconds; None until it has ended."""
        if self.job.start_time is None or self.job.end_time is None:
            return None
        return max(0.0, (self.job.end_time - self.job.start_time).total_seconds())


def images_per_second(measured: Mapping[str, Any]) -> float:
    """Pictures trained on a second, waiting for batches included; 0 where nothing was measured."""
    seconds = sum(measured.get("seconds", {}).get(phase, 0.0) for phase in _TRAINED_IN)
    return measured.get("images", 0) / seconds if seconds else 0.0


def newest_measured(job: Job, progress: ProgressSnapshot) -> Mapping[str, Any]:
    """What was measured last: told by the running worker, or kept with the checkpoint."""
    candidates = [progress.detail.get("measured") or {}, (job.pointers.get("checkpoint") or {}).get("measured") or {}]
    newest: Mapping[str, Any] = max(candidates, key=lambda measured: sum(measured.get("seconds", {}).values()))
    return newest


def read_report(jobs: JobService, name: ResourceName) -> TrainingReport:
    """Reads the report of a job. Blocks.

    Raises:
        YardError: JOB_NOT_FOUND; ARTIFACT_CORRUPT, a file of the job is gone.
    """
    store = jobs.records.store
    for _ in range(_TRIES):
        job = jobs.get(name)
        progress = jobs.progress(job)
        checkpoint = job.pointers.get("checkpoint") or {}
        try:
            rows = _rows(_text(store, checkpoint.get("files", {}).get(_RESULTS)))
            findings = _text(store, (job.pointers.get("files") or {}).get(REPORT_FILE))
        except NotFound:
            continue  # an epoch more was stored meanwhile, and the checkpoint that was read here has gone
        measured = newest_measured(job, progress)
        epochs = progress.detail.get("epochs", 0) or job.spec.get("epochs", 0)
        return TrainingReport(
            job=job,
            device=progress.detail.get("device", ""),
            epoch=int(checkpoint.get("epoch", 0)),
            epochs=int(epochs),
            measured=measured,
            rows=thinned(rows, int(measured.get("best_epoch", 0))),
            findings=json.loads(findings) if findings else None,
        )
    raise YardError(
        Reason.ARTIFACT_CORRUPT, f"files of job {name.id} are missing in the bucket: resume it, or train again", {"name": str(name)}
    )


def read_pictures(store: ObjectStore, entry: Mapping[str, Any] | None, wanted: int) -> dict[str, bytes]:
    """The first thumbnails of a report, JPEG files by the names that the findings give them. Blocks.

    Args:
        store: The bucket.
        entry: The pointer to their file; None for none.
        wanted: How many.
    """
    if not entry:
        return {}
    try:
        data = store.get(entry["key"]).data
    except NotFound:
        return {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()[:wanted]}


def _text(store: ObjectStore, entry: Mapping[str, Any] | None) -> str:
    return store.get(entry["key"]).data.decode() if entry else ""


def _rows(text: str) -> list[tuple[int, dict[str, float]]]:
    rows = []
    for row in csv.DictReader(io.StringIO(text)):
        values = {key.strip(): _number(value) for key, value in row.items() if key and value}
        known = {key: value for key, value in values.items() if value is not None}
        epoch = known.pop("epoch", None)
        if epoch is not None:
            rows.append((int(epoch), known))
    return rows


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def thinned(rows: Sequence[tuple[int, dict[str, float]]], best_epoch: int, at_most: int = MAX_ROWS) -> list[tuple[int, dict[str, float]]]:
    """So many rows at most, evenly spread: the first, the last, and that of the best epoch among them."""
    if len(rows) <= at_most:
        return list(rows)
    chosen = {round(step * (len(rows) - 1) / (at_most - 2)) for step in range(at_most - 1)}
    return [row for at, row in enumerate(rows) if at in chosen or row[0] == best_epoch]
