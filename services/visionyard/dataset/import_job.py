"""One attempt of an import job, from the upload to the published version: what runs in the worker process."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionyard.dataset import pins
from visionyard.dataset.archives.entry import ArchiveLimits
from visionyard.dataset.archives.opened import open_archive
from visionyard.dataset.findings import Report
from visionyard.dataset.importing import Importer
from visionyard.dataset.index import KnownImages
from visionyard.dataset.publishing import Publisher
from visionyard.dataset.shards import ShardWriter
from visionyard.dataset.splitting import SplitRequest
from visionyard.kit.errors import YardError
from visionyard.kit.jobs.lease import LeaseLost, Preempted
from visionyard.kit.jobs.worker import JobContext
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import StoreFull, StoreUnavailable
from visionyard.kit.quota import ProjectQuota
from visionyard.kit.transfer.uploads import UploadStore
from visionyard.kit.vision.decode import MAX_PIXELS


@dataclass(frozen=True)
class ImportSpec:
    """What to import, and how: the job's ``spec``.

    Attributes:
        dataset: What gets a version.
        upload: The archive, ``projects/{project}/uploads/{upload}``.
        source_name: Its name at the client.
        format: ``yolo``, ``voc`` or empty: found out.
        split_ratios: Of train, val and, as a third, test; empty: see :class:`SplitRequest`.
        seed: Of a drawn split.
    """

    dataset: ResourceName
    upload: ResourceName
    source_name: str = ""
    format: str = ""
    split_ratios: tuple[float, ...] = ()
    seed: int = 0

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ImportSpec:
        """Reads what :meth:`to_json` wrote."""
        return cls(
            ResourceName.parse(document["dataset"], "datasets"),
            ResourceName.parse(document["upload"], "uploads"),
            document["source_name"],
            document["format"],
            tuple(document["split_ratios"]),
            document["seed"],
        )

    def to_json(self) -> dict[str, Any]:
        """The form in which the job's document keeps it."""
        return {
            "dataset": str(self.dataset),
            "upload": str(self.upload),
            "source_name": self.source_name,
            "format": self.format,
            "split_ratios": list(self.split_ratios),
            "seed": self.seed,
        }


@dataclass(frozen=True)
class ImportLimits:
    """What one source may ask of this machine, and of its project.

    Attributes:
        archive: Of its archive.
        image_pixels: The most pixels, width times height, of an image.
        project_bytes: The most bytes that its project may hold; 0 for no limit.
    """

    archive: ArchiveLimits = field(default_factory=ArchiveLimits)
    image_pixels: int = MAX_PIXELS
    project_bytes: int = 0


def run_import(context: JobContext, uploads: UploadStore, limits: ImportLimits) -> dict[str, Any]:
    """Runs one attempt, under a pin (:mod:`.pins`) that stays where another attempt will go on.

    The upload is deleted when the job has ended one way or the other, not where another attempt will need it.

    Args:
        context: The job.
        uploads: Where its archive lies.
        limits: What it may ask of this machine.

    Returns:
        The pointers of the job's result: ``version`` and ``report_key``.

    Raises:
        YardError: the source is refused; see :meth:`Importer.run` and :func:`open_archive`.
        JobCancelled: it was cancelled.
        Preempted: the worker was told to go.
        LeaseLost: another worker has the job.
        StoreUnavailable: the store stayed away.
    """
    spec, job = ImportSpec.from_json(context.job.spec), context.job
    publisher = Publisher(
        context.store, spec.dataset, job.name, job.attempt, job.create_time, job.pointers, context.point, context.announce
    )
    if "failure" in job.pointers:  # an attempt that was killed before it could say so
        _clear_up(context, publisher, uploads, spec)
        raise YardError.from_json(job.pointers["failure"])
    if "unchanged" in job.pointers:  # likewise; its upload may be gone
        _done(context, uploads, spec)
        return dict(job.pointers["unchanged"])
    prepared = job.pointers.get("prepared")
    if prepared is None:
        pins.pin(context.store, job.name)  # before the index is read
        publisher.begin()
        try:
            done = _prepare(context, publisher, spec, uploads, limits)
        except (LeaseLost, Preempted):
            raise  # the next attempt deletes what this one wrote
        except StoreUnavailable as error:
            if isinstance(error, StoreFull):
                with suppress(StoreUnavailable):
                    _clear_up(context, publisher, uploads, spec)
            raise
        except BaseException:
            _clear_up(context, publisher, uploads, spec)
            raise
        if done:
            context.point(unchanged=done)  # first, since a next attempt could not find it out again without the upload
            _done(context, uploads, spec)
            return done
        prepared = context.job.pointers["prepared"]
    context.report("publishing")
    context.announce()  # moves nothing, but raises where the job is no longer this attempt's: what was prepared may be deleted then
    result = publisher.publish(prepared)
    _done(context, uploads, spec)
    return result


def _done(context: JobContext, uploads: UploadStore, spec: ImportSpec) -> None:
    uploads.delete(spec.upload)
    pins.unpin(context.store, context.job.name)


def _clear_up(context: JobContext, publisher: Publisher, uploads: UploadStore, spec: ImportSpec) -> None:
    publisher.abandon()
    _done(context, uploads, spec)


def _prepare(context: JobContext, publisher: Publisher, spec: ImportSpec, uploads: UploadStore, limits: ImportLimits) -> dict[str, Any]:
    """Imports up to the ``prepared`` pointer; see :meth:`Publisher.prepare`. A refused source leaves its report with the job."""

    def progress(phase: str, done: int, total: int, unit: str) -> None:
        context.check()
        context.report(phase, done, total, unit)

    project = spec.dataset.project
    size = uploads.get(spec.upload).size
    maker, quota = publisher.maker, ProjectQuota(context.store, limits.project_bytes)

    def store_shard(key: str, path: Path) -> None:
        quota.admit(project, path.stat().st_size, passing_bytes=size)  # the archive goes when the job ends
        publisher.store_shard(key, path)

    writer = ShardWriter(project, context.scratch, f"{maker['job']} {maker['attempt']}", store_shard)
    report = Report()
    try:
        with uploads.open(spec.upload) as file:
            progress("reading the archive", 0, 0, "files")
            archive = open_archive(file, size, spec.source_name or "the archive", limits.archive)
            known = KnownImages.read(context.store, project)
            importer = Importer(archive, context.scratch, known, writer, progress, limits.image_pixels)
            report = importer.report
            imported, class_ids = importer.run(spec.format, SplitRequest(spec.split_ratios, spec.seed))
        progress("writing the manifest", 0, 0, "")
        return publisher.prepare(imported, class_ids, writer, report)
    except YardError as error:
        context.point(report_key=publisher.failed_report(report), failure=error.to_json())
        raise
