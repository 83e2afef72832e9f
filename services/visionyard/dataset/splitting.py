"""Which split each kept image goes to: the source's own, or a drawn one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from visionyard.dataset.findings import Code, Report
from visionyard.dataset.group_counts import GroupCounts
from visionyard.dataset.labels import Labels
from visionyard.dataset.splits import TOLERANCE, Check, draw, farthest
from visionyard.kit.artifacts.manifest import SPLITS
from visionyard.kit.errors import Reason, YardError

_DEFAULT_RATIOS = (0.8, 0.2)


@dataclass(frozen=True)
class SplitRequest:
    """How the user wants it.

    Attributes:
        ratios: The shares of train, val and, as a third, test; empty: the source's own splits, or 0.8, 0.2 drawn where it has none (beside its test split,
            where it has only that).
        seed: Of a drawn split.
    """

    ratios: tuple[float, ...] = ()
    seed: int = 0


class Splittable(Protocol):
    """What is split."""

    path: str
    split: str
    sha256: str
    labels: Labels


def assign_splits(images: Sequence[Splittable], source_splits: Sequence[str], request: SplitRequest, report: Report, check: Check) -> str:
    """Sets each image's split; returns where the splits come from, in a sentence that begins with ``source`` or ``drawn``.

    Args:
        images: What is kept; ``split`` is the source's own, or empty.
        source_splits: The split of every image that the source had, also of those that were dropped.
        request: How the user wants it.
        report: Gets findings.
        check: Called often while a split is drawn; raises where the work is to stop.

    Raises:
        YardError: SPLIT_EMPTY.
    """
    named = {split for split in source_splits if split}
    if request.ratios:
        return _draw(images, request.ratios, request.seed, "asked for", report, check)
    if named == {"test"} and "" in source_splits:
        return _draw_beside_test(images, request.seed, report, check)
    if "train" not in named or len(named) == 1:
        why = f"the source tells only {', '.join(sorted(named))}" if named else "the source tells none"
        return _draw(images, _DEFAULT_RATIOS, request.seed, why, report, check)
    rename = {"": "train"}
    if "val" not in named:
        rename["test"] = "val"
        report.note(Code.TEST_USED_AS_VAL, "the source has train and test but no val; its test split was taken as val")
    for image in images:
        image.split = rename.get(image.split, image.split)
    held = {image.split for image in images}
    for split in (split for split in SPLITS if split in {rename.get(name, name) for name in named} - held):
        raise YardError(
            Reason.SPLIT_EMPTY, f"no image of the {split} split can be used: see the report for what was dropped", {"split": split}
        )
    return "source: train and test, test taken as val" if "test" in rename else f"source: {', '.join(s for s in SPLITS if s in held)}"


def _draw_beside_test(images: Sequence[Splittable], seed: int, report: Report, check: Check) -> str:
    """The source holds a test split out and tells nothing of the others' images: only those are drawn."""
    rest = [image for image in images if image.split != "test"]
    if len(rest) == len(images):
        raise YardError(
            Reason.SPLIT_EMPTY, "no image of the test split can be used: see the report for what was dropped", {"split": "test"}
        )
    return _draw(rest, _DEFAULT_RATIOS, seed, "the source tells only test, which was kept", report, check)


def _draw(images: Sequence[Splittable], ratios: Sequence[float], seed: int, why: str, report: Report, check: Check) -> str:
    """Draws over groups of images with the same bytes, so that none is in two splits."""
    groups: dict[str, int] = {sha256: i for i, sha256 in enumerate(sorted({image.sha256 for image in images}))}
    counts = GroupCounts.count(np.array([groups[image.sha256] for image in images], dtype=np.int64), [image.labels for image in images])
    assigned = draw(counts, ratios, seed, SPLITS, check)
    for image in images:
        image.split = SPLITS[int(assigned[groups[image.sha256]])]
    _, distance = farthest(counts, assigned, ratios)
    if distance > TOLERANCE:
        message = (
            f"a class's share in a split is {distance * 100:.1f} points from the asked one; its boxes lie in too few images to come closer"
        )
        report.note(Code.SPLIT_NOT_STRATIFIED, message)
    shares = ", ".join(f"{split} {ratio:g}" for split, ratio in zip(SPLITS, ratios, strict=False))
    return f"drawn: {shares} with seed {seed}, {why}"
