"""The export service's messages to domain objects and back; a request that cannot be meant is refused here."""

from __future__ import annotations

from visionyard.export.specification import ExportSpecification
from visionyard.export.v1 import artifact_pb2, export_job_pb2
from visionyard.kit.artifacts.exported import Artifact, ArtifactFormat
from visionyard.kit.errors import invalid_field
from visionyard.kit.jobs.mapping import job_status, timestamp
from visionyard.kit.jobs.model import Job, ProgressSnapshot
from visionyard.kit.names import VersionName
from visionyard.transfer.v1 import transfer_service_pb2

_FORMATS = {artifact_pb2.ARTIFACT_FORMAT_ONNX: ArtifactFormat.ONNX}
_FORMAT_NUMBERS = {value: number for number, value in _FORMATS.items()}


def specification_from_proto(spec: export_job_pb2.ExportSpec) -> ExportSpecification:
    """What a request asks for.

    Raises:
        YardError: INVALID_NAME, or INVALID_FIELD for a format that is not one.
    """
    if spec.format not in _FORMATS:
        raise invalid_field("export_job.spec.format", "is not a format: use ARTIFACT_FORMAT_ONNX")
    return ExportSpecification(
        model_version=VersionName.parse(spec.model_version, "models"),
        format=_FORMATS[spec.format],
        dataset_version=str(VersionName.parse(spec.dataset_version, "datasets")) if spec.dataset_version else "",
    )


def job_to_proto(job: Job, progress: ProgressSnapshot, queue_position: int, artifact: Artifact | None) -> export_job_pb2.ExportJob:
    """An export job on the wire.

    Args:
        job: The job.
        progress: How far its worker is.
        queue_position: Its place in the queue, from 1; 0 unless it waits.
        artifact: Its artifact, once it has succeeded.
    """
    specification = ExportSpecification.from_json(job.spec)
    return export_job_pb2.ExportJob(
        name=str(job.name),
        spec=export_job_pb2.ExportSpec(
            model_version=str(specification.model_version),
            format=_FORMAT_NUMBERS[specification.format],
            dataset_version=specification.dataset_version,
        ),
        status=job_status(job, progress, queue_position),
        create_time=timestamp(job.create_time),
        update_time=timestamp(job.update_time),
        etag=job.etag,
        artifact=artifact_to_proto(artifact) if artifact else None,
    )


def artifact_to_proto(artifact: Artifact) -> artifact_pb2.Artifact:
    """An artifact on the wire."""
    comparison = artifact.comparison
    return artifact_pb2.Artifact(
        name=str(artifact.name),
        format=_FORMAT_NUMBERS[artifact.format],
        key=dict(artifact.key),
        digest=artifact.digest,
        size_bytes=artifact.size_bytes,
        class_names=artifact.class_names,
        stride_px=artifact.stride_px,
        image_size_px=artifact.image_size_px,
        max_candidates=artifact.max_candidates,
        comparison=artifact_pb2.Comparison(
            images_from=comparison.images_from,
            image_count=comparison.image_count,
            max_box_difference_px=comparison.max_box_difference_px,
            max_confidence_difference=comparison.max_confidence_difference,
            box_limit_px=comparison.box_limit_px,
            confidence_limit=comparison.confidence_limit,
            detection_count=comparison.detection_count,
        ),
        files=[transfer_service_pb2.StoredFile(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256) for file in artifact.files],
        create_time=timestamp(artifact.create_time),
    )
