"""What a message says: the facts of an event, put together once when it is found true, so that every channel and every try tells the same."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from visionyard.kit.jobs.model import Job, JobKind, ProgressSnapshot
from visionyard.kit.objectstore.port import NotFound, ObjectStore
from visionyard.training.notifications.events import Event, JobEvent, stored_epoch

TEST = "test"
"""Stands for the event in a test message."""
_MAIN_METRICS = {
    "metrics/mAP50-95(M)": "mAP50-95 of masks",
    "metrics/mAP50-95(P)": "mAP50-95 of poses",
    "metrics/mAP50-95(B)": "mAP50-95",
    "metrics/accuracy_top1": "top-1 accuracy",
}
"""Ultralytics' keys of what a task's models are judged by, the first that is there counts, and their names for people."""
_RESULTS = "results.csv"
_RESULTS_BYTES = 4 << 20
_LONGEST_ERROR = 500
_HEADLINES = {
    Event.QUEUED.value: "Training queued",
    Event.STARTED.value: "Training started",
    Event.IMPROVED.value: "Training improved",
    Event.FINISHED.value: "Training finished",
    Event.FAILED.value: "Training failed",
    Event.PREEMPTED.value: "Training preempted, back in the queue",
    TEST: "Test message",
}


@dataclass(frozen=True)
class Message:
    """A message's facts. Texts have no control characters.

    Attributes:
        id: The event's, for receivers that want to tell a repeated message.
        event: An event's name, or ``test``.
        time: When it happened, by the store's clock; ISO 8601.
        project: The project's id.
        job: The job's resource name; empty in a test.
        state: The job's state.
        attempt: The job's attempt.
        dataset: ``cones@3``.
        model: The model that is trained, ``cones``.
        model_version: Resource name of the version that was made; empty before.
        epoch: Epochs that are finished; of an improvement the epoch that is meant.
        epochs: Epochs in all; 0 where not known.
        metrics: Ultralytics' metrics, by its own keys.
        duration_s: Since the job's first start, until its end or the event, in seconds; None before.
        error_reason: Why it failed, for programs.
        error: Why it failed, in a sentence.
        host: The machine.
    """

    id: str
    event: str
    time: str
    project: str
    job: str = ""
    state: str = ""
    attempt: int = 0
    dataset: str = ""
    model: str = ""
    model_version: str = ""
    epoch: int = 0
    epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    duration_s: float | None = None
    error_reason: str = ""
    error: str = ""
    host: str = ""

    def to_json(self) -> dict[str, Any]:
        """The form in which the outbox keeps it."""
        return {**asdict(self), "metrics": dict(self.metrics)}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Message:
        """Reads what :meth:`to_json` wrote."""
        return cls(**body)

    @property
    def headline(self) -> str:
        """One line: ``Training finished: cones``."""
        headline = _HEADLINES[self.event]
        if f"/{JobKind.TUNING.collection}/" in self.job:
            headline = headline.replace("Training", "Search")
        return f"{headline}: {self.model or self.project}"

    @property
    def main_metric(self) -> tuple[str, str, float] | None:
        """What the model is judged by: Ultralytics' key, people's words, the value."""
        return next(((key, name, self.metrics[key]) for key, name in _MAIN_METRICS.items() if key in self.metrics), None)

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What people are told: labels and values, those that are known."""
        metric = self.main_metric
        epochs = f"{self.epoch} of {self.epochs}" if self.epochs else str(self.epoch or "")
        found = [
            ("Job", self.job.rpartition("/")[2]),
            ("Project", self.project),
            ("Dataset", self.dataset),
            ("Model", self._model),
            ("Epochs", epochs),
            (metric[1] if metric else "", f"{metric[2]:.4f}" if metric else ""),
            ("Duration", "" if self.duration_s is None else duration(self.duration_s)),
            ("Error", self.error),
            ("Host", self.host),
        ]
        return [(label, value) for label, value in found if value]

    @property
    def _model(self) -> str:
        version = self.model_version.rpartition("/")[2]
        return f"{self.model}@{version}" if version else self.model


def compose(store: ObjectStore, event: JobEvent, job: Job, progress: ProgressSnapshot, time: datetime) -> Message:
    """Puts a message together from what the bucket holds. Blocks.

    Args:
        store: The bucket.
        event: What happened.
        job: The job as it is now.
        progress: Its newest progress.
        time: When it happened, by the store's clock.
    """
    epochs = int(progress.detail.get("epochs") or 0) or int(job.spec.get("epochs") or 0)
    epoch = max(int(progress.detail.get("epoch") or 0), stored_epoch(job))
    metrics = (job.pointers.get("trained") or {}).get("metrics") or progress.detail.get("metrics") or {}
    if event.event is Event.IMPROVED:
        epoch, metrics = event.number, _epoch_metrics(store, job, event.number) or metrics
    if event.event in {Event.QUEUED, Event.STARTED} and event.number <= 1:
        epoch, metrics = 0, {}
    began = job.start_time if event.event not in {Event.QUEUED, Event.STARTED} else None
    ended = job.end_time if event.event in {Event.FINISHED, Event.FAILED} and job.end_time else time
    spec = job.spec.get("training", job.spec)  # a search holds what its trials train
    project, _, dataset = str(spec.get("dataset_version", "")).removeprefix("projects/").partition("/datasets/")
    dataset = dataset.replace("/versions/", "@")
    return Message(
        id=event.id,
        event=event.event.value,
        time=time.isoformat(),
        project=job.name.project,
        job=str(job.name),
        state=job.state.value,
        attempt=job.attempt,
        dataset=dataset if project == job.name.project else f"{project}/{dataset}",
        model=str(spec.get("model", "")).rpartition("/")[2],
        model_version=str(job.pointers.get("model_version", "")),
        epoch=epoch,
        epochs=epochs,
        metrics={key: float(value) for key, value in metrics.items() if math.isfinite(float(value))},
        duration_s=max(0.0, (ended - began).total_seconds()) if began else None,
        error_reason=job.error.reason.name if job.error and event.event is Event.FAILED else "",
        error=plain(job.error.message, _LONGEST_ERROR) if job.error and event.event is Event.FAILED else "",
        host=plain(event.host, 100),
    )


def trial_message(project: str, channel_id: str, time: datetime, host: str) -> Message:
    """What a test sends."""
    return Message(
        id=f"{TEST}.{channel_id}.{time.timestamp():.0f}", event=TEST, time=time.isoformat(), project=project, host=plain(host, 100)
    )


def plain(text: str, longest: int) -> str:
    """A text in one line, without control characters and not longer than so many characters."""
    one_line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return one_line if len(one_line) <= longest else f"{one_line[: longest - 1]}…"


def duration(seconds: float) -> str:
    """A time for people: ``2 h 05 min``, ``3 min 20 s``, ``42 s``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def _epoch_metrics(store: ObjectStore, job: Job, epoch: int) -> dict[str, float]:
    """An epoch's row of ``results.csv``; nothing where it cannot be had any more."""
    files = job.pointers.get("files") or (job.pointers.get("checkpoint") or {}).get("files") or {}
    if _RESULTS not in files:
        return {}
    try:
        text = store.get(files[_RESULTS]["key"], 0, _RESULTS_BYTES).data.decode(errors="replace")
    except NotFound:  # a newer checkpoint has taken its place just now
        return {}
    for row in csv.DictReader(io.StringIO(text), skipinitialspace=True):
        cells = {str(key).strip(): str(value).strip() for key, value in row.items()}
        if cells.get("epoch") == str(epoch):
            return {key: number for key, value in cells.items() if key.startswith("metrics/") and (number := _number(value)) is not None}
    return {}


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
