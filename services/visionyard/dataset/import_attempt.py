"""What an attempt of an import job does: from the archive, or the versions that another is made of, to everything that a version needs lying in the bucket."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from visionyard.dataset.archives.entry import Archive, ArchiveLimits
from visionyard.dataset.archives.joined import JoinedArchive
from visionyard.dataset.archives.noted import NotedArchive
from visionyard.dataset.archives.opened import open_archive
from visionyard.dataset.class_names import join_alike, list_alike
from visionyard.dataset.converting.datumaro import Datumaro, missing
from visionyard.dataset.curation.copying import copy_images
from visionyard.dataset.curation.deriving import derive
from visionyard.dataset.curation.merging import add_base, base_ratios, merged_classes, refuse_mismatch
from visionyard.dataset.doctor.examination import examine
from visionyard.dataset.fetching.addresses import SourceUrl, not_allowed
from visionyard.dataset.fetching.port import Sources
from visionyard.dataset.findings import Code, Report, refuse_errors
from visionyard.dataset.finishing import Content, convert_labels, note_decision
from visionyard.dataset.formats.datumaro import read_datumaro
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.labelled import LabelledSource
from visionyard.dataset.held import HeldImages
from visionyard.dataset.import_spec import ImportSpec
from visionyard.dataset.importing import Importer, Nowhere
from visionyard.dataset.index import KnownImages
from visionyard.dataset.publishing import Publisher
from visionyard.dataset.shards import ShardWriter
from visionyard.dataset.source import SourceTree
from visionyard.dataset.splitting import SplitRequest, assign_splits
from visionyard.dataset.staging import Staging
from visionyard.dataset.tasks import Converter, decide_task
from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.dataset import DatasetVersion, iterate_manifest, read_dataset_version, read_images
from visionyard.kit.errors import YardError
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.quota import ProjectQuota
from visionyard.kit.transfer.uploads import UploadStore
from visionyard.kit.vision.decode import MAX_PIXELS


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


@dataclass(frozen=True)
class Given:
    """What an attempt works with; see :func:`.import_job.run_import`."""

    uploads: UploadStore
    limits: ImportLimits
    sources: Sources | None
    datumaro: Datumaro | None


class Attempt:
    """What leads to the ``prepared`` pointer.

    Args:
        context: The job.
        publisher: Publishes for it.
        spec: What it is to do.
        given: What it works with.
        scratch: A folder of its own.
    """

    def __init__(
        self,
        context: JobContext,
        publisher: Publisher,
        spec: ImportSpec,
        given: Given,
        scratch: Path,
    ) -> None:
        self._context = context
        self._publisher = publisher
        self._spec = spec
        self._uploads = given.uploads
        self._limits = given.limits
        self._sources = given.sources
        self._datumaro = given.datumaro
        self._scratch = scratch
        self._after: int | None = None
        self._quota = ProjectQuota(context.store, given.limits.project_bytes)
        self._fetched: dict[str, Any] = {}
        self._report = Report()

    def prepare(self) -> dict[str, Any]:
        """See :meth:`Publisher.prepare`. A refused source leaves its report with the job."""
        try:
            return self._derived() if self._spec.derivation else self._imported()
        except YardError as error:
            self._context.point(report_key=self._publisher.failed_report(self._report), failure=error.to_json())
            raise

    def _note(self, code: Code, message: str, path: str) -> None:
        """Lists a finding in the report that counts when it is made: the importer's, which comes after the archive."""
        self._report.note(code, message, path)

    def _progress(self, phase: str, done: int, total: int, unit: str) -> None:
        self._context.check()
        self._context.report(phase, done, total, unit)

    def _derived(self) -> dict[str, Any]:
        derivation, store = self._spec.derivation, self._context.store
        if derivation is None:
            raise RuntimeError("not a derivation")
        self._progress("reading versions", 0, 0, "")
        sources = [read_dataset_version(store, name) for name in derivation.sources]
        staging = Staging(self._scratch, self._context.check)
        with closing(staging):
            if derivation.operation == "publish":
                return self._published(HeldImages(staging), sources[0])
            content = derive(
                derivation,
                sources,
                lambda version: iterate_manifest(store, version),
                HeldImages(staging),
                self._report,
                self._context.check,
            )
            self._progress("examining the set", 0, 0, "")
            examine(content, self._report, self._context.check, fix=False)
            return self._publish(content, None, None)

    def _published(self, held: HeldImages, version: DatasetVersion) -> dict[str, Any]:
        """A version of the shared project with the content of another project's."""
        store, total, writer = self._context.store, version.image_count, self._writer()
        report = self._report
        report.images.found = report.images.kept = total
        report.labels.found = report.labels.kept = version.label_count
        report.split_reason = "as in the version that was published"
        copy_images(
            held,
            version,
            iterate_manifest(store, version),
            lambda rows: read_images(store, rows, version),
            KnownImages.read(store, self._spec.dataset.project),
            writer,
            lambda done: self._progress("copying images", done, total, "images"),
        )
        content = Content(version.task, version.class_names, version.keypoints, version.source_format, held)
        return self._publish(content, writer, None)

    def _writer(self) -> ShardWriter:
        maker = self._publisher.maker

        def store(key: str, path: Path) -> None:
            self._publisher.settle()  # what is on its way counts, but no listing shows it
            self._admit(path.stat().st_size)
            self._publisher.store_shard(key, path)

        return ShardWriter(self._spec.dataset.project, self._scratch, f"{maker['job']} {maker['attempt']}", store)

    def _admit(self, more_bytes: int) -> None:
        passing = sum(self._uploads.get(upload).size for upload in self._spec.uploads)  # the archives go when the job ends
        self._quota.admit(self._spec.dataset.project, more_bytes, passing_bytes=passing)

    def _imported(self) -> dict[str, Any]:
        spec, project = self._spec, self._spec.dataset.project
        writer = None if spec.dry_run else self._writer()
        self._progress("reading the archive", 0, 0, "files")
        with ExitStack() as stack:
            archive = self._fetch(stack) if spec.source_url else self._archive(stack, spec.upload)
            if spec.images_upload:
                archive = JoinedArchive(archive, self._archive(stack, spec.images_upload))
            archive = NotedArchive(archive, self._note)
            known = KnownImages.read(self._context.store, project)
            sink, pixels = writer or Nowhere(), self._limits.image_pixels
            importer = Importer(archive, self._scratch, known, sink, self._progress, pixels, fix=spec.fix, may_be_empty=spec.append)
            self._report = importer.report
            tree = stack.enter_context(importer.open())
            understand = partial(self._converted, archive) if spec.datumaro_format else partial(read_source, format_=spec.format)
            content, base = self._read(importer, tree, understand)
            return self._publish(content, writer, base)

    def _converted(self, archive: Archive, tree: SourceTree) -> LabelledSource:
        """The source as Datumaro reads it; each attempt begins anew."""
        if self._datumaro is None:
            raise missing()
        return read_datumaro(tree, self._datumaro.convert(archive, self._spec.datumaro_format, self._scratch, self._progress))

    def _fetch(self, stack: ExitStack) -> Archive:
        """The archive, fetched anew by each attempt: nothing of it outlives the worker."""
        context, url = self._context, self._spec.source_url
        if self._sources is None:
            parsed = SourceUrl.parse(url, buckets=True)
            raise not_allowed(parsed, f"{parsed.shown} is not fetched: this worker takes uploads only")
        archive, fetched = stack.enter_context(self._sources.open(url, self._scratch, self._limits.archive, context.check, context.report))
        self._fetched = fetched.to_json()
        context.announce(fetched=self._fetched)
        return archive

    def _archive(self, stack: ExitStack, upload: ResourceName | None) -> Archive:
        if upload is None:
            raise RuntimeError("a specification names an upload or an address")
        file = stack.enter_context(self._uploads.open(upload))
        return open_archive(file, self._uploads.get(upload).size, self._spec.source_name or "the archive", self._limits.archive)

    def _publish(self, content: Content, writer: ShardWriter | None, base: DatasetVersion | None) -> dict[str, Any]:
        if self._spec.strict:
            refuse_errors(self._report)
        self._report.place(content.images.image_of)
        if self._spec.dry_run:
            return {"report_key": self._publisher.failed_report(self._report), "written": []}
        self._progress("writing the manifest", 0, 0, "")
        origin = self._spec.origin(base.name if base else None, self._fetched)
        return self._publisher.prepare(content, writer, self._report, origin, self._admit, self._after)

    def _read(
        self, importer: Importer, tree: SourceTree, understand: Callable[[SourceTree], LabelledSource]
    ) -> tuple[Content, DatasetVersion | None]:
        """Everything between the archive and the manifest; and the version that was added to, if it was."""
        spec, report, held, store = self._spec, importer.report, HeldImages(tree.staging), self._context.store
        source = importer.read(tree, understand, held)
        if spec.append:
            self._after = versions.highest_number(store, spec.dataset)  # first: what comes behind it is not added to
        base = read_dataset_version(store, VersionName(spec.dataset, None)) if spec.append else None
        decision = decide_task(spec.task or (base.task if base else ""), source.task, importer.shapes, source.format)
        note_decision(decision, report)
        names, keypoints = source.class_names(), source.keypoints if decision.task == "pose" else None
        class_ids = source.final_class_ids()
        if spec.fix:
            names, class_ids = join_alike(names, class_ids, report)
        if base is None:
            list_alike(names, report)
        else:
            names, (_, merged) = merged_classes([base.class_names, names], {}, report)
            class_ids, keypoints = [merged[class_id] for class_id in class_ids], base.keypoints
            refuse_mismatch(base, decision.task, source.keypoints)
        converter = Converter(decision.task, class_ids, keypoints)
        convert_labels(held, converter, decision.task, importer.shapes, report, importer.check)
        importer.progress("drawing splits", 0, 0, "")
        request = SplitRequest(spec.split_ratios, spec.seed, base_ratios(base))
        report.split_reason = assign_splits(held, source.images.splits(), request, report, importer.check)
        if base is not None:
            predicted = source.format == "predictions"
            add_base(held, base, iterate_manifest(store, base), report, importer.check, predicted=predicted)
        held.give_names()
        importer.progress("examining the set", 0, 0, "")
        content = Content(decision.task, names, keypoints, source.format, held)
        examine(content, report, importer.check, fix=spec.fix)
        return content, base
