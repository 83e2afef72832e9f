"""The dataset service's messages to domain objects and back; a request that cannot be meant is refused here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

from visionyard.dataset.catalogue import DatasetView
from visionyard.dataset.converting.datumaro import is_format_name
from visionyard.dataset.curation.diffing import Diff, ImageChanges
from visionyard.dataset.derivation_mapping import derivation_from_proto, derivation_to_proto, ratios_from_proto
from visionyard.dataset.import_spec import ImportSpec
from visionyard.dataset.imports import ImportView
from visionyard.dataset.v1 import dataset_pb2, dataset_service_pb2, import_job_pb2
from visionyard.kit.artifacts.dataset import DatasetVersion, KeypointLayout
from visionyard.kit.errors import invalid_field
from visionyard.kit.jobs.mapping import job_status, timestamp
from visionyard.kit.names import ResourceName

_FORMAT_PREFIX = "SOURCE_FORMAT_"
_FORMATS = {
    number: "" if number == import_job_pb2.SOURCE_FORMAT_UNSPECIFIED else name.removeprefix(_FORMAT_PREFIX).lower()
    for name, number in import_job_pb2.SourceFormat.items()
}
_FORMAT_NUMBERS = {name: number for number, name in _FORMATS.items()}
_TASKS = {
    "": dataset_pb2.TASK_UNSPECIFIED,
    "detect": dataset_pb2.TASK_DETECT,
    "segment": dataset_pb2.TASK_SEGMENT,
    "classify": dataset_pb2.TASK_CLASSIFY,
    "pose": dataset_pb2.TASK_POSE,
    "obb": dataset_pb2.TASK_OBB,
}
_TASK_NAMES = {number: name for name, number in _TASKS.items()}
LAYOUTS = {
    dataset_service_pb2.DATASET_LAYOUT_UNSPECIFIED: "yolo",
    dataset_service_pb2.DATASET_LAYOUT_YOLO: "yolo",
    dataset_service_pb2.DATASET_LAYOUT_COCO: "coco",
    dataset_service_pb2.DATASET_LAYOUT_VOC: "voc",
    dataset_service_pb2.DATASET_LAYOUT_LABELSTUDIO: "labelstudio",
    dataset_service_pb2.DATASET_LAYOUT_CVAT: "cvat",
}
"""The layout's name for each number."""
_SEVERITIES = {
    "INFO": dataset_pb2.SEVERITY_INFO,
    "WARNING": dataset_pb2.SEVERITY_WARNING,
    "ERROR": dataset_pb2.SEVERITY_ERROR,
}
_SOURCE_NAME_CHARACTERS = 255


def spec_from_proto(spec: import_job_pb2.ImportSpec) -> ImportSpec:
    """What a request asks for.

    Raises:
        YardError: INVALID_NAME, INVALID_FIELD.
    """
    if spec.format not in _FORMATS:
        raise invalid_field("import_job.spec.format", "is not a format: use one of SourceFormat's, or leave it out")
    if spec.task not in _TASK_NAMES:
        raise invalid_field("import_job.spec.task", "is not a task: use one of Task's, or leave it out")
    if len(spec.source_name) > _SOURCE_NAME_CHARACTERS:
        raise invalid_field("import_job.spec.source_name", f"has more than {_SOURCE_NAME_CHARACTERS} characters")
    if spec.datumaro_format and not is_format_name(spec.datumaro_format):
        raise invalid_field("import_job.spec.datumaro_format", "is not a format's name: 1 to 64 lower-case letters, digits and '_'")
    if spec.datumaro_format and spec.format:
        raise invalid_field("import_job.spec.datumaro_format", "is read instead of a format: leave format out")
    derived = spec.HasField("derivation")
    if derived and spec.datumaro_format:
        raise invalid_field("import_job.spec.derivation", "makes the version of others, which have no format: leave out datumaro_format")
    if derived and (spec.upload or spec.source_url or spec.images_upload or spec.append):
        raise invalid_field(
            "import_job.spec.derivation", "makes the version of others: leave out upload, source_url, images_upload and append"
        )
    if not derived and bool(spec.upload) == bool(spec.source_url):
        raise invalid_field("import_job.spec.source_url", "give exactly one of upload and source_url")
    return ImportSpec(
        dataset=ResourceName.parse(spec.dataset, "datasets"),
        upload=ResourceName.parse(spec.upload, "uploads") if spec.upload else None,
        source_name="".join(c if c.isprintable() else " " for c in spec.source_name),
        format=_FORMATS[spec.format],
        split_ratios=ratios_from_proto("import_job.spec.split_ratios", spec.split_ratios),
        seed=spec.seed,
        task=_TASK_NAMES[spec.task],
        images_upload=ResourceName.parse(spec.images_upload, "uploads") if spec.images_upload else None,
        strict=spec.strict,
        fix=spec.fix,
        dry_run=spec.dry_run,
        append=spec.append,
        derivation=derivation_from_proto(spec.derivation) if derived else None,
        source_url=spec.source_url,
        datumaro_format=spec.datumaro_format,
    )


def layout_from_proto(request: dataset_service_pb2.DownloadDatasetVersionRequest) -> tuple[str, int]:
    """The layout's name and how many uncertain images are asked for.

    Raises:
        YardError: INVALID_FIELD.
    """
    if request.layout not in LAYOUTS:
        raise invalid_field("layout", "is not a layout: use one of DatasetLayout's, or leave it out")
    if request.uncertain_count < 0:
        raise invalid_field("uncertain_count", f"is {request.uncertain_count}: ask for 1 image or more, or leave it out for all")
    return LAYOUTS[request.layout], request.uncertain_count


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
            datumaro_format=spec.datumaro_format,
            split_ratios=spec.split_ratios,
            seed=spec.seed,
            task=_TASKS[spec.task],
            images_upload=str(spec.images_upload or ""),
            strict=spec.strict,
            fix=spec.fix,
            dry_run=spec.dry_run,
            append=spec.append,
            derivation=derivation_to_proto(spec.derivation) if spec.derivation else None,
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
        keypoints=_keypoints(version.keypoints) if version.keypoints else None,
        origin=_origin(version.origin),
    )


def _keypoints(layout: KeypointLayout) -> dataset_pb2.KeypointLayout:
    return dataset_pb2.KeypointLayout(count=layout.count, dimensions=layout.dimensions, names=layout.names, flip=layout.flip)


def _origin(origin: Mapping[str, Any]) -> dataset_pb2.Origin | None:
    if not origin:
        return None  # made before origins were recorded
    parameters = struct_pb2.Struct()
    parameters.update(origin["parameters"])
    return dataset_pb2.Origin(operation=origin["operation"], sources=origin["sources"], parameters=parameters)


def diff_to_proto(one: DatasetVersion, other: DatasetVersion, found: Diff) -> dataset_service_pb2.DatasetDiff:
    """What differs between two versions, on the wire."""

    def changes(images: ImageChanges) -> dataset_service_pb2.ImageChanges:
        return dataset_service_pb2.ImageChanges(image_count=images.count, images=images.images)

    return dataset_service_pb2.DatasetDiff(
        name=str(one.name),
        other=str(other.name),
        added=changes(found.added),
        removed=changes(found.removed),
        relabelled=changes(found.relabelled),
        moved=changes(found.moved),
        unchanged_count=found.unchanged,
        classes=[
            dataset_service_pb2.ClassChange(name=name, label_count=before, other_label_count=after)
            for name, (before, after) in found.classes.items()
        ],
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
        task_reason=report.get("task_reason", ""),
        classes=[dataset_pb2.ClassCounts(**counts) for counts in report.get("classes", [])],
    )
