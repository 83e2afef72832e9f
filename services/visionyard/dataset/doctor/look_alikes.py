"""Pictures that look alike without being the same file: frames of one scene, copies saved anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionyard.dataset.findings import Code, Report
from visionyard.dataset.held import HeldImages
from visionyard.dataset.similar import joined, near_pairs

_LISTED = 20
_RELATED = 3


def find_look_alikes(images: HeldImages, report: Report, check: Callable[[], None]) -> None:
    """Lists groups of images that look alike: NEAR_LEAKAGE where a group lies in several splits, else NEAR_DUPLICATE_IMAGES. Files with the same bytes count once.

    Args:
        images: The held images, split.
        report: Gets the findings, the first 20 groups of each kind one by one, the others together.
        check: Called often; raises where the work is to stop.
    """
    ids, hashes = images.hashes()
    root = joined(len(ids), near_pairs(hashes, check))
    order = np.argsort(root, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], root[order][1:] != root[order][:-1]])) if len(order) else np.empty(0, np.int64)
    listed = {Code.NEAR_LEAKAGE: _Listing(), Code.NEAR_DUPLICATE_IMAGES: _Listing()}
    for start, end in zip(starts, np.append(starts[1:], len(order)), strict=True):
        if end - start > 1:
            check()
            members = _Members.read(images, ids[order[start:end]])
            code = Code.NEAR_LEAKAGE if members.leaks else Code.NEAR_DUPLICATE_IMAGES
            listed[code].add(members)
    for code, listing in listed.items():
        listing.note(code, report)


@dataclass(frozen=True)
class _Members:
    """A group: how many images it has, its splits, and the first image of it (of several splits the first that is not in train) with a few others."""

    count: int
    splits: tuple[str, ...]
    path: str
    split: str
    others: tuple[tuple[str, str], ...]

    @property
    def leaks(self) -> bool:
        return len(self.splits) > 1

    @classmethod
    def read(cls, images: HeldImages, ids: NDArray[np.int64]) -> _Members:
        first: dict[str, tuple[str, str]] = {}
        some: list[tuple[str, str]] = []
        for image in ids.tolist():
            place = images.where(image)
            first.setdefault(place[1], place)
            if len(some) <= _RELATED:
                some.append(place)
        ordered = [first[split] for split in ("val", "test", "train") if split in first]
        shown = [*ordered, *(place for place in some if place not in ordered)]
        (path, split), others = shown[0], tuple(shown[1 : _RELATED + 1])
        return cls(len(ids), tuple(sorted(first)), path, split, others)


class _Listing:
    """The groups of one kind: the first few to be listed, and how many there are."""

    def __init__(self) -> None:
        self._shown: list[_Members] = []
        self._groups = 0
        self._images = 0

    def add(self, members: _Members) -> None:
        self._groups += 1
        self._images += members.count
        if self._groups <= _LISTED + 1:
            self._shown.append(members)

    def note(self, code: Code, report: Report) -> None:
        for members in self._shown[:_LISTED]:
            other, split = members.others[0]
            where, there = (f" in {members.split}", f" in {split}") if members.leaks else ("", "")
            more = f" and {members.count - 2} more" if members.count > 2 else ""  # noqa: PLR2004 - these two
            message = f"{members.path}{where} looks like {other}{there}{more}; all were kept"
            report.note(code, message, members.path, related=[path for path, _ in members.others])
        if self._groups > _LISTED:
            members = self._shown[_LISTED]
            message = f"{self._groups - _LISTED} more groups of images look alike, that of {members.path} the first; {self._images} images in {self._groups} groups in all"
            report.note(code, message, members.path, related=[path for path, _ in members.others])
