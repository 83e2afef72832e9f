"""Puts versions together, and adds new images to a version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from visionyard.dataset.class_names import list_alike
from visionyard.dataset.curation.loading import held_image, label_row
from visionyard.dataset.curation.sameness import are_the_same
from visionyard.dataset.findings import Code, Report
from visionyard.dataset.formats.shapes import LabelRow
from visionyard.dataset.held import HeldImages
from visionyard.dataset.labels import distinct
from visionyard.kit.artifacts.dataset import DatasetVersion, KeypointLayout
from visionyard.kit.artifacts.manifest import SPLITS, ManifestRow
from visionyard.kit.errors import Reason, YardError

_ROWS_A_CHECK = 1000


def merged_classes(lists: Iterable[Sequence[str]], names: Mapping[str, str], report: Report) -> tuple[tuple[str, ...], list[list[int]]]:
    """Puts lists of classes together by name.

    Args:
        lists: The class names of each version, by id.
        names: What some are called before that.
        report: Gets CLASS_NAMES_ALIKE, for names that differ in case or blanks only.

    Returns:
        The names of all, those of the first list first; and for each list what each of its ids becomes.
    """
    ids: dict[str, int] = {}
    mapped = [[ids.setdefault(names.get(name, name), len(ids)) for name in names_of] for names_of in lists]
    list_alike(ids, report)
    return tuple(ids), mapped


def check_alike(versions: Sequence[DatasetVersion]) -> None:
    """Refuses versions that cannot be put together.

    Raises:
        YardError: VERSIONS_MISMATCH, they are for other tasks or have other keypoints.
    """
    first, *others = versions
    for other in others:
        if other.task != first.task:
            what = f"{other.name} is for {other.task} and {first.name} for {first.task}"
        elif (other.keypoints is None) != (first.keypoints is None) or (
            other.keypoints
            and first.keypoints
            and (other.keypoints.count, other.keypoints.dimensions) != (first.keypoints.count, first.keypoints.dimensions)
        ):
            what = f"{other.name} has other keypoints than {first.name}"
        else:
            continue
        raise YardError(Reason.VERSIONS_MISMATCH, f"{what}: only versions for one task can be put together", {"name": str(other.name)})


def merge_rows(
    held: HeldImages,
    version: DatasetVersion,
    rows: Iterator[ManifestRow],
    class_ids: Sequence[int],
    names: Sequence[str],
    report: Report,
    check: Callable[[], None],
    *,
    names_stay: bool,
) -> None:
    """Adds a version's images to those that are held. An image that is held already gets this version's labels too; its name and split stay.

    A whole picture has one class, so of a classification set's image the class stays too.

    Args:
        held: What is held so far.
        version: What is added.
        rows: Its rows.
        class_ids: What each of its class ids becomes.
        names: The classes that they then are, by id.
        report: Counts; gets LABELS_JOINED or CLASSES_DIFFER, and SPLIT_LEAKAGE.
        check: Called often; raises where the work is to stop.
        names_stay: Whether its names stay where another version's image wants the same.
    """
    for number, row in enumerate(rows):
        if number % _ROWS_A_CHECK == 0:
            check()
        report.images.found += 1
        report.labels.found += len(row.labels)
        earlier = held.find(row.sha256)
        if earlier is None:
            image = held_image(version, row, class_ids)
            held.add(image if names_stay else replace(image, name=""))
            continue
        where = f"{version.name.parent.id}@{version.name.number} {row.split}/{row.name}"
        old, new = earlier.labels, [label_row(label, class_ids) for label in row.labels]
        if version.task == "classify" and {label.class_id for label in new} - {label.class_id for label in old}:
            report.drop_labels(Code.CLASSES_DIFFER, len(new))
            message = f"{where} is the same image as {earlier.path}, but of {_classes(new, names)} instead of {_classes(old, names)}; the latter was kept"
            report.note(Code.CLASSES_DIFFER, message, earlier.path)
            new = []
        joined = distinct([*old, *new])
        report.drop_labels(Code.DUPLICATE_BOX, len(old) + len(new) - len(joined))
        if joined != old:
            held.relabel(earlier.id, joined)
        if version.task != "classify" and not len(joined) == len(old) == len(new):
            message = f"{where} is the same image as {earlier.path}, with other labels ({len(new)} and {len(old)}); they were put together"
            report.note(Code.LABELS_JOINED, message, earlier.path)
        if row.split != earlier.split:
            message = f"{where} is the same image as {earlier.path}, which is in {earlier.split}; it was kept there"
            report.note(Code.SPLIT_LEAKAGE, message, earlier.path)


def _classes(labels: Iterable[LabelRow], names: Sequence[str]) -> str:
    return " and ".join(repr(names[label.class_id]) for label in labels)


def add_base(
    held: HeldImages, base: DatasetVersion, rows: Iterator[ManifestRow], report: Report, check: Callable[[], None], *, predicted: bool
) -> None:
    """Adds the version that new images are appended to. An image of both keeps its name and split there, and gets the new labels.

    Of several images of the version that have the same bytes each stays, and each gets the new labels. Labels that were predicted do not take the place of labels that are
    there, nor does a missing label file, nor what differs by the digits only that a tool writes.

    Args:
        held: The new images, labels and splits done; class ids are those of the version, then new ones.
        base: The version.
        rows: Its rows.
        report: Gets RELABELLED and PREDICTION_IGNORED.
        check: Called often; raises where the work is to stop.
        predicted: Whether the new labels are predictions.
    """
    last_new = held.last_id()
    for number, row in enumerate(rows):
        if number % _ROWS_A_CHECK == 0:
            check()
        image = held_image(base, row)
        new = held.find(row.sha256)
        if new is None or new.id > last_new:
            held.add(image)
            continue
        keep_old = not new.label_file or (predicted and any(label.confidence is None for label in image.labels))
        if keep_old and predicted and new.label_file:
            report.note(Code.PREDICTION_IGNORED, f"{new.path} has labels already; the predicted ones were left out", new.path)
        keep_old = keep_old or are_the_same(image.labels, new.labels, row.width, row.height)
        labels = image.labels if keep_old else new.labels
        if not keep_old:
            message = f"{new.path} is {row.split}/{row.name} of {base.name.parent.id}@{base.name.number}; it got the new labels ({len(image.labels)} before, {len(labels)} now)"
            report.note(Code.RELABELLED, message, new.path)
        held.add(replace(image, labels=labels, label_file=new.label_file, path=new.path))
    held.remove_replaced(last_new)


def refuse_mismatch(base: DatasetVersion, task: str, keypoints: KeypointLayout | None) -> None:
    """Refuses new images that do not fit the version that they are appended to.

    Raises:
        YardError: VERSIONS_MISMATCH.
    """
    what = ""
    if task != base.task:
        what = f"is for {base.task}, and the new labels were asked to be for {task}"
    elif base.keypoints and keypoints and (base.keypoints.count, base.keypoints.dimensions) != (keypoints.count, keypoints.dimensions):
        what = f"has {base.keypoints.count} keypoints of {base.keypoints.dimensions} numbers, and the new labels have {keypoints.count} of {keypoints.dimensions}"
    if what:
        raise YardError(Reason.VERSIONS_MISMATCH, f"{base.name} {what}: import them as a dataset of their own", {"name": str(base.name)})


def base_ratios(base: DatasetVersion | None) -> tuple[float, ...]:
    """The shares in which images without a split join a version; empty where there is none."""
    if base is None:
        return ()
    counts = {split.name: split.image_count for split in base.splits}
    return tuple(counts.get(split, 0) / base.image_count for split in SPLITS)
