"""One attempt of an import job, from the upload to the published version: what runs in the worker process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from visionyard.dataset.archives.entry import Archive, ArchiveLimits
from visionyard.dataset.archives.noted import NotedArchive
from visionyard.dataset.archives.opened import open_archive
from visionyard.dataset.fetching.addresses import SourceUrl, not_allowed
from visionyard.dataset.fetching.port import Sources
from visionyard.dataset.findings import Code, Report
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
from visionyard.kit.transfer.uploads import UploadStore
from visionyard.kit.vision.decode import MAX_PIXELS


@dataclass(frozen=True)
class ImportSpec:
    """What to import, and how: the job's ``spec``.

    Attributes:
        dataset: What gets a version.
        upload: The archive, ``projects/{project}/uploads/{upload}``; None where it is fetched.
        source_name: Its name at the client.
        format: ``yolo``, ``voc`` or empty: found out.
        split_ratios: Of train, val and, as a third, test; empty: see :class:`SplitRequest`.
        seed: Of a drawn split.
        source_url: Where it is fetched from; empty where it is uploaded.
    """

    dataset: ResourceName
    upload: ResourceName | None
    source_name: str = ""
    format: str = ""
    split_ratios: tuple[float, ...] = ()
    seed: int = 0
    source_url: str = ""

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ImportSpec:
        """Reads what :meth:`to_json` wrote."""
        return cls(
            ResourceName.parse(document["dataset"], "datasets"),
            ResourceName.parse(document["upload"], "uploads") if document["upload"] else None,
            document["source_name"],
            document["format"],
            tuple(document["split_ratios"]),
            document["seed"],
            document.get("source_url", ""),
        )

    def to_json(self) -> dict[str, Any]:
        """The form in which the job's document keeps it."""
        return {
            "dataset": str(self.dataset),
            "upload": str(self.upload or ""),
            "source_name": self.source_name,
            "format": self.format,
            "split_ratios": list(self.split_ratios),
            "seed": self.seed,
            **({"source_url": self.source_url} if self.source_url else {}),
        }

    def delete_upload(self, uploads: UploadStore) -> None:
        """Deletes what was uploaded for it; nothing where it is fetched.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        if self.upload is not None:
            uploads.delete(self.upload)


@dataclass(frozen=True)
class ImportLimits:
    """What one source may ask of this machine.

    Attributes:
        archive: Of its archive.
        image_pixels: The most pixels, width times height, of an image.
    """

    archive: ArchiveLimits = field(default_factory=ArchiveLimits)
    image_pixels: int = MAX_PIXELS


def run_import(context: JobContext, uploads: UploadStore, limits: ImportLimits, sources: Sources | None = None) -> dict[str, Any]:
    """Runs one attempt.

    The upload is deleted when the job has ended one way or the other, not where another attempt will need it.

    Args:
        context: The job.
        uploads: Where its archive lies.
        limits: What it may ask of this machine.
        sources: Fetches what is not uploaded; None where nothing may be fetched.

    Returns:
        The pointers of the job's result: ``version`` and ``report_key``. Of what was fetched the pointer ``fetched`` tells more.

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
        _clear_up(publisher, uploads, spec)
        raise YardError.from_json(job.pointers["failure"])
    if "unchanged" in job.pointers:  # likewise; its upload may be gone
        spec.delete_upload(uploads)
        return dict(job.pointers["unchanged"])
    prepared = job.pointers.get("prepared")
    if prepared is None:
        publisher.begin()
        try:
            done = _prepare(context, publisher, spec, uploads, limits, sources)
        except (LeaseLost, Preempted):
            raise  # the next attempt deletes what this one wrote
        except StoreUnavailable as error:
            if isinstance(error, StoreFull):
                with suppress(StoreUnavailable):
                    _clear_up(publisher, uploads, spec)
            raise
        except BaseException:
            _clear_up(publisher, uploads, spec)
            raise
        if done:
            context.point(unchanged=done)  # first, since a next attempt could not find it out again without the upload
            spec.delete_upload(uploads)
            return done
        prepared = context.job.pointers["prepared"]
    context.report("publishing")
    context.announce()  # moves nothing, but raises where the job is no longer this attempt's: what was prepared may be deleted then
    result = publisher.publish(prepared)
    spec.delete_upload(uploads)
    return result


def _clear_up(publisher: Publisher, uploads: UploadStore, spec: ImportSpec) -> None:
    publisher.abandon()
    spec.delete_upload(uploads)


def _prepare(
    context: JobContext, publisher: Publisher, spec: ImportSpec, uploads: UploadStore, limits: ImportLimits, sources: Sources | None
) -> dict[str, Any]:
    """Imports up to the ``prepared`` pointer; see :meth:`Publisher.prepare`. A refused source leaves its report with the job."""

    def progress(phase: str, done: int, total: int, unit: str) -> None:
        context.check()
        context.report(phase, done, total, unit)

    def note(code: Code, message: str, path: str) -> None:
        report.note(code, message, path)  # the importer's own, which is not made yet

    project = spec.dataset.project
    maker = publisher.maker
    writer = ShardWriter(project, context.scratch, f"{maker['job']} {maker['attempt']}", publisher.store_shard)
    report = Report()
    try:
        with _opened(context, spec, uploads, limits.archive, sources) as opened:
            archive = NotedArchive(opened, note)
            known = KnownImages.read(context.store, project)
            importer = Importer(archive, context.scratch, known, writer, progress, limits.image_pixels)
            report = importer.report
            imported, class_ids = importer.run(spec.format, SplitRequest(spec.split_ratios, spec.seed))
        progress("writing the manifest", 0, 0, "")
        return publisher.prepare(imported, class_ids, writer, report)
    except YardError as error:
        context.point(report_key=publisher.failed_report(report), failure=error.to_json())
        raise


@contextmanager
def _opened(
    context: JobContext, spec: ImportSpec, uploads: UploadStore, limits: ArchiveLimits, sources: Sources | None
) -> Iterator[Archive]:
    """The archive, uploaded or fetched. A fetched one is fetched anew by each attempt: nothing of it outlives the worker."""
    if spec.upload is None:
        if sources is None:
            url = SourceUrl.parse(spec.source_url)
            raise not_allowed(url, f"{url.shown} is not fetched: this worker takes uploads only")
        with sources.open(spec.source_url, context.scratch, limits, context.check, context.report) as (archive, fetched):
            context.announce(fetched=fetched.to_json())
            yield archive
        return
    size = uploads.get(spec.upload).size
    with uploads.open(spec.upload) as file:
        context.report("reading the archive", 0, 0, "files")
        yield open_archive(file, size, spec.source_name or "the archive", limits)
