"""From the images that are held to the rows of a version: its task, labels, splits and names; what is found on the way is listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from visionyard.dataset.findings import Code, Report
from visionyard.dataset.formats.shapes import LabelRow, Shape
from visionyard.dataset.held import HeldImage, HeldImages
from visionyard.dataset.labels import likeness
from visionyard.dataset.shards import ShardWriter
from visionyard.dataset.tasks import Converter, Decision, ShapeCounts
from visionyard.kit.artifacts.dataset import KeypointLayout
from visionyard.kit.artifacts.manifest import Label, ManifestRow
from visionyard.kit.errors import Reason, YardError

_IMAGES_A_CHECK = 256


@dataclass(frozen=True)
class Content:
    """What a version is going to hold; its images are the held ones.

    Attributes:
        task: In Ultralytics' words.
        class_names: By id.
        keypoints: What its keypoints are; None unless the task is ``pose``.
        source_format: What it was read from; empty for a version made of others.
        images: The images: split, named, their labels in the task's shape with final class ids.
    """

    task: str
    class_names: tuple[str, ...]
    keypoints: KeypointLayout | None
    source_format: str
    images: HeldImages

    def rows(self, writer: ShardWriter | None) -> Iterator[ManifestRow]:
        """The manifest's rows in its order, made one by one; all shards are stored already.

        Args:
            writer: Knows the keys of the shards that this attempt wrote; None where it wrote none.
        """
        return self.images.rows(writer.key_of if writer else str)


def convert_labels(
    images: HeldImages, converter: Converter, task: str, shapes: ShapeCounts, report: Report, check: Callable[[], None]
) -> None:
    """Brings every held image's labels into the task's shape. Images that it leaves without the one class that ``classify`` wants are taken out.

    Args:
        images: The images; their labels change.
        converter: To the task.
        task: The task.
        shapes: What shapes the labels have.
        report: Counts and lists what changes.
        check: Called now and then; raises where the work is to stop.

    Raises:
        YardError: NO_LABELS, nothing is left.
    """
    class_ids = converter.classes_only(shapes)
    # What is left is looked at one by one: it takes thirty times as long.
    left = iter(images) if class_ids is None else images.some(images.reclass(class_ids))
    _convert_each(images, left, converter, task, report, check)
    if report.labels.found and not report.labels.kept:
        raise YardError(
            Reason.NO_LABELS, f"none of the {report.labels.found} labels can be used for {task}: see the report, or choose another --task"
        )


def _convert_each(
    images: HeldImages, left: Iterator[HeldImage], converter: Converter, task: str, report: Report, check: Callable[[], None]
) -> None:
    changed: Counter[Code] = Counter()
    first: dict[Code, HeldImage] = {}
    gone: list[int] = []
    for number, image in enumerate(left):
        if number % _IMAGES_A_CHECK == 0:
            check()
        kept, codes = _converted(image, converter, report)
        changed.update(codes)
        for code in codes:
            first.setdefault(code, image)
        if task == "classify" and len(kept) != 1:
            gone.append(image.id)
            _not_one_class(image, len(kept), report)
            continue
        images.relabel(image.id, kept, image.label_file)
    images.remove(gone)
    for code, count in changed.items():
        where = first[code].label_file or first[code].path
        report.note(code, f"{count} labels, those of {where} the first: {_CHANGED[code]}", where, picture=first[code].path)


def _converted(image: HeldImage, converter: Converter, report: Report) -> tuple[list[LabelRow], list[Code]]:
    """An image's labels in the task's shape; and what was changed, or is why one was left out, once for each label concerned."""
    kept: dict[bytes, LabelRow] = {}
    codes: list[Code] = []
    for row in image.labels:
        converted = converter.convert(row, image.width, image.height)
        if converted.code is not None:
            codes.append(converted.code)
        if converted.label is None:
            _drop(report, converted.code or Code.OTHER_KIND_OF_LABEL)
        elif (key := likeness(converted.label)) in kept:  # two outlines within one box
            codes.append(Code.DUPLICATE_BOX)
            _drop(report, Code.DUPLICATE_BOX)
        else:
            kept[key] = _row(converted.label, row)
    return list(kept.values()), codes


_CHANGED = {
    Code.DUPLICATE_BOX: "their boxes are the same as others', of which one was kept",
    Code.POLYGON_AS_BOX: "polygons became the boxes around them",
    Code.ROTATED_AS_BOX: "rotated boxes became the upright boxes around them",
    Code.KEYPOINTS_IGNORED: "keypoints were left out, the boxes were kept",
    Code.BOX_AS_POLYGON: "boxes became polygons of four corners",
    Code.POLYGON_AS_ROTATED: "polygons became the smallest rotated boxes around them",
    Code.NO_KEYPOINTS: "labels without keypoints were kept, their keypoints count as not there",
    Code.OTHER_KIND_OF_LABEL: "they are of another kind than the others (a whole picture's class, or not) and were left out",
}


def _row(label: Label, row: LabelRow) -> LabelRow:
    return LabelRow(
        row.line,
        class_id=label.class_id,
        cx=label.cx,
        cy=label.cy,
        w=label.w,
        h=label.h,
        shape=Shape.BOX,
        points=label.points,
        confidence=label.confidence,
    )


def _drop(report: Report, code: Code, count: int = 1) -> None:
    """Takes back labels that were counted as kept."""
    report.labels.kept -= count
    report.drop_labels(code, count)


def _not_one_class(image: HeldImage, count: int, report: Report) -> None:
    report.images.kept -= 1
    if count:
        _drop(report, Code.SEVERAL_CLASSES, count)
        report.note(Code.SEVERAL_CLASSES, f"{image.path} has {count} classes; it was left out", image.path)
    else:
        report.note(Code.IMAGE_WITHOUT_CLASS, f"{image.path} has no class; it was left out", image.path)


def note_decision(decision: Decision, report: Report) -> None:
    """Lists a task that was guessed."""
    report.task_reason = decision.reason
    if decision.guessed:
        report.note(Code.TASK_GUESSED, f"the labels were taken for {decision.reason}")


def _labelling(image: HeldImage) -> frozenset[tuple[object, ...]]:
    return frozenset(label.key() for label in image.labels)


def find_doubles(images: HeldImages, report: Report, *, fix: bool) -> None:
    """Lists images whose bytes are alike.

    With ``fix`` a second one with the same labels goes: of one split either, of two splits that of train, so that what the model is measured on stays.

    Raises:
        YardError: SPLIT_EMPTY, nothing else was in a split.
    """
    before, gone = images.splits(), list[int]()
    group, kept = 0, dict[frozenset[tuple[object, ...]], HeldImage]()
    for earliest, other in images.doubles():
        if earliest.id != group:
            group, kept = earliest.id, {_labelling(earliest): earliest}
        twin = kept.get(_labelling(other))
        kept.setdefault(_labelling(other), other)
        first, mended = twin or earliest, fix and twin is not None
        if other.split == first.split:
            code, message = Code.DUPLICATE_IMAGE, f"{other.path} has the same bytes as {first.path}"
        else:
            code, message = Code.SPLIT_LEAKAGE, f"{other.path} in {other.split} has the same bytes as {first.path} in {first.split}"
        if mended:
            gone.append(other.id)
            report.images.kept -= 1
            _drop(report, code, len(other.labels))
        done = f"; {other.path} was left out" if mended else "; both were kept"
        report.note(code, message + done, other.path, fixed=mended, related=(first.path,))
    images.remove(gone)
    for split in sorted(before - images.splits()):
        raise YardError(
            Reason.SPLIT_EMPTY,
            f"every image of the {split} split is in another split too, so none is left: import without --fix",
            {"split": split},
        )
