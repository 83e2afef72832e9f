"""What a validation has found, as the JSON document that a job keeps (``report.json``) and everybody else reads.

Totals are exact; pictures are listed from the worst on, as many as there is room for::

    {"version": 1, "task": "detect", "split": "val", "image_count": 40, "label_count": 123, "confidence": 0.41, "iou": 0.5, "images_per_second": 31.0,
     "metrics": {"metrics/mAP50(B)": 0.93, ...}, "false_positive_count": 7, "false_negative_count": 9,
     "classes": [{"id": 0, "name": "cone", "label_count": 123, "true_positives": 114, "false_positives": 7, "false_negatives": 9,
                  "precision": 0.94, "recall": 0.93, "ap50": 0.95, "ap50_95": 0.61}, ...],
     "confusion": [{"predicted": 0, "true": 0, "count": 114}, ...],
     "confusion_truncated": false,
     "pr_curves": [{"class_id": -1, "precision": [1.0, ...]}, ...],
     "wrong_image_count": 11, "images": [{"image": "val/7.jpg", "width_px": 640, "height_px": 480, "thumbnail": "0001.jpg",
         "false_positive_count": 1, "false_negative_count": 0,
         "false_positives": [{"class_id": 0, "true_class_id": -1, "confidence": 0.8, "points": [10, 20, 30, 40]}],
         "false_negatives": [{"class_id": 0, "predicted_class_id": -1, "points": [...]}]}],
     "images_truncated": false}

In ``confusion`` the class that comes behind the last one stands for the background: as ``predicted`` for what was missed, as ``true`` for what was invented. A class id of -1 is none. A classification has
no background, no ``points`` and no ``pr_curves``; a picture whose surest class is wrong is a false positive of that class and a false negative of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from visionyard.training.reports.matching import IOU, Found, Verdict, judge

VERSION = 1
REPORT_FILE = "report.json"
PICTURES_FILE = "report-pictures.zip"
"""Holds the thumbnails that the document names."""
MAX_IMAGES, MAX_MARKS, MAX_MARKS_AN_IMAGE = 1000, 10_000, 100
_MAX_CELLS = 10_000
NONE = -1


@dataclass(frozen=True)
class ClassFigures:
    """What Ultralytics measures of one class.

    Attributes:
        ap50: Average precision at an IoU of 0.5.
        ap50_95: Its mean over IoUs from 0.5 to 0.95.
    """

    ap50: float
    ap50_95: float


@dataclass(frozen=True)
class Subject:
    """What was validated on what.

    Attributes:
        task: The task.
        split: The split whose pictures they are.
        class_names: By class id.
        metrics: Under Ultralytics' own keys.
        images_per_second: Preprocessing, model and postprocessing.
        figures: Of the classes that have labels, by class id; empty for ``classify``.
        pr_curves: Precision at 101 recalls from 0 to 1 at an IoU of 0.5, by class id; -1 is the mean of all classes.
    """

    task: str
    split: str
    class_names: Sequence[str]
    metrics: Mapping[str, float]
    images_per_second: float
    figures: Mapping[int, ClassFigures] = field(default_factory=dict)
    pr_curves: Mapping[int, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """One validation picture with what was found on it.

    Attributes:
        name: ``{split}/{name}``.
        width: In pixels; 0 where it is not known.
        height: In pixels; 0 where it is not known.
        found: What the model found; None for ``classify``.
        true_class: For ``classify``: the label.
        predicted_class: For ``classify``: the surest class.
        confidence: For ``classify``: how sure it is, 0 to 1.
    """

    name: str
    width: int = 0
    height: int = 0
    found: Found | None = None
    true_class: int = NONE
    predicted_class: int = NONE
    confidence: float = 0.0


class Tally:
    """Counts by class, and the confusion matrix.

    Args:
        class_names: By class id.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.background = len(class_names)
        self.cells: Counter[tuple[int, int]] = Counter()
        self.predicted: Counter[int] = Counter()
        self.true: Counter[int] = Counter()

    def add(self, predicted: int, true: int) -> None:
        """Counts a prediction of a class for a label of a class; the background for none."""
        self.cells[predicted, true] += 1
        self.predicted[predicted] += 1
        self.true[true] += 1


def summarise(subject: Subject, pictures: Sequence[Picture], confidence: float) -> dict[str, Any]:
    """Makes the document; see the module. ``thumbnail`` is left empty.

    Args:
        subject: What was validated.
        pictures: All pictures of the validation.
        confidence: Predictions below it do not count. Without meaning for ``classify``.
    """
    tally = Tally(subject.class_names)
    counted = ((_count(picture, tally, confidence), picture.name, at) for at, picture in enumerate(pictures))
    wrong = sorted((-errors, name, at) for errors, name, at in counted if errors)
    classes = [_class_row(subject, tally, class_id) for class_id in range(len(subject.class_names))]
    shown = _with_room(_listed(pictures[at], confidence) for _, _, at in wrong[:MAX_IMAGES])
    cells = tally.cells.most_common(_MAX_CELLS)
    return {
        "version": VERSION,
        "task": subject.task,
        "split": subject.split,
        "image_count": len(pictures),
        "label_count": sum(row["label_count"] for row in classes),
        "confidence": 0.0 if subject.task == "classify" else confidence,
        "iou": 0.0 if subject.task == "classify" else IOU,
        "images_per_second": subject.images_per_second,
        "metrics": dict(subject.metrics),
        "false_positive_count": sum(row["false_positives"] for row in classes),
        "false_negative_count": sum(row["false_negatives"] for row in classes),
        "classes": classes,
        "confusion": [{"predicted": predicted, "true": true, "count": count} for (predicted, true), count in sorted(cells)],
        "confusion_truncated": len(cells) < len(tally.cells),
        "pr_curves": [{"class_id": class_id, "precision": list(curve)} for class_id, curve in sorted(subject.pr_curves.items())],
        "wrong_image_count": len(wrong),
        "images": shown,
        "images_truncated": len(shown) < len(wrong) or any(_is_cut(entry) for entry in shown),
    }


def errors_by_picture(pictures: Sequence[Picture], confidence: float) -> dict[str, tuple[int, int]]:
    """False positives and false negatives of each picture that has some, by its name; arguments as for :func:`summarise`."""
    counted: dict[str, tuple[int, int]] = {}
    for picture in pictures:
        if picture.found is None:
            wrong = int(picture.predicted_class != picture.true_class)
            errors = wrong, wrong
        else:
            verdict = judge(picture.found, confidence)
            errors = verdict.false_positives, verdict.false_negatives
        if any(errors):
            counted[picture.name] = errors
    return counted


def _count(picture: Picture, tally: Tally, confidence: float) -> int:
    """Counts a picture; how much is wrong on it."""
    if picture.found is None:
        tally.add(picture.predicted_class, picture.true_class)
        return 2 * int(picture.predicted_class != picture.true_class)
    found, verdict = picture.found, judge(picture.found, confidence)
    for prediction, label in (*verdict.right, *verdict.confused):
        tally.add(int(found.classes[prediction]), int(found.true_classes[label]))
    for prediction in verdict.invented:
        tally.add(int(found.classes[prediction]), tally.background)
    for label in verdict.missed:
        tally.add(tally.background, int(found.true_classes[label]))
    return verdict.false_positives + verdict.false_negatives


def _listed(picture: Picture, confidence: float) -> dict[str, Any]:
    """What is wrong on a picture, one by one."""
    if picture.found is None:
        positives = [_positive(picture.predicted_class, picture.true_class, picture.confidence, ())]
        negatives = [_negative(picture.true_class, picture.predicted_class, ())]
    else:
        verdict = judge(picture.found, confidence)
        positives, negatives = _positives(picture.found, verdict), _negatives(picture.found, verdict)
    return {
        "image": picture.name,
        "width_px": picture.width,
        "height_px": picture.height,
        "thumbnail": "",
        "false_positive_count": len(positives),
        "false_negative_count": len(negatives),
        "false_positives": positives[:MAX_MARKS_AN_IMAGE],
        "false_negatives": negatives[:MAX_MARKS_AN_IMAGE],
    }


def _positives(found: Found, verdict: Verdict) -> list[dict[str, Any]]:
    marks = {prediction: int(found.true_classes[label]) for prediction, label in verdict.confused} | dict.fromkeys(verdict.invented, NONE)
    return [
        _positive(int(found.classes[at]), true, float(found.confidences[at]), found.boxes[at].tolist())
        for at, true in sorted(marks.items())
    ]


def _negatives(found: Found, verdict: Verdict) -> list[dict[str, Any]]:
    marks = {label: int(found.classes[prediction]) for prediction, label in verdict.confused} | dict.fromkeys(verdict.missed, NONE)
    return [_negative(int(found.true_classes[at]), taken_for, found.true_boxes[at].tolist()) for at, taken_for in sorted(marks.items())]


def _positive(class_id: int, true: int, confidence: float, points: Sequence[float]) -> dict[str, Any]:
    return {"class_id": class_id, "true_class_id": true, "confidence": round(confidence, 4), "points": [round(p, 1) for p in points]}


def _negative(class_id: int, taken_for: int, points: Sequence[float]) -> dict[str, Any]:
    return {"class_id": class_id, "predicted_class_id": taken_for, "points": [round(p, 1) for p in points]}


def _is_cut(entry: Mapping[str, Any]) -> bool:
    return any(entry[f"{kind}_count"] > len(entry[f"{kind}s"]) for kind in ("false_positive", "false_negative"))


def _with_room(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pictures for which there is room, the first ones first."""
    shown, room = [], MAX_MARKS
    for entry in entries:
        room -= len(entry["false_positives"]) + len(entry["false_negatives"])
        if room < 0:
            break
        shown.append(entry)
    return shown


def _class_row(subject: Subject, tally: Tally, class_id: int) -> dict[str, Any]:
    right, predicted, true = tally.cells[class_id, class_id], tally.predicted[class_id], tally.true[class_id]
    figures = subject.figures.get(class_id)
    return {
        "id": class_id,
        "name": subject.class_names[class_id],
        "label_count": true,
        "true_positives": right,
        "false_positives": predicted - right,
        "false_negatives": true - right,
        "precision": right / predicted if predicted else 0.0,
        "recall": right / true if true else 0.0,
        "ap50": figures.ap50 if figures else None,
        "ap50_95": figures.ap50_95 if figures else None,
    }
