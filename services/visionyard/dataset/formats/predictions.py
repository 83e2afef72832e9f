"""Reads what ``yard predict --json`` prints as a labelling: each detection is a predicted label that nobody has confirmed.

A line an image, ``{"image": "<as given>", "prediction": {...}}`` with a ``visionyard.inference.v1.Prediction`` in the JSON form of protobuf
(https://protobuf.dev/programming-guides/json/) under the protos' own field names, or ``{"image": "<as given>", "error": {...}}``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.json_lines import json_lines
from visionyard.dataset.formats.json_stream import NotJson, as_number, begins_with
from visionyard.dataset.formats.label_studio_regions import plain, score_of
from visionyard.dataset.formats.labelled import MAX_CLASSES, LabelledSource, split_of_path
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.matching import ImageMatcher
from visionyard.dataset.formats.shapes import LabelRow, Unit, WrittenLabel
from visionyard.dataset.formats.staged import LabelSpool, SourceImage
from visionyard.dataset.source import SourceTree

_MARK = b'"image"'
_HEAD_BYTES = 65_536
_FIRST_LINES = 100
_CORNERS = ("x1", "y1", "x2", "y2")
_SHOWN = 80


def find_predictions(tree: SourceTree) -> list[Labelling]:
    """The predictions of a source, a labelling a file, told by a line of the first hundred."""
    found = []
    for suffix in ("json", "jsonl"):
        for path in tree.each_text(suffix):
            tree.check()
            if begins_with(tree, path, b"{") and _MARK in tree.open(path).read(_HEAD_BYTES) and _has_prediction(tree, path):
                found.append(path)
    return [Labelling("predictions", path, functools.partial(read_predictions, tree, path)) for path in found]


def _has_prediction(tree: SourceTree, path: str) -> bool:
    lines = json_lines(tree.open(path), tree.check)
    return any(
        _is_line(value) and isinstance(value.get("prediction"), dict) for _, (_, value) in zip(range(_FIRST_LINES), lines, strict=False)
    )


def _is_line(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("image"), str):
        return False
    return isinstance(value.get("prediction"), dict) or isinstance(value.get("error"), dict)


class PredictionSource(LabelledSource):
    """Predictions that were read. Build it with :func:`read_predictions`.

    Images that could not be predicted, and those that no line names, are left out. Where an image is named again, what was predicted first counts.
    """

    format = "predictions"
    left_out_because = (Code.NOT_PREDICTED, "was not predicted on")

    def __init__(self, tree: SourceTree, path: str) -> None:
        super().__init__(tree.staging)
        self._tree = tree
        self._path = path
        self._spool = LabelSpool(tree.staging)
        self._matcher = ImageMatcher(tree)
        self._classes = NamedClasses()

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """See :meth:`LabelledSource.rows`."""
        return self._spool.rows(labels, width, height)

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`: in alphabetical order."""
        return self._classes.names()

    def final_class_ids(self) -> list[int]:
        """See :meth:`LabelledSource.final_class_ids`."""
        return self._classes.final_ids()

    def take(self, line: int, value: dict[str, Any]) -> None:
        """Puts a line's detections down."""
        name, prediction = plain(value["image"]), value.get("prediction")
        image = self._matcher.find(name, self._path)
        if not isinstance(prediction, dict):
            error = value["error"] if isinstance(value.get("error"), dict) else {}
            said = f"{self._path}:{line} image {name[:_SHOWN]!r} was not predicted on: {plain(error.get('message'))[: _SHOWN * 2]}"
            self.notes.add(Code.NOT_PREDICTED, said, self._path, line)
            return
        before = self.images.find(image) if image else None
        key, count = before.labels if before else f"{self._path}#{line}", 0
        for label in self._labels(line, prediction, again=before is not None):
            self._spool.add(key, label)
            count += 1
        if image is None and count:
            self.orphans.append(SourceImage(name, labels=key))
        elif image is None:
            self.notes.add(Code.LISTED_IMAGE_MISSING, f"{self._path}:{line} names {name[:_SHOWN]!r}, which is not there", self._path, line)
        elif before is None:
            self.images.append(SourceImage(image, split_of_path(image, ""), key))

    def _labels(self, line: int, prediction: dict[str, Any], *, again: bool) -> Iterator[WrittenLabel]:
        result = prediction.get("detection")
        detections = result.get("detections") if isinstance(result, dict) else None
        width, height = as_number(prediction.get("image_width_px")), as_number(prediction.get("image_height_px"))
        size = (width, height) if width and height and width > 0 and height > 0 else None
        for number, detection in enumerate(detections if isinstance(detections, list) else [], start=1):
            where = f"detection {number}"
            if again:
                yield WrittenLabel(line, Code.ANNOTATION_NOT_TAKEN, f"{where} is on an image that an earlier line names")
            else:
                yield self._label(line, where, detection, size)

    def _label(self, line: int, where: str, detection: object, size: tuple[float, float] | None) -> WrittenLabel:
        box = detection.get("box") if isinstance(detection, dict) else None
        corners = [as_number(box.get(corner)) for corner in _CORNERS] if isinstance(box, dict) else []
        known = tuple(corner for corner in corners if corner is not None)
        if not isinstance(detection, dict) or len(known) != len(_CORNERS):
            return WrittenLabel(line, Code.MALFORMED_LABEL, f"{where} has no box of four numbers")
        name = plain(detection.get("class_name"))
        if not name:
            return WrittenLabel(line, Code.MALFORMED_LABEL, f"{where} has no class_name")
        class_id = self._classes.id_of(name)
        if class_id is None:
            return WrittenLabel(line, Code.UNKNOWN_CLASS, f"{where} is of yet another class; no more than {MAX_CLASSES} are read")
        confidence = score_of({"score": detection.get("confidence")}) or 0.0
        if size is None:
            return WrittenLabel(line, class_id=class_id, box=known, confidence=confidence)
        shares = tuple(corner / size[i % 2] for i, corner in enumerate(known))
        return WrittenLabel(line, class_id=class_id, box=shares, unit=Unit.SHARES, confidence=confidence)


def read_predictions(tree: SourceTree, path: str) -> PredictionSource:
    """Reads a file of predictions.

    Args:
        tree: The source.
        path: The file.
    """
    source, lines = PredictionSource(tree, path), 0
    for line, value in json_lines(tree.open(path), tree.check):
        if isinstance(value, NotJson):
            source.notes.add(Code.MALFORMED_ANNOTATION, f"{path}:{line} cannot be read: {value}", path, line)
        elif not _is_line(value):
            source.notes.add(Code.MALFORMED_ANNOTATION, f"{path}:{line} is no image with its prediction", path, line)
        else:
            lines += 1
            source.take(line, value)
    _leave_out_others(tree, source)
    source.reason = (
        f"{path} holds predictions of {lines} images as yard predict prints them, and {len(source.images)} of the images are there"
    )
    return source


def _leave_out_others(tree: SourceTree, source: PredictionSource) -> None:
    for image in tree.images():
        tree.check()
        if source.images.find(image) is None:
            source.left_out.append(SourceImage(image, split_of_path(image, "")))
