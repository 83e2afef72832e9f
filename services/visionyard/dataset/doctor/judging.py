"""What the numbers of a set say: each judgement one finding at most a split, with the numbers it rests on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from visionyard.dataset.doctor.survey import TINY_PX, TRAINING_SIZE_PX, Survey
from visionyard.dataset.findings import Code, Report, Severity
from visionyard.kit.artifacts.manifest import SPLITS

_UNEVEN, _VERY_UNEVEN = 10, 100
"""How many times the labels of the rarest class the most frequent one has: from 10 worth knowing (blood cells have 11), from 100 a warning."""
_RARE_LABELS, _RARE_FROM_IMAGES = 10, 20
"""Of fewer images in train every class is rare. A class with fewer labels in train is too rare to be learnt; Ultralytics itself recommends 10,000 a class, and pretrained models get somewhere from some dozens."""
_TINY_SHARE = 0.05
_BACKGROUND_SHARE, _MANY_BACKGROUNDS_SHARE = 0.1, 0.5
"""Ultralytics recommends up to 10 % background images (docs.ultralytics.com, Tips for Best YOLOv5 Training Results)."""
_WHOLE_SHARE, _WHOLE_IMAGES = 0.5, 5
_FEW = {"train": 100, "val": 20}
_SIZE_RATIO = 4
_NAMED_CLASSES = 5
_NAME_CHARACTERS = 40


def judge(found: Survey, report: Report) -> None:
    """Lists what the numbers show.

    Args:
        found: The numbers.
        report: Gets the findings.
    """
    for judgement in (_balance, _rare, _missing, _tiny, _backgrounds, _whole, _few, _pictures):
        judgement(found, report)


def _named(found: Survey, class_ids: Iterable[int], of: Iterable[int] = ()) -> str:
    """The first few classes by name, with their numbers where given, and how many more there are."""
    ids, numbers = [int(class_id) for class_id in class_ids], [f" ({int(number)})" for number in of]
    names = [found.class_names[class_id][:_NAME_CHARACTERS] for class_id in ids[:_NAMED_CLASSES]]
    shown = [name + (numbers[at] if numbers else "") for at, name in enumerate(names)]
    return ", ".join(shown) + (f" and {len(ids) - len(names)} more" if len(ids) > len(names) else "")


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"


def _balance(found: Survey, report: Report) -> None:
    labels = found.per_class
    there = np.flatnonzero(labels)
    if len(there) < 2:  # noqa: PLR2004 - one class is always even
        return
    most, least = int(there[labels[there].argmax()]), int(there[labels[there].argmin()])
    ratio = labels[most] / labels[least]
    if ratio < _UNEVEN:
        return
    share = labels[most] / labels.sum()
    message = (
        f"{_named(found, [most])} has {labels[most]} labels, {share:.0%} of all and {ratio:.0f} times those of the rarest class, "
        f"{_named(found, [least])} ({labels[least]}); the median class has {np.median(labels[there]):.0f}"
    )
    report.note(Code.CLASS_IMBALANCE, message, severity=Severity.WARNING if ratio >= _VERY_UNEVEN else None)


def _rare(found: Survey, report: Report) -> None:
    train = found.labels[:, SPLITS.index("train")]
    rare = np.flatnonzero((train > 0) & (train < _RARE_LABELS))
    if len(rare) and found.images[SPLITS.index("train")] >= _RARE_FROM_IMAGES:
        rare = rare[np.argsort(train[rare], kind="stable")]
        verb = "has" if len(rare) == 1 else "have"
        message = f"{_classes(len(rare))} {verb} fewer than {_RARE_LABELS} labels in train: {_named(found, rare, train[rare])}"
        report.note(Code.RARE_CLASS, message)


def _missing(found: Survey, report: Report) -> None:
    labels, without = found.labels, np.flatnonzero(found.per_class == 0)
    if len(without):
        verb = "has" if len(without) == 1 else "have"
        report.note(Code.CLASS_WITHOUT_LABELS, f"{len(without)} of {_classes(len(labels))} {verb} no label: {_named(found, without)}")
    for at in np.flatnonzero(found.images):
        missing = np.flatnonzero((labels[:, at] == 0) & (found.per_class > 0))
        if len(missing):
            what = "cannot be learnt" if SPLITS[at] == "train" else "cannot be measured there"
            verb = "has" if len(missing) == 1 else "have"
            report.note(
                Code.CLASS_NOT_IN_SPLIT,
                f"{_classes(len(missing))} {verb} labels, but none in {SPLITS[at]}, and {what}: {_named(found, missing)}",
            )


def _tiny(found: Survey, report: Report) -> None:
    count, labels = int(found.tiny.sum()), int(found.per_class.sum())
    if not count:
        return
    order = np.argsort(-found.tiny, kind="stable")
    order = order[found.tiny[order] > 0]
    message = (
        f"{count} of {labels} objects ({count / labels:.1%}) have a side below {TINY_PX} pixels when the picture is scaled to {TRAINING_SIZE_PX}: "
        f"{_named(found, order, found.tiny[order])}; see {', '.join(found.tiny_files)}"
    )
    severity = Severity.WARNING if count >= _TINY_SHARE * labels else None
    report.note(Code.TINY_OBJECTS, message, found.tiny_files[0], severity=severity, related=found.tiny_files[1:])


def _backgrounds(found: Survey, report: Report) -> None:
    images = int(found.images.sum())
    count = int(found.backgrounds.sum())
    share = count / max(images, 1)
    if share > _BACKGROUND_SHARE:
        severity = Severity.WARNING if share >= _MANY_BACKGROUNDS_SHARE else None
        report.note(Code.MANY_BACKGROUNDS, f"{count} of {images} images ({share:.0%}) have no label", severity=severity)


def _whole(found: Survey, report: Report) -> None:
    labelled = int(found.images.sum() - found.backgrounds.sum())
    if found.task != "classify" and found.single_whole >= max(_WHOLE_IMAGES, _WHOLE_SHARE * labelled):
        message = f"in {found.single_whole} of {labelled} labelled images the only label covers nearly the whole picture"
        report.note(Code.WHOLE_PICTURE_BOXES, message)


def _few(found: Survey, report: Report) -> None:
    for split, enough in _FEW.items():
        count = int(found.images[SPLITS.index(split)])
        if 0 < count < enough:
            what = "few to learn from" if split == "train" else "a metric measured on so few swings with each of them"
            report.note(Code.FEW_IMAGES, f"{split} has {count} {'image' if count == 1 else 'images'}: {what}")


def _pictures(found: Survey, report: Report) -> None:
    (short, small), (long, large) = found.shortest, found.longest
    if long >= _SIZE_RATIO * short:
        message = f"the pictures' longer sides go from {short} pixels ({small}) to {long} ({large})"
        report.note(Code.SIZES_DIFFER, message, large, related=[small])
    if len(found.channels) > 1:
        kinds = ", ".join(f"{count} {kind}" for kind, count in found.channels.most_common())
        report.note(Code.CHANNELS_DIFFER, f"the pictures are of several kinds: {kinds}")
