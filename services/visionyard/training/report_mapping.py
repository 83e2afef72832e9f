"""Reports of trainings on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import duration_pb2

from visionyard.jobs.v1 import job_pb2
from visionyard.training.machine_mapping import estimate_to_proto
from visionyard.training.reports.report import TrainingReport, images_per_second
from visionyard.training.v1 import training_report_pb2


def duration(seconds: float) -> duration_pb2.Duration:
    """Seconds on the wire, to the millisecond."""
    message = duration_pb2.Duration()
    message.FromMilliseconds(round(seconds * 1000))
    return message


def phases_to_proto(measured: Mapping[str, Any]) -> training_report_pb2.PhaseTimes:
    """Where the time went; see :mod:`visionyard.training.worker.measuring`."""
    return training_report_pb2.PhaseTimes(**{phase: duration(seconds) for phase, seconds in measured.get("seconds", {}).items()})


def report_to_proto(report: TrainingReport) -> training_report_pb2.TrainingReport:
    """A report on the wire."""
    job, gpu, spent, estimate = report.job, report.measured.get("gpu"), report.spent, report.estimate
    return training_report_pb2.TrainingReport(
        name=str(job.name),
        state=job_pb2.JobState.Value(f"JOB_STATE_{job.state.value}"),
        dataset_version=job.spec["dataset_version"],
        model_version=job.pointers.get("model_version", ""),
        epoch=report.epoch,
        epochs=report.epochs,
        best_epoch=report.best_epoch,
        attempts=job.attempt,
        device=report.device,
        phase_times=phases_to_proto(report.measured),
        elapsed=duration(report.elapsed_s) if report.elapsed_s is not None else None,
        images_per_second=images_per_second(report.measured),
        gpu=_gpu(gpu) if gpu else None,
        epoch_figures=[training_report_pb2.EpochFigures(epoch=epoch, values=values) for epoch, values in report.rows],
        findings=findings_to_proto(report.findings) if report.findings else None,
        cost=training_report_pb2.ReportedCost(training_time=duration(spent.seconds), amount=spent.amount, currency=spent.currency),
        estimate=estimate_to_proto(job.name.project, estimate) if estimate else None,
    )


def _gpu(gpu: Mapping[str, Any]) -> training_report_pb2.GpuUse:
    return training_report_pb2.GpuUse(
        name=gpu["name"],
        utilisation_ratio=gpu["utilisation_sum"] / gpu["samples"] if gpu["samples"] else None,
        peak_memory_bytes=gpu["peak_memory_bytes"],
        memory_bytes=gpu["memory_bytes"],
    )


def findings_to_proto(findings: Mapping[str, Any]) -> training_report_pb2.Findings:
    """What a validation has found, on the wire; see :mod:`visionyard.training.reports.findings`."""
    names = [row["name"] for row in findings["classes"]]
    plain = (
        "split",
        "image_count",
        "label_count",
        "confidence",
        "iou",
        "images_per_second",
        "metrics",
        "false_positive_count",
        "false_negative_count",
        "confusion_truncated",
        "wrong_image_count",
        "images_truncated",
    )
    return training_report_pb2.Findings(
        **{key: findings[key] for key in plain},
        classes=[training_report_pb2.ClassFindings(**row) for row in findings["classes"]],
        confusion=[
            training_report_pb2.ConfusionCell(predicted_class_id=cell["predicted"], true_class_id=cell["true"], count=cell["count"])
            for cell in findings["confusion"]
        ],
        pr_curves=[training_report_pb2.PrCurve(**curve) for curve in findings["pr_curves"]],
        images=[wrong_image_to_proto(entry, names) for entry in findings["images"]],
    )


def wrong_image_to_proto(entry: Mapping[str, Any], names: Sequence[str]) -> training_report_pb2.WrongImage:
    """An image with its errors, on the wire.

    Args:
        entry: As the findings hold it.
        names: The classes' names by id.
    """

    def name(class_id: int) -> str:
        return names[class_id] if class_id >= 0 else ""

    return training_report_pb2.WrongImage(
        image=entry["image"],
        width_px=entry["width_px"],
        height_px=entry["height_px"],
        false_positive_count=entry["false_positive_count"],
        false_negative_count=entry["false_negative_count"],
        false_positives=[
            training_report_pb2.FalsePositive(
                class_id=mark["class_id"],
                class_name=name(mark["class_id"]),
                true_class_name=name(mark["true_class_id"]),
                confidence=mark["confidence"],
                points=mark["points"],
            )
            for mark in entry["false_positives"]
        ],
        false_negatives=[
            training_report_pb2.FalseNegative(
                class_id=mark["class_id"],
                class_name=name(mark["class_id"]),
                predicted_class_name=name(mark["predicted_class_id"]),
                points=mark["points"],
            )
            for mark in entry["false_negatives"]
        ],
    )
