"""From an archive to everything that a dataset version needs: its images in shards, its rows, its report. Publishing is :mod:`.publishing`'s."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionyard.dataset.archives.entry import Archive
from visionyard.dataset.findings import Code, Report
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.labelled import LabelledSource, LabelRow, SourceImage
from visionyard.dataset.images import CheckedImage, ImageProblem, check_image
from visionyard.dataset.index import KnownImages
from visionyard.dataset.labels import Labels, check_labels, drop_all
from visionyard.dataset.names import unique_names
from visionyard.dataset.shards import Place, ShardWriter
from visionyard.dataset.source import SourceTree
from visionyard.dataset.splitting import SplitRequest, assign_splits
from visionyard.kit.artifacts.manifest import SPLITS, Label, ManifestRow
from visionyard.kit.cpus import usable_cpus
from visionyard.kit.errors import Reason, YardError

_WINDOW_IMAGES = 64
_WINDOW_BYTES = 192 << 20
_MAX_THREADS = 8
_ROWS_A_CHECK = 1000

Progress = Callable[[str, int, int, str], None]
"""Phase, done, total, unit. Raises where the work is to stop."""


@dataclass(slots=True)
class HeldImage:
    """An image that is kept.

    Attributes:
        path: In the source.
        split: As the source has it, then as the version has it.
        sha256: Of its bytes.
        suffix: ``jpg`` or ``png``.
        width: In pixels.
        height: In pixels.
        place: Where its bytes lie.
        labels: FLOAT64 [labels, 5], with the class ids that :meth:`LabelledSource.rows` gave.
    """

    path: str
    split: str
    sha256: str
    suffix: str
    width: int
    height: int
    place: Place
    labels: Labels


@dataclass(frozen=True)
class Imported:
    """What became of a source.

    Attributes:
        source_format: ``yolo`` or ``voc``.
        class_names: By id.
        images: What is kept, in the order of the archive.
    """

    source_format: str
    class_names: tuple[str, ...]
    images: list[HeldImage]

    def rows(self, writer: ShardWriter, class_ids: list[int]) -> Iterator[ManifestRow]:
        """The manifest's rows in its order, made one by one; all shards are stored already.

        Args:
            writer: Knows the shards' keys.
            class_ids: The final id of each class id that the source gave.
        """
        names = unique_names([(image.path, image.split, image.suffix) for image in self.images])
        order = sorted(range(len(names)), key=lambda i: (SPLITS.index(self.images[i].split), names[i]))
        for i in order:
            image = self.images[i]
            place = writer.resolve(image.place)
            labels = sorted(Label(class_ids[int(row[0])], *row[1:]) for row in image.labels.tolist())
            yield ManifestRow(
                image.sha256, names[i], image.split, image.width, image.height, place.shard, place.offset, place.length, tuple(labels)
            )


class Importer:
    """Reads one source.

    Args:
        archive: The source.
        scratch: A private folder.
        known: The images that the project holds already.
        writer: Takes the others.
        progress: Hears how far it is, and stops it.
        limit_pixels: The largest image.
    """

    def __init__(
        self, archive: Archive, scratch: Path, known: KnownImages, writer: ShardWriter, progress: Progress, limit_pixels: int
    ) -> None:
        self.report = Report()
        self._archive = archive
        self._scratch = scratch
        self._known = known
        self._writer = writer
        self._told = ("reading the archive", 0, 0, "files")
        self._tell = progress
        self._limit_pixels = limit_pixels
        self._new: dict[str, Place] = {}
        self._held: list[HeldImage] = []

    def run(self, format_: str, request: SplitRequest) -> tuple[Imported, list[int]]:
        """Reads the source, stores its images, and gives what is kept with the final id of each class id in it.

        Args:
            format_: ``yolo``, ``voc`` or empty: found out.
            request: How to split.

        Raises:
            YardError: an ARCHIVE_ reason, NO_IMAGES, NO_LABELS, FORMAT_UNKNOWN, CLASSES_UNKNOWN, ANNOTATION_BOMB or SPLIT_EMPTY.
        """
        report = self.report
        listed = SourceTree.scan(
            self._archive,
            self._scratch,
            report,
            lambda count: self._progress("reading the archive", count, 0, "files"),
            lambda: self._progress("reading the structure", 0, 0, ""),
        )
        with listed as tree:
            report.images.found = len(tree.images)
            source = read_source(tree, format_)
            report.format, report.format_reason = source.format, source.reason
            report.images.found = len(source.images) + len(source.left_out)
            self._count_left_out(source)
            self._read_images(source)
            for code, message, file, line in source.notes.items:
                report.note(code, message, file, line)
        report.images.kept = len(self._held)
        self._refuse_empty()
        self._progress("drawing splits", 0, 0, "")
        named = [image.split for image in source.images]
        report.split_reason = assign_splits(self._held, named, request, report, lambda: self._tell(*self._told))
        self._find_doubles()
        names = source.class_names()
        final = [source.final_class_id(class_id) for class_id in range(len(names))]
        return Imported(source.format, names, self._held), final

    def _progress(self, phase: str, done: int, total: int, unit: str) -> None:
        self._told = (phase, done, total, unit)
        self._tell(*self._told)

    def _rows(self, source: LabelledSource, labels: str, width: int = 0, height: int = 0) -> Iterator[LabelRow]:
        """A label file's rows. What is to stop the work is heard between them too: one file may hold millions."""
        for count, row in enumerate(source.rows(labels, width, height)):
            if count % _ROWS_A_CHECK == 0:
                self._tell(*self._told)
            yield row

    def _count_left_out(self, source: LabelledSource) -> None:
        for image in source.left_out:
            self._progress("reading the structure", 0, 0, "")
            self._drop_image(source, image, Code.IMAGE_NOT_IN_SPLIT, "is in none of the splits that the source names")
        for path in source.orphans:
            self._progress("reading the structure", 0, 0, "")
            count = drop_all(self._rows(source, path), Code.LABEL_WITHOUT_IMAGE, self.report)
            self.report.note(Code.LABEL_WITHOUT_IMAGE, f"{path} holds {count} labels, but there is no image of its name", path)

    def _drop_image(self, source: LabelledSource, image: SourceImage, code: Code, message: str) -> None:
        dropped = drop_all(self._rows(source, image.labels), code, self.report) if image.labels else 0
        also = f", and so were its {dropped} labels" if dropped else ""
        self.report.note(code, f"{image.path} {message}; it was left out{also}", image.path)

    def _read_images(self, source: LabelledSource) -> None:
        """Reads the archive once more, now for its images: checked in threads, taken in order."""
        wanted = {image.path: image for image in source.images}
        total, window, window_bytes = len(wanted), deque[tuple[SourceImage, Future[CheckedImage], int]](), 0
        with ThreadPoolExecutor(min(_MAX_THREADS, usable_cpus()), "images") as pool:
            try:
                for entry, data in self._archive.read(lambda entry: entry.path in wanted):
                    image = wanted.pop(entry.path, None)
                    if image is None:
                        continue
                    if data is None:
                        self._drop_image(
                            source, image, Code.IMAGE_TOO_LARGE, f"has {entry.size} bytes, more than {self._archive.limits.file_bytes}"
                        )
                        continue
                    window.append((image, pool.submit(check_image, data, self._limit_pixels), len(data)))
                    window_bytes += len(data)
                    while len(window) > _WINDOW_IMAGES or window_bytes > _WINDOW_BYTES:
                        window_bytes -= self._take(source, *window.popleft())
                    self._progress("checking images", total - len(wanted), total, "images")
                while window:
                    self._take(source, *window.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        self._progress("storing images", total, total, "images")
        self._writer.close()

    def _take(self, source: LabelledSource, image: SourceImage, future: Future[CheckedImage], size: int) -> int:
        try:
            checked = future.result()
        except ImageProblem as problem:
            self._drop_image(source, image, problem.code, problem.message)
            return size
        for code, message in checked.notes:
            self.report.note(code, f"{image.path} {message}", image.path)
        if image.labels:
            labels = check_labels(self._rows(source, image.labels, checked.width, checked.height), image.labels, self.report)
        else:
            labels = np.empty((0, 5))
            self.report.note(Code.IMAGE_WITHOUT_LABELS, f"{image.path} has no label file; it was kept as background", image.path)
        self._held.append(
            HeldImage(image.path, image.split, checked.sha256, checked.suffix, checked.width, checked.height, self._place(checked), labels)
        )
        return size

    def _place(self, image: CheckedImage) -> Place:
        """Where the image lies: in the project already, in this very import, or now."""
        place = self._new.get(image.sha256) or self._known.find(image.sha256)
        if place is None:
            place = self._new[image.sha256] = self._writer.add(image.sha256, image.suffix, image.data)
        return place

    def _refuse_empty(self) -> None:
        report = self.report
        if not self._held:
            raise YardError(
                Reason.NO_IMAGES, f"none of the {report.images.found} images of {self._archive.name} can be used: see its report"
            )
        if not report.labels.kept:
            what = f"none of the {report.labels.found} labels" if report.labels.found else "no label"
            codes = ", ".join(f"{code} {count}" for code, count in report.dropped_by_code.most_common(3))
            raise YardError(
                Reason.NO_LABELS,
                f"{what} of {self._archive.name} can be used{f' ({codes})' if codes else ''}: see its report for files and lines",
            )

    def _find_doubles(self) -> None:
        """Lists images whose bytes are alike."""
        ordered = sorted(self._held, key=lambda image: (image.sha256, image.path))
        for _, group in itertools.groupby(ordered, key=lambda image: image.sha256):
            first, *others = group
            for other in others:
                if other.split == first.split:
                    self.report.note(Code.DUPLICATE_IMAGE, f"{other.path} has the same bytes as {first.path}; both were kept", other.path)
                else:
                    message = f"{other.path} in {other.split} has the same bytes as {first.path} in {first.split}"
                    self.report.note(Code.SPLIT_LEAKAGE, message, other.path)
