"""The dataset service's messages to domain objects and back; a request that cannot be meant is refused here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

from visionyard.dataset.catalogue import DatasetView
from visionyard.dataset.import_job import ImportSpec
from visionyard.dataset.imports import ImportView
from visionyard.dataset.v1 import dataset_pb2, import_job_pb2
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.errors import invalid_field
from visionyard.kit.jobs.mapping import job_status, timestamp
from visionyard.kit.names import ResourceName

_FORMATS = {
    import_job_pb2.SOURCE_FORMAT_UNSPECIFIED: "",
    import_job_pb2.SOURCE_FORMAT_YOLO: "yolo",
    import_job_pb2.SOURCE_FORMAT_VOC: "voc",
}
_FORMAT_NUMBERS = {name: number for number, name in _FORMATS.items()}
_TASKS = {"detect": dataset_pb2.TASK_DETECT}
_SEVERITIES = {
    "INFO": dataset_pb2.SEVERITY_INFO,
    "WARNING": dataset_pb2.SEVERITY_WARNING,
    "ERROR": dataset_pb2.SEVERITY_ERROR,
}
_SOURCE_NAME_CHARACTERS = 255
_SPLIT_COUNTS = (2, 3)


def spec_from_proto(spec: import_job_pb2.ImportSpec) -> ImportSpec:
    """What a request asks for.

    Raises:
        YardError: INVALID_NAME, INVALID_FIELD.
    """
    if spec.format not in _FORMATS:
        raise invalid_field("import_job.spec.format", "is not a format: use SOURCE_FORMAT_YOLO or SOURCE_FORMAT_VOC, or leave it out")
    if len(spec.source_name) > _SOURCE_NAME_CHARACTERS:
        raise invalid_field("import_job.spec.source_name", f"has more than {_SOURCE_NAME_CHARACTERS} characters")
    if bool(spec.upload) == bool(spec.source_url):
        raise invalid_field("import_job.spec.source_url", "give exactly one of upload and source_url")
    return ImportSpec(
        dataset=ResourceName.parse(spec.dataset, "datasets"),
        upload=ResourceName.parse(spec.upload, "uploads") if spec.upload else None,
        source_name="".join(c if c.isprintable() else " " for c in spec.source_name),
        format=_FORMATS[spec.format],
        split_ratios=_ratios(spec.split_ratios),
        seed=spec.seed,
        source_url=spec.source_url,
    )


def _ratios(ratios: Iterable[float]) -> tuple[float, ...]:
    field, values = "import_job.spec.split_ratios", tuple(ratios)
    if not values:
        return ()
    if len(values) not in _SPLIT_COUNTS:
        raise invalid_field(field, f"has {len(values)} shares: give two (train, val) or three (train, val, test)")
    if not all(0 <= value <= 1 for value in values) or not math.isclose(sum(values), 1.0, abs_tol=1e-6):
        raise invalid_field(field, f"{', '.join(f'{value:g}' for value in values)} are not shares from 0 to 1 that make 1 together")
    if values[0] == 0:
        raise invalid_field(field, "gives train nothing: its share must be above 0")
    return values


def import_job_to_proto(view: ImportView) -> import_job_pb2.ImportJob:
    """An import job on the wire."""
    job, spec = view.job, ImportSpec.from_json(view.job.spec)
    return import_job_pb2.ImportJob(
        name=str(job.name),
        spec=import_job_pb2.ImportSpec(
            dataset=str(spec.dataset),
            upload=str(spec.upload or ""),
            source_url=spec.source_url,
            source_name=spec.source_name,
            format=_FORMAT_NUMBERS[spec.format],
            split_ratios=spec.split_ratios,
            seed=spec.seed,
        ),
        status=job_status(job, view.progress, view.queue_position),
        create_time=timestamp(job.create_time),
        update_time=timestamp(job.update_time),
        etag=job.etag,
        dataset_version=version_to_proto(view.version) if view.version else None,
        report=report_to_proto(view.report) if view.report else None,
    )


def dataset_to_proto(view: DatasetView) -> dataset_pb2.Dataset:
    """A dataset on the wire."""
    return dataset_pb2.Dataset(
        name=str(view.name),
        create_time=timestamp(view.create_time),
        update_time=timestamp(view.latest.create_time),
        latest_version=version_to_proto(view.latest),
        # A dataset changes by getting versions only.
        etag=hashlib.sha256(f"{view.latest.name} {view.latest.import_job}".encode()).hexdigest()[:32],
    )


def version_to_proto(version: DatasetVersion) -> dataset_pb2.DatasetVersion:
    """A dataset version on the wire."""
    return dataset_pb2.DatasetVersion(
        name=str(version.name),
        digest=version.digest,
        task=_TASKS[version.task],
        image_count=version.image_count,
        label_count=version.label_count,
        classes=[dataset_pb2.DatasetClass(id=c.id, name=c.name, label_count=c.label_count) for c in version.classes],
        splits=[dataset_pb2.DatasetSplit(name=s.name, image_count=s.image_count, label_count=s.label_count) for s in version.splits],
        total_bytes=version.total_bytes,
        stored_bytes=version.stored_bytes,
        create_time=timestamp(version.create_time),
        source_format=version.source_format,
        import_job=version.import_job,
    )


def report_to_proto(report: dict[str, Any]) -> dataset_pb2.ImportReport:
    """A stored report on the wire."""
    return dataset_pb2.ImportReport(
        findings=[dataset_pb2.Finding(**{**finding, "severity": _SEVERITIES[finding["severity"]]}) for finding in report["findings"]],
        images=dataset_pb2.ReportCount(**report["images"]),
        labels=dataset_pb2.ReportCount(**report["labels"]),
        dropped_by_code=report["dropped_by_code"],
        findings_truncated=report["findings_truncated"],
        format=report["format"],
        format_reason=report["format_reason"],
        split_reason=report["split_reason"],
    )
