"""``yard export``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from visionyard.cli import following, output
from visionyard.cli.options import AsJson, Detach, Directory, ModelVersion
from visionyard.cli.session import Session, run
from visionyard.client.references import short
from visionyard.export.v1 import export_job_pb2, export_job_service_pb2


class ArtifactFormat(StrEnum):
    """What ``--format`` takes."""

    ONNX = "onnx"


def export(
    model: ModelVersion,
    artifact_format: Annotated[ArtifactFormat, typer.Option("--format", help="What to export to.")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="DATASET[@V]",
            help="Whose validation images to compare on; else those that the model was trained on. "
            "What was exported before keeps its comparison.",
        ),
    ] = "",
    detach: Detach = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Export a model to a file that a server loads, compared with the model on real images; asked again, nothing is built twice."""

    async def work(session: Session) -> None:
        jobs = session.client.exports
        version = (await session.client.models.get_version(model)).name
        images = (await session.client.datasets.get_version(data)).name if data else ""

        async def create(request_id: str) -> export_job_pb2.ExportJob:
            return await jobs.create(version, artifact_format=artifact_format.value, dataset=images, request_id=request_id)

        with session.pending("export", model=version, format=artifact_format.value, data=images) as pending:
            job = await following.begin(session, pending, create, jobs.get)
            if detach:
                session.show(export_job_service_pb2.CreateExportJobResponse(export_job=job), lambda: output.write(short(job.name)))
                return
            job = await following.follow(session, jobs, job, pending)
        if sentence := data_not_used(job):
            session.progress.say(sentence)
        session.show(export_job_service_pb2.GetExportJobResponse(export_job=job), lambda: exported(job))

    run(work, as_json=as_json, directory=directory)


def data_not_used(job: export_job_pb2.ExportJob) -> str:
    """The sentence for an artifact that was there already and compared on other images than asked for; empty where there is nothing to say."""
    asked, compared_on = job.spec.dataset_version, job.artifact.comparison.images_from
    # A fresh one may be compared on other images too, where none of the dataset's can be decoded: its comparison says so.
    built_before = job.artifact.create_time.ToNanoseconds() < job.create_time.ToNanoseconds()
    if not asked or not built_before or compared_on.endswith(f" of {asked}"):
        return ""
    return f"the artifact was built before and compared on {compared_on}, so --data {short(asked)} was not used"


def exported(job: export_job_pb2.ExportJob) -> None:
    """An export that ended well, for people."""
    artifact = job.artifact
    comparison = artifact.comparison
    output.fields(
        [
            ("artifact", artifact.name.split("/")[-1]),
            ("model", short(job.spec.model_version)),
            ("size", output.size(artifact.size_bytes)),
            ("digest", artifact.digest),
            ("compared on", f"{comparison.image_count} images ({comparison.images_from}), {comparison.detection_count} detections"),
            ("boxes differ by", f"at most {comparison.max_box_difference_px:.3g} px (limit {comparison.box_limit_px:.3g})"),
            ("confidences by", f"at most {comparison.max_confidence_difference:.3g} (limit {comparison.confidence_limit:.3g})"),
        ]
    )
