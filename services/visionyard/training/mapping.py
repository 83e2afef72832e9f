"""The training service's messages to domain objects and back; a request that cannot be meant is refused here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2

from visionyard.kit.artifacts.model import ModelFile, ModelVersion
from visionyard.kit.errors import Reason, YardError, encodable, invalid_field
from visionyard.kit.jobs.mapping import job_status, timestamp
from visionyard.kit.jobs.model import Job, JobState
from visionyard.kit.names import ResourceName
from visionyard.kit.web.urls import FILE_ORIGIN, Url
from visionyard.training.estimates.estimates import estimate_of
from visionyard.training.limits import spent_in_all
from visionyard.training.machine_mapping import duration, estimate_to_proto, seconds_of
from visionyard.training.models import ModelView, plain_name
from visionyard.training.processes import Launcher
from visionyard.training.report_mapping import phases_to_proto
from visionyard.training.reports.report import images_per_second, newest_measured
from visionyard.training.scheduling import Scheduling
from visionyard.training.slots import ClosedSlot
from visionyard.training.spec import TrainingSpec
from visionyard.training.trainings import TrainingView
from visionyard.training.v1 import machine_pb2, model_pb2, preset_pb2, training_job_pb2, training_job_service_pb2
from visionyard.transfer.v1 import transfer_service_pb2

_TASKS = {
    "detect": model_pb2.MODEL_TASK_DETECT,
    "segment": model_pb2.MODEL_TASK_SEGMENT,
    "classify": model_pb2.MODEL_TASK_CLASSIFY,
    "pose": model_pb2.MODEL_TASK_POSE,
    "obb": model_pb2.MODEL_TASK_OBB,
}


_LAUNCHERS = {training_job_pb2.LAUNCHER_LOCAL: Launcher.LOCAL, training_job_pb2.LAUNCHER_RAY: Launcher.RAY}


def _launcher(number: int) -> Launcher:
    """The launcher that is asked for.

    Raises:
        YardError: INVALID_FIELD, one that this service does not know.
    """
    if number == training_job_pb2.LAUNCHER_UNSPECIFIED:
        return Launcher.LOCAL
    found = next((launcher for known, launcher in _LAUNCHERS.items() if known == number), None)
    if found is None:
        raise invalid_field("training_job.spec.launcher", f"takes local or ray, not the number {number}")
    return found


def spec_from_proto(spec: training_job_pb2.TrainingSpec) -> TrainingSpec:
    """What a request asks for; the use case checks it.

    Raises:
        YardError: INVALID_ARGUMENT_VALUE, a number that is none or infinite, which protobuf itself refuses to read.
    """
    return TrainingSpec(
        dataset_version=spec.dataset_version,
        model=spec.model,
        model_version=spec.model_version,
        architecture=spec.architecture,
        model_yaml=spec.model_yaml,
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        image_size_px=spec.image_size_px,
        overrides=overrides_from_proto(spec.overrides),
        pretrained_model_version=spec.pretrained_model_version,
        best_metric=spec.best_metric,
        tensorboard=spec.tensorboard,
        gpus=spec.gpus,
        nodes=spec.nodes,
        launcher=_launcher(spec.launcher).value,
    )


def overrides_from_proto(overrides: struct_pb2.Struct) -> dict[str, Any]:
    """Training arguments by name.

    Raises:
        YardError: INVALID_ARGUMENT_VALUE, a number that is none or infinite, which protobuf itself refuses to read.
    """
    try:
        return json_format.MessageToDict(overrides)
    except ValueError as error:
        raise YardError(Reason.INVALID_ARGUMENT_VALUE, f"an override is not a finite number: {error}", {"argument": "overrides"}) from error


def scheduling_from_proto(scheduling: training_job_pb2.Scheduling) -> Scheduling:
    """When a job is to get a slot; the use case checks it.

    Raises:
        YardError: INVALID_FIELD, a time limit of 0 or less, which is no limit for nobody.
    """
    limit_s = time_limit_from_proto(scheduling, "training_job.scheduling.time_limit")
    return Scheduling(scheduling.priority, scheduling.after, limit_s, scheduling.budget)


def time_limit_from_proto(message: training_job_pb2.Scheduling | preset_pb2.Preset, field: str) -> float:
    """The time limit in seconds; 0 where none is said.

    Raises:
        YardError: INVALID_FIELD, one of 0 or less.
    """
    limit_s = seconds_of(message.time_limit)
    if message.HasField("time_limit") and not limit_s > 0:
        raise invalid_field(field, f"takes a duration above 0, not {limit_s:g} s")
    return limit_s


def _scheduling_to_proto(job: Job) -> training_job_pb2.Scheduling:
    after = ResourceName(job.name.project, job.name.collection, job.follows) if job.follows else ""
    spec = TrainingSpec.from_json(job.spec)
    return training_job_pb2.Scheduling(
        priority=job.priority, after=str(after), time_limit=duration(spec.time_limit_s or None), budget=spec.budget
    )


def spec_to_proto(spec: TrainingSpec) -> training_job_pb2.TrainingSpec:
    """What a job trains, on the wire."""
    overrides = struct_pb2.Struct()
    overrides.update(dict(spec.overrides))
    message = training_job_pb2.TrainingSpec(
        dataset_version=spec.dataset_version,
        model=spec.model,
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        image_size_px=spec.image_size_px,
        overrides=overrides,
        gpus=spec.gpus,
        nodes=spec.nodes,
        launcher=next(number for number, launcher in _LAUNCHERS.items() if launcher.value == spec.launcher),
        pretrained_model_version=spec.pretrained_model_version,
        best_metric=spec.best_metric,
        tensorboard=spec.tensorboard,
    )
    if spec.model_version:
        message.model_version = spec.model_version
    elif spec.architecture:
        message.architecture = spec.architecture
    else:
        message.model_yaml = spec.model_yaml
    return message


def job_to_proto(view: TrainingView) -> training_job_pb2.TrainingJob:
    """A training job on the wire."""
    job = view.job
    return training_job_pb2.TrainingJob(
        name=str(job.name),
        spec=spec_to_proto(TrainingSpec.from_json(job.spec)),
        status=job_status(job, view.progress, view.queue_position),
        training_progress=_progress(view),
        create_time=timestamp(job.create_time),
        update_time=timestamp(job.update_time),
        etag=job.etag,
        model_version=job.pointers.get("model_version", ""),
        scheduling=_scheduling_to_proto(job),
        resumptions=job.resumptions,
        estimate=_estimate(job),
        cost=_cost(job),
        early_stop=training_job_pb2.EarlyStop.Value(f"EARLY_STOP_{job.pointers.get('early_stop') or 'UNSPECIFIED'}"),
        tuning_job=job.spec.get("tuning_job", ""),  # documents of earlier releases lack it
        yields_to=job.yields_to,
    )


def closed_slot_to_proto(slot: ClosedSlot) -> training_job_service_pb2.ClosedSlot:
    """A slot that gets no job on the wire."""
    return training_job_service_pb2.ClosedSlot(device=slot.device, free_memory_bytes=slot.free_bytes, wanted_memory_bytes=slot.wanted_bytes)


def _estimate(job: Job) -> machine_pb2.Estimate | None:
    estimate = estimate_of(job.pointers)
    return estimate_to_proto(job.name.project, estimate) if estimate else None


def _cost(job: Job) -> training_job_pb2.TrainingCost:
    spent = spent_in_all(job.pointers)
    return training_job_pb2.TrainingCost(training_time=duration(spent.seconds), amount=spent.amount, currency=spent.currency)


def _progress(view: TrainingView) -> training_job_pb2.TrainingProgress:
    detail: Mapping[str, Any] = view.progress.detail
    measured = newest_measured(view.job, view.progress)
    pointed = (view.job.pointers.get("checkpoint") or {}).get("epoch", 0)
    return training_job_pb2.TrainingProgress(
        # What is pointed at is in the bucket, also while a new attempt has not reported yet; a job that went back to an earlier epoch has no other.
        epoch=pointed if view.job.state is JobState.QUEUED else max(detail.get("epoch", 0), pointed),
        epochs=detail.get("epochs", 0),
        step=detail.get("step", 0),
        steps=detail.get("steps", 0),
        metrics=detail.get("metrics", {}),
        gpu_memory_bytes=detail.get("gpu_memory_bytes", 0),
        device=detail.get("device", ""),
        processes=detail.get("processes", 0),
        phase_times=phases_to_proto(measured),
        images_per_second=images_per_second(measured),
        expected_start_time=timestamp(view.expected_start),
        expected_end_time=timestamp(view.expected_end),
    )


def model_to_proto(view: ModelView) -> model_pb2.Model:
    """A model on the wire."""
    newest = view.newest
    return model_pb2.Model(
        name=str(newest.name.parent),
        create_time=timestamp(view.create_time),
        update_time=timestamp(newest.create_time),
        latest_version=model_version_to_proto(newest),
        etag=hashlib.sha256(f"{newest.name}\n{newest.digest}".encode()).hexdigest()[:32],
    )


def model_version_to_proto(version: ModelVersion) -> model_pb2.ModelVersion:
    """A model version on the wire."""
    message = model_pb2.ModelVersion(
        name=str(version.name),
        digest=version.digest,
        task=_TASKS[version.task],
        class_names=map(encodable, version.class_names),
        parameter_count=version.parameter_count,
        image_size_px=version.image_size_px,
        dataset_version=version.dataset_version,
        metrics=version.metrics,
        create_time=timestamp(version.create_time),
        head_untrained=bool(version.state_dict_sha256),
        best_metric=version.best_metric,
        fetched_from=version.fetched_from,
    )
    if version.training_job:
        message.training_job = version.training_job
    else:
        message.pushed_file = version.pushed_file
    return message


def files_to_proto(files: Mapping[str, ModelFile]) -> list[transfer_service_pb2.StoredFile]:
    """A resource's files on the wire, by path."""
    return [transfer_service_pb2.StoredFile(path=path, size_bytes=file.size, sha256=file.sha256) for path, file in sorted(files.items())]


def address_from_proto(text: str) -> str:
    """What a file was fetched from: an address, without its query, or ``file:`` and a file's name, without its folder; empty for none.

    Raises:
        YardError: INVALID_FIELD.
    """
    if text.startswith(FILE_ORIGIN):
        return f"{FILE_ORIGIN}{plain_name(text.removeprefix(FILE_ORIGIN))}"
    try:
        return Url.parse(text, buckets=True).shown if text else ""
    except ValueError as error:
        raise invalid_field("fetched_from", f"the address {error}") from None  # not shown: it may hold a password
