"""Makes a version of other versions: merge, filter, remap, split, subset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import re2

from visionyard.dataset.curation.loading import load_rows
from visionyard.dataset.curation.merging import check_alike, merge_rows, merged_classes
from visionyard.dataset.curation.subset import draw_subset
from visionyard.dataset.findings import Code, Report
from visionyard.dataset.finishing import Content
from visionyard.dataset.held import HeldImages
from visionyard.dataset.import_spec import Derivation
from visionyard.dataset.labels import distinct
from visionyard.dataset.similar import joined, near_pairs
from visionyard.dataset.splitting import SplitRequest, draw_groups
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.manifest import SPLITS, ManifestRow
from visionyard.kit.errors import Reason, YardError, invalid_field

RowsOf = Callable[[DatasetVersion], Iterator[ManifestRow]]
"""Reads a version's rows."""


@dataclass(frozen=True)
class _Work:
    """What an operation works on.

    Attributes:
        versions: The versions.
        rows: Reads their rows.
        held: Gets the images.
        report: What is counted and found.
        check: Raises where the work is to stop.
    """

    versions: Sequence[DatasetVersion]
    rows: RowsOf
    held: HeldImages
    report: Report
    check: Callable[[], None]

    @property
    def version(self) -> DatasetVersion:
        """The one version of an operation on one."""
        return self.versions[0]

    def load(self) -> None:
        """Takes all of it."""
        load_rows(self.held, self.version, self.rows(self.version), self.check)
        self.report.images.found = self.version.image_count
        self.report.labels.found = self.version.label_count

    def content(self, class_names: Sequence[str]) -> Content:
        """The version to come."""
        self.report.images.kept = len(self.held)
        self.report.labels.kept = self.held.label_count()
        return Content(self.version.task, tuple(class_names), self.version.keypoints, "", self.held)


def derive(
    derivation: Derivation, versions: Sequence[DatasetVersion], rows: RowsOf, held: HeldImages, report: Report, check: Callable[[], None]
) -> Content:
    """Carries a derivation out.

    Args:
        derivation: What is asked for.
        versions: Its sources.
        rows: Reads their rows.
        held: Empty; gets the images.
        report: Counts and lists.
        check: Called often; raises where the work is to stop.

    Raises:
        YardError: VERSIONS_MISMATCH, INVALID_FIELD, SPLIT_EMPTY, NO_IMAGES.
    """
    work = _Work(versions, rows, held, report, check)
    content = _OPERATIONS[derivation.operation](work, **derivation.parameters)
    if not len(held):
        raise YardError(Reason.NO_IMAGES, f"no image of {work.version.name} is left: nothing was made", {"name": str(work.version.name)})
    _refuse_split_gone(work, ("train",))
    report.split_reason = report.split_reason or "as in the versions that it was made of"
    held.give_names()
    return content


def _refuse_split_gone(work: _Work, splits: Sequence[str]) -> None:
    """Refuses a version that lost a split: without train nobody trains on it, without val it would be measured on what it was trained on.

    Raises:
        YardError: SPLIT_EMPTY.
    """
    there, before = work.held.splits(), {split.name for version in work.versions for split in version.splits}
    for split in splits:
        if there and split in before - there:
            raise YardError(
                Reason.SPLIT_EMPTY,
                f"no image of the {split} split of {work.version.name} is left: draw its splits anew first (`yard dataset split`), or keep more images",
                {"split": split},
            )


def _merge(work: _Work, class_names: dict[str, str]) -> Content:
    check_alike(work.versions)
    _known(work.versions, class_names)
    names, mapped = merged_classes([version.class_names for version in work.versions], class_names, work.report)
    for position, (version, class_ids) in enumerate(zip(work.versions, mapped, strict=True)):
        merge_rows(work.held, version, work.rows(version), class_ids, names, work.report, work.check, names_stay=position == 0)
    return work.content(names)


def _known(versions: Sequence[DatasetVersion], asked: Sequence[str] | dict[str, str]) -> None:
    """Refuses names of classes that no version has."""
    there = {name for version in versions for name in version.class_names}
    for name in asked:
        if name not in there:
            shown = ", ".join(sorted(there)[:10])
            raise YardError(
                Reason.VERSIONS_MISMATCH,
                f"there is no class {name!r} in {versions[0].name}: it has {shown}",
                {"name": str(versions[0].name)},
            )


def _filter(work: _Work, classes: list[str], drop_empty: bool) -> Content:
    _known(work.versions, classes)
    work.load()
    kept = [name for name in work.version.class_names if not classes or name in classes]
    new_id = {work.version.class_names.index(name): i for i, name in enumerate(kept)}
    gone: list[int] = []
    for image in work.held:
        work.check()
        labels = [label.with_class(new_id[label.class_id]) for label in image.labels if label.class_id in new_id]
        work.report.drop_labels(Code.CLASS_FILTERED, len(image.labels) - len(labels))
        if (drop_empty and not labels) or (work.version.task == "classify" and not labels):
            gone.append(image.id)
        else:
            work.held.relabel(image.id, labels)
    work.held.remove(gone)
    _refuse_split_gone(work, SPLITS)
    return work.content(kept)


def _remap(work: _Work, class_names: dict[str, str], single_class: str) -> Content:
    _known(work.versions, class_names)
    work.load()
    renamed = (
        [single_class] * len(work.version.class_names)
        if single_class
        else [class_names.get(name, name) for name in work.version.class_names]
    )
    names = list(dict.fromkeys(renamed))
    for image in work.held:
        work.check()
        labels = [label.with_class(names.index(renamed[label.class_id])) for label in image.labels]
        kept = distinct(labels)
        work.report.drop_labels(Code.DUPLICATE_BOX, len(labels) - len(kept))
        work.held.relabel(image.id, kept)
    return work.content(names)


def _split(work: _Work, ratios: list[float], seed: int, group_pattern: str, group_similar: bool) -> Content:
    work.load()
    ids, groups = work.held.groups()
    why = "asked for"
    if group_pattern:
        groups, fitting = _joined_by_name(work, ids, groups, group_pattern)
        some = f", which fits {fitting} of {len(ids)}" if fitting < len(ids) else ""
        why = f"images kept together by their names ({group_pattern}{some})"
    elif group_similar:
        order = np.argsort(groups, kind="stable")
        hashes = np.array([work.held.phash(int(image)) for image in ids[order]], dtype=np.uint64)
        roots = joined(len(ids), np.concatenate([near_pairs(hashes, work.check), _same_bytes(groups[order])]))
        groups = np.empty_like(groups)
        groups[order] = np.unique(roots, return_inverse=True)[1]
        why = "images that look alike kept together"
    work.report.split_reason = draw_groups(work.held, ids, groups, SplitRequest(tuple(ratios), int(seed)), why, work.report, work.check)
    return work.content(work.version.class_names)


def _same_bytes(groups: Any) -> Any:
    """Pairs of neighbours of the same group; the groups are sorted."""
    at = np.flatnonzero(groups[1:] == groups[:-1])
    return np.stack([at, at + 1], axis=1)


def _joined_by_name(work: _Work, ids: Any, groups: Any, pattern: str) -> tuple[Any, int]:
    """Groups by the key in the images' names, joined where images of the same bytes have different keys; and how many names the pattern fits.

    Raises:
        YardError: INVALID_FIELD, it cannot be read, or fits no name, so that nothing would be kept together.
    """
    try:
        compiled = re2.compile(pattern)
    except re2.error as error:
        why = b"".join(part for part in error.args if isinstance(part, bytes)).decode(errors="replace")
        raise invalid_field("group_by", f"{pattern[:80]!r} is no regular expression of RE2's: {why}") from error
    keys: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    first_of_bytes: dict[int, int] = {}
    fitting, name = 0, ""
    for position, (image, group) in enumerate(zip(ids.tolist(), groups.tolist(), strict=True)):
        name = work.held.name(image)
        match = compiled.search(name)
        fitting += match is not None
        key = (match.group(1) if match.re.groups and match.group(1) is not None else match.group(0)) if match else f"\0{name}"
        pairs.append((keys.setdefault(key, position), position))
        pairs.append((first_of_bytes.setdefault(group, position), position))
    if not fitting:
        raise invalid_field(
            "group_by",
            f"{pattern[:80]!r} fits none of the {len(ids)} images' names ({name[:80]!r} is one), so it would keep nothing together",
        )
    roots = joined(len(ids), np.array(pairs, dtype=np.int64).reshape(-1, 2))
    return np.unique(roots, return_inverse=True)[1].astype(np.int64), fitting


def _subset(work: _Work, size: int, seed: int) -> Content:
    size = int(size)
    if size > work.version.image_count:
        raise invalid_field("size", f"is {size}, but {work.version.name} holds {work.version.image_count} images")
    work.load()
    work.held.remove(draw_subset(work.held, size, int(seed)))
    work.report.drop_labels(Code.NOT_IN_SUBSET, work.version.label_count - work.held.label_count())
    return work.content(work.version.class_names)


_OPERATIONS: dict[str, Callable[..., Content]] = {"merge": _merge, "filter": _filter, "remap": _remap, "split": _split, "subset": _subset}
