"""Which split each kept image goes to: the source's own, or a drawn one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionyard.dataset.findings import Code, Report
from visionyard.dataset.group_counts import GroupCounts
from visionyard.dataset.held import HeldImages
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
        join: The shares of the version that the images join; empty where they join none. Its images need not be spread over all splits.
    """

    ratios: tuple[float, ...] = ()
    seed: int = 0
    join: tuple[float, ...] = ()


def assign_splits(images: HeldImages, source_splits: set[str], request: SplitRequest, report: Report, check: Check) -> str:
    """Sets each image's split; returns where the splits come from, in a sentence that begins with ``source`` or ``drawn``.

    Args:
        images: What is kept; ``split`` is the source's own, or empty.
        source_splits: The splits of the images that the source had, also of those that were dropped; the empty string where it does not tell some.
        request: How the user wants it.
        report: Gets findings.
        check: Called often while a split is drawn; raises where the work is to stop.

    Raises:
        YardError: SPLIT_EMPTY.
    """
    named = source_splits - {""}
    if request.join and not request.ratios:
        return _join(images, "train" in named, request, report, check)
    if request.ratios:
        return _draw(images, "1", request.ratios, request.seed, "asked for", report, check)
    if named == {"test"} and "" in source_splits:
        return _draw_beside_test(images, request.seed, report, check)
    if "train" not in named or len(named) == 1:
        why = f"the source tells only {', '.join(sorted(named))}" if named else "the source tells none"
        return _draw(images, "1", _DEFAULT_RATIOS, request.seed, why, report, check)
    rename = {"": "train"}
    if "val" not in named:
        rename["test"] = "val"
        report.note(Code.TEST_USED_AS_VAL, "the source has train and test but no val; its test split was taken as val")
    images.rename_splits(rename)
    held = images.splits()
    for split in (split for split in SPLITS if split in {rename.get(name, name) for name in named} - held):
        raise YardError(
            Reason.SPLIT_EMPTY, f"no image of the {split} split can be used: see the report for what was dropped", {"split": split}
        )
    return "source: train and test, test taken as val" if "test" in rename else f"source: {', '.join(s for s in SPLITS if s in held)}"


def _join(images: HeldImages, has_train: bool, request: SplitRequest, report: Report, check: Check) -> str:
    """Splits that the source tells stay. Else draws in the shares of the version that the images join; too few images to spread go to train, as do those beside a train split."""
    ids, groups = images.groups("split = ''")
    if has_train or not len(ids):
        images.rename_splits({"": "train"})
        held = images.splits()
        return f"source: {', '.join(s for s in SPLITS if s in held)}"
    distinct, wanted = len(np.unique(groups)), sum(share > 0 for share in request.join)
    if distinct < wanted:
        images.rename_splits({"": "train"})
        return "train, for images whose source tells no split: they are too few to be spread"
    return draw_groups(images, ids, groups, SplitRequest(request.join, request.seed), "as the version that they join", report, check)


def _draw_beside_test(images: HeldImages, seed: int, report: Report, check: Check) -> str:
    """The source holds a test split out and tells nothing of the others' images: only those are drawn."""
    if "test" not in images.splits():
        raise YardError(
            Reason.SPLIT_EMPTY, "no image of the test split can be used: see the report for what was dropped", {"split": "test"}
        )
    return _draw(images, "split != 'test'", _DEFAULT_RATIOS, seed, "the source tells only test, which was kept", report, check)


def _draw(images: HeldImages, where: str, ratios: Sequence[float], seed: int, why: str, report: Report, check: Check) -> str:
    """Draws over groups of images with the same bytes, so that none is in two splits."""
    ids, groups = images.groups(where)
    return draw_groups(images, ids, groups, SplitRequest(tuple(ratios), seed), why, report, check)


def draw_groups(
    images: HeldImages,
    ids: NDArray[np.int64],
    groups: NDArray[np.int64],
    request: SplitRequest,
    why: str,
    report: Report,
    check: Check,
) -> str:
    """Draws a split for each group of images and sets it.

    Args:
        images: The held images.
        ids: INT64 [images]: which.
        groups: INT64 [images]: the group of each, from 0 without gaps; in an order that the images' content alone decides.
        request: The shares and the seed.
        why: For the sentence.
        report: Gets SPLIT_NOT_STRATIFIED.
        check: As in :func:`assign_splits`.

    Returns:
        Where the splits come from, in a sentence.

    Raises:
        YardError: SPLIT_EMPTY.
    """
    ratios, seed = request.ratios, request.seed
    counts = GroupCounts.count(groups, images.class_ids(ids))
    assigned = draw(counts, ratios, seed, SPLITS, check)
    images.split((SPLITS[int(assigned[group])], int(image)) for image, group in zip(ids, groups, strict=True))
    _, distance = farthest(counts, assigned, ratios)
    if distance > TOLERANCE:
        message = (
            f"a class's share in a split is {distance * 100:.1f} points from the asked one; its boxes lie in too few images to come closer"
        )
        report.note(Code.SPLIT_NOT_STRATIFIED, message)
    shares = ", ".join(f"{split} {ratio:g}" for split, ratio in zip(SPLITS, ratios, strict=False))
    return f"drawn: {shares} with seed {seed}, {why}"
