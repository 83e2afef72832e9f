"""Evaluation jobs and their reports on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionyard.kit.jobs.mapping import job_status, timestamp
from visionyard.kit.jobs.model import Job
from visionyard.training.evaluations import EvaluationSpec, EvaluationView
from visionyard.training.report_mapping import findings_to_proto
from visionyard.training.v1 import evaluation_job_pb2, evaluation_report_pb2


def evaluation_spec_from_proto(spec: evaluation_job_pb2.EvaluationSpec) -> EvaluationSpec:
    """What a request asks for; the use case checks it."""
    return EvaluationSpec(spec.first_model_version, spec.second_model_version, spec.dataset_version, spec.split)


def evaluation_to_proto(view: EvaluationView) -> evaluation_job_pb2.EvaluationJob:
    """An evaluation job on the wire."""
    job = view.job
    return evaluation_job_pb2.EvaluationJob(
        name=str(job.name),
        spec=evaluation_job_pb2.EvaluationSpec(**job.spec),
        status=job_status(job, view.progress, view.queue_position),
        create_time=timestamp(job.create_time),
        update_time=timestamp(job.update_time),
        etag=job.etag,
    )


def evaluation_report_to_proto(job: Job, document: Mapping[str, Any]) -> evaluation_report_pb2.EvaluationReport:
    """What an evaluation has found, on the wire; see :mod:`visionyard.training.reports.comparison`."""
    first, second = (
        evaluation_report_pb2.EvaluatedModel(
            model_version=model["model_version"],
            parameter_count=model["parameter_count"],
            findings=findings_to_proto(model["findings"]),
        )
        for model in document["models"]
    )
    right_first, right_second = document["only_right"]
    return evaluation_report_pb2.EvaluationReport(
        name=str(job.name),
        dataset_version=job.spec["dataset_version"],
        first=first,
        second=second,
        only_first_right_count=right_first["count"],
        only_first_right=[evaluation_report_pb2.ImageDifference(**image) for image in right_first["images"]],
        only_second_right_count=right_second["count"],
        only_second_right=[evaluation_report_pb2.ImageDifference(**image) for image in right_second["images"]],
        both_wrong_count=document["both_wrong"],
        both_right_count=document["both_right"],
    )
