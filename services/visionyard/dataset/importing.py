"""From an archive to images that are held, their bytes in shards, their labels checked. What becomes of them is :mod:`.import_job`'s."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from visionyard.dataset.archives.entry import Archive
from visionyard.dataset.checking import CheckingThreads
from visionyard.dataset.findings import Code, Report
from visionyard.dataset.formats.labelled import LabelledSource, UnreadLabels
from visionyard.dataset.formats.matching import holds_masks
from visionyard.dataset.formats.shapes import LabelRow
from visionyard.dataset.formats.staged import SourceImage, images_in_none
from visionyard.dataset.held import HeldImage, HeldImages
from visionyard.dataset.images import CheckedImage, ImageProblem
from visionyard.dataset.index import KnownImages
from visionyard.dataset.labels import check_labels, drop_all
from visionyard.dataset.shards import Place
from visionyard.dataset.source import SourceTree, stem_of
from visionyard.dataset.tasks import ShapeCounts
from visionyard.kit.errors import Reason, YardError

_IMAGES_A_REPORT = 8
_ROWS_A_CHECK = 1000
_LISTEN_S = 0.1
_NAMED_MISSING = 3

Progress = Callable[[str, int, int, str], None]
"""Phase, done, total, unit. Raises where the work is to stop."""


class ImageSink(Protocol):
    """Takes the bytes of images that the project does not hold yet."""

    def add(self, sha256: str, suffix: str, data: bytes) -> Place:
        """Takes an image; says where it will lie."""
        ...

    def close(self) -> None:
        """There are no more."""
        ...


class Nowhere:
    """Where a dry run's images go."""

    def add(self, sha256: str, suffix: str, data: bytes) -> Place:  # noqa: ARG002 - as a shard's writer
        """Takes nothing."""
        return Place("", 0, len(data))

    def close(self) -> None:
        """Nothing is open."""


class Importer:
    """Reads one source.

    Args:
        archive: The source.
        scratch: A private folder.
        known: The images that the project holds already.
        writer: Takes the others.
        progress: Hears how far it is, and stops it.
        limit_pixels: The largest image.
        fix: Whether labels that can be mended safely are.
        may_be_empty: Whether a source without any label is taken, as one whose images join others.

    Attributes:
        report: What is counted and found.
        shapes: What shapes the kept labels have.
    """

    def __init__(
        self,
        archive: Archive,
        scratch: Path,
        known: KnownImages,
        writer: ImageSink,
        progress: Progress,
        limit_pixels: int,
        *,
        fix: bool = False,
        may_be_empty: bool = False,
    ) -> None:
        self.report = Report()
        self.shapes = ShapeCounts()
        self._archive = archive
        self._scratch = scratch
        self._known = known
        self._writer = writer
        self._told = ("reading the archive", 0, 0, "files")
        self._told_at = 0.0
        self._tell = progress
        self._limit_pixels = limit_pixels
        self._fix = fix
        self._may_be_empty = may_be_empty
        self._labellings_read = 0
        self._labellings_damaged = 0

    def check(self) -> None:
        """Raises where the work is to stop."""
        self._tell(*self._told)
        self._told_at = time.monotonic()

    def _listen(self) -> None:
        """As :meth:`check`, but no more than ten times a second: for what happens thousands of times."""
        if time.monotonic() - self._told_at > _LISTEN_S:
            self.check()

    def open(self) -> SourceTree:
        """Reads the archive's list of files and its texts. Close the tree when all is done: what is read lies in its database.

        Raises:
            YardError: an ARCHIVE_ reason.
        """
        return SourceTree.scan(
            self._archive,
            self._scratch,
            self.report,
            lambda count: self.progress("reading the archive", count, 0, "files"),
            self.check,
        )

    def read(self, tree: SourceTree, understand: Callable[[SourceTree], LabelledSource], held: HeldImages) -> LabelledSource:
        """Understands the source, checks its images and labels, stores the images.

        Args:
            tree: What :meth:`open` gave.
            understand: Finds out what is labelled in it; see :func:`visionyard.dataset.formats.detect.read_source`.
            held: Gets what is kept.

        Raises:
            YardError: NO_IMAGES, NO_LABELS, and what ``understand`` raises.
        """
        report = self.report
        report.images.found = tree.image_count
        self.progress("reading the structure", 0, 0, "")
        source = understand(tree)
        report.format, report.format_reason = source.format, source.reason
        report.images.found = len(source.images) + len(source.left_out)
        self._count_left_out(tree, source)
        self._note_others(tree, source)
        self._read_images(source, held)
        for code, message, file, line in source.notes.items:
            report.note(code, message, file, line)
        report.images.kept = len(held)
        self._refuse_empty(source)
        return source

    def progress(self, phase: str, done: int, total: int, unit: str) -> None:
        """Tells how far it is; raises where the work is to stop."""
        self._told = (phase, done, total, unit)
        self.check()

    def _rows(self, source: LabelledSource, labels: str, width: int = 0, height: int = 0) -> Iterator[LabelRow]:
        """An image's labels. What is to stop the work is heard between them too: one file may hold millions."""
        for count, row in enumerate(source.rows(labels, width, height), 1):
            if count % _ROWS_A_CHECK == 0:
                self.check()
            yield row

    def _count_left_out(self, tree: SourceTree, source: LabelledSource) -> None:
        for image in source.left_out:
            self.progress("reading the structure", 0, 0, "")
            self._drop_image(source, image, *source.left_out_because)
        for orphan in source.orphans:
            self.progress("reading the structure", 0, 0, "")
            file = source.file_of(orphan.labels)
            count = self._drop_labels(source, orphan.labels, Code.LABEL_WITHOUT_IMAGE)
            what = "labels that cannot be read" if count is None else f"{count} labels"
            self.report.note(Code.LABEL_WITHOUT_IMAGE, f"{file} holds {what}, but {_missing(tree, orphan)}", file)

    def _note_others(self, tree: SourceTree, source: LabelledSource) -> None:
        """Lists the folders whose images the labelling passes over: pictures that nobody mentions are not to vanish without a word."""
        for folder, count, first in images_in_none(tree.staging, source.images, source.left_out):
            self.progress("reading the structure", 0, 0, "")
            if not holds_masks(folder):
                where, what = folder or "the source's own folder", "an image that is" if count == 1 else f"{count} images that are"
                message = f"{where} holds {what} no part of the labelling, {first} the first; none of them was taken"
                self.report.note(Code.IMAGE_NOT_LISTED, message, folder)

    def _drop_image(self, source: LabelledSource, image: SourceImage, code: Code, message: str) -> None:
        dropped = self._drop_labels(source, image.labels, code) if image.labels else 0
        also = f", and so were its {dropped} labels" if dropped else ""
        self.report.note(code, f"{image.path} {message}; it was left out{also}", image.path)

    def _drop_labels(self, source: LabelledSource, labels: str, code: Code) -> int | None:
        """Counts the labels of an image as found and dropped; returns how many they were, None where their file is damaged, which is listed."""
        try:
            return drop_all(self._rows(source, labels), code, self.report)
        except UnreadLabels as error:
            file = source.file_of(labels)
            self.report.note(Code.MALFORMED_ANNOTATION, f"{file} cannot be read: {error}", file)
            return None

    def _read_images(self, source: LabelledSource, held: HeldImages) -> None:
        """Reads the images: checked in threads, a few at once, and taken in the archive's order."""
        total, seen = len(source.images), 0
        with CheckingThreads(self._limit_pixels) as threads:
            files = ((place, size, (image, size)) for place, size, image in source.images.placed())
            for (image, size), data in self._archive.fetch(files):
                seen += 1
                if seen % _IMAGES_A_REPORT == 1:
                    self.progress("checking images", seen, total, "images")
                if data is None:
                    limit = self._archive.limits.file_bytes
                    self._drop_image(source, image, Code.IMAGE_TOO_LARGE, f"has {size} bytes, more than {limit}")
                    continue
                for taken, checked in threads.add(image, data):
                    self._take(source, held, taken, checked)
            for taken, checked in threads.rest():
                self._take(source, held, taken, checked)
        self.progress("storing images", total, total, "images")
        self._writer.close()

    def _take(self, source: LabelledSource, held: HeldImages, image: SourceImage, checked: CheckedImage | ImageProblem) -> None:
        self._listen()
        if isinstance(checked, ImageProblem):
            self._drop_image(source, image, checked.code, checked.message)
            return
        for code, message in checked.notes:
            self.report.note(code, f"{image.path} {message}", image.path)
        labels: list[LabelRow] = []
        if image.labels:
            rows = self._rows(source, image.labels, checked.width, checked.height)
            picture = "" if source.file_each else image.path
            file = source.file_of(image.labels)
            try:
                labels = check_labels(rows, file, self.report, fix=self._fix, picture=picture)
            except UnreadLabels as error:  # as background it would teach that nothing is to be seen on it
                message = f"{file} cannot be read: {error}; {image.path} was left out, since nobody knows what is on it"
                self.report.note(Code.MALFORMED_ANNOTATION, message, file, picture=image.path)
                self._labellings_damaged += 1
                return
        elif source.task == "classify":
            self.report.note(Code.IMAGE_WITHOUT_CLASS, f"{image.path} has no class; it was left out", image.path)
            return
        else:
            why = f"has no label in {image.stated}" if image.stated else "has no label file"
            self.report.note(Code.IMAGE_WITHOUT_LABELS, f"{image.path} {why}; it was kept as background", image.path)
        self._labellings_read += bool(image.labels or image.stated)
        self.shapes.add(labels)
        held.add(
            HeldImage(
                path=image.path,
                split=image.split,
                sha256=checked.sha256,
                width=checked.width,
                height=checked.height,
                place=self._place(checked, held),
                labels=labels,
                phash=checked.phash,
                label_file=source.file_of(image.labels) or image.stated,
                suffix=checked.suffix,
                channels=checked.channels,
            )
        )

    def _place(self, image: CheckedImage, held: HeldImages) -> Place:
        """Where the image lies: in this very import, in the project already, or now."""
        place = held.place_of(image.sha256) or self._known.find(image.sha256)
        return place or self._writer.add(image.sha256, image.suffix, image.data)

    def _refuse_empty(self, source: LabelledSource) -> None:
        report = self.report
        if not report.images.kept:
            if source.orphans and not report.images.found:
                names = [
                    orphan.path or source.file_of(orphan.labels) for _, orphan in zip(range(_NAMED_MISSING), source.orphans, strict=False)
                ]
                more = f" and {len(source.orphans) - len(names)} more" if len(source.orphans) > len(names) else ""
                raise YardError(
                    Reason.NO_IMAGES,
                    f"{self._archive.name} holds {report.labels.found} labels, but none of the images that they belong to is there "
                    f"({', '.join(name[:80] for name in names)}{more}): add the images, or name their folder with --images",
                    {"images": str(len(source.orphans))},
                )
            raise YardError(
                Reason.NO_IMAGES,
                f"none of the {report.images.found} images of {self._archive.name} can be used{self._damage()}: see its report",
            )
        all_damaged = self._labellings_damaged and not self._labellings_read
        if not report.labels.kept and not (self._may_be_empty and not report.labels.found and not all_damaged):
            what = f"none of the {report.labels.found} labels" if report.labels.found else "no label"
            codes = ", ".join(f"{code} {count}" for code, count in report.dropped_by_code.most_common(3))
            raise YardError(
                Reason.NO_LABELS,
                f"{what} of {self._archive.name} can be used{f' ({codes})' if codes else ''}{self._damage()}: see its report for files and lines",
            )

    def _damage(self) -> str:
        """How many images were left out for their label files, a part of a sentence; empty where none was."""
        count = self._labellings_damaged
        return (
            f", as {'the label file of one image' if count == 1 else f'the label files of {count} images'} cannot be read" if count else ""
        )


def _missing(tree: SourceTree, orphan: SourceImage) -> str:
    """Why labels have no image, the end of a sentence."""
    alike = tree.images_called(stem_of(orphan.path)) if orphan.path else []
    if len(alike) > 1:
        return f"which of the images of that name they belong to is not clear ({alike[0]}, {alike[1]}{', ...' if alike[2:] else ''})"
    return f"there is no image {orphan.path!r}" if orphan.path else "there is no image of its name"
