"""Reads a bundle of files as an import reads a source, images aside, and holds what comes of it against what every import relies on."""

from __future__ import annotations

import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bundles import unbundle
from verdicts import Broken

from visionyard.dataset.archives.entry import Entry
from visionyard.dataset.findings import Code, Report
from visionyard.dataset.formats.detect import read_source
from visionyard.dataset.formats.json_stream import NotJson, Take, glimpse, head_of, read_parts
from visionyard.dataset.formats.labelled import LabelledSource, UnreadLabels
from visionyard.dataset.formats.shapes import LabelRow
from visionyard.dataset.images import IMAGE_SUFFIXES
from visionyard.dataset.labels import check_labels, decode_labels, drop_all, encode_labels
from visionyard.dataset.source import SourceTree, suffix_of
from visionyard.dataset.tasks import Converter, ShapeCounts, decide_task
from visionyard.kit.errors import YardError

SIZE = (200, 100)
_LEEWAY = 1e-9
_LEVELS = 2
_ROUNDING = 1e-5
_SPLITS = {"", "train", "val", "test"}


def plant(folder: str, data: bytes) -> SourceTree:
    """The tree of a bundle; images have no bytes."""
    tree = SourceTree(Path(folder))
    for path, content in unbundle(data):
        tree.add(Entry(path, len(content), too_large=False), None if suffix_of(path) in IMAGE_SUFFIXES else content)
    tree.finish()
    return tree


def read_bundle(data: bytes, format_: str) -> None:
    """Reads all rows of all images, of those left out and of orphans.

    Raises:
        Broken: counts do not reconcile, or something else that imports rely on does not hold.
    """
    with tempfile.TemporaryDirectory() as folder, plant(folder, data) as tree:
        try:
            source = read_source(tree, format_)
            _reconcile(tree, source)
        except YardError as error:
            _writable(str(error))


def read_json_parts(data: bytes) -> None:
    """A JSON file read part by part, after a glimpse at how it begins: all of it, then only some.

    Raises:
        Broken: what is read of a well-formed file is not what ``json`` reads.
    """
    with tempfile.TemporaryDirectory() as folder, SourceTree(Path(folder)) as tree:
        tree.add(Entry("a.json", len(data), too_large=False), data)
        tree.finish()
        head_of(tree, "a.json")
        json.dumps(glimpse(tree, "a.json"))
        count = _count_parts(tree, lambda _: Take.INTO)
        _count_parts(tree, lambda at: Take.SKIP if len(at) > 1 and len(str(at[-1])) % 2 else Take.INTO)
        _count_parts(tree, lambda at: Take.INTO if len(at) < _LEVELS else Take.WHOLE)
    try:
        document = json.loads(data.decode(), object_pairs_hook=lambda members: [value for _, value in members])
    except (ValueError, RecursionError):
        return
    if count is not None and count != _leaves(document):
        raise Broken("the parts are not those that json reads")


def _count_parts(tree: SourceTree, take: Callable[[tuple[str | int, ...]], Take]) -> int | None:
    """How many parts there are; None where the file is refused."""
    try:
        return sum(1 for _ in read_parts(tree, "a.json", take))
    except NotJson:
        return None


def _leaves(document: Any) -> int:
    """How many values there are that hold no others and are no empty list or object."""
    count, rest = 0, [document]
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest += value
        else:
            count += 1
    return count


def _reconcile(tree: SourceTree, source: LabelledSource) -> None:
    report, shapes, kept_rows = Report(), ShapeCounts(), []
    _images_are_images(tree, source)
    for image in source.images:
        rows = _rows(source, image.labels, *SIZE)
        _same_count(source, image.labels, rows)
        kept = check_labels(rows, image.labels, report)
        _kept_are_good(kept)
        shapes.add(kept)
        kept_rows.append(kept)
    for image in source.left_out:
        if image.labels:
            drop_all(_rows(source, image.labels, 0, 0), Code.IMAGE_NOT_IN_SPLIT, report)
    for orphan in source.orphans:
        drop_all(_rows(source, orphan.labels, 0, 0), Code.LABEL_WITHOUT_IMAGE, report)
        _writable(orphan.path)
    for code, message, file, line in source.notes.items:
        report.note(code, message, file, line)
    labels = report.labels
    if labels.found != labels.kept + sum(report.dropped_by_code.values()):
        raise Broken("labels found are not those kept and those dropped")
    _writable(json.dumps(report.to_json(), ensure_ascii=False) + source.reason)
    _classes_are_there(source, kept_rows)
    _convert(source, shapes, itertools.chain.from_iterable(kept_rows))


def _rows(source: LabelledSource, labels: str, width: int, height: int) -> list[LabelRow]:
    """An image's rows; none where its file is damaged."""
    try:
        return list(source.rows(labels, width, height)) if labels else []
    except UnreadLabels:
        return []


def _images_are_images(tree: SourceTree, source: LabelledSource) -> None:
    members, others = [image.path for image in source.images], [image.path for image in source.left_out]
    if len(set(members)) != len(members) or len(set(others)) != len(others):
        raise Broken("an image is there twice")
    if set(members) & set(others):
        raise Broken("an image is in the set and left out")
    if not all(map(tree.is_image, (*members, *others))):
        raise Broken("an image is none of the source's")
    if not source.images.splits() <= _SPLITS:
        raise Broken("a split is called otherwise")


def _same_count(source: LabelledSource, labels: str, rows: list[LabelRow]) -> None:
    """Labels of a picture that cannot be read are counted all the same."""
    if len(_rows(source, labels, 0, 0)) != len(rows):
        raise Broken("how many labels there are depends on the picture's size")


def _kept_are_good(kept: list[LabelRow]) -> None:
    for row in kept:
        if not all(map(math.isfinite, (row.cx, row.cy, row.w, row.h, *row.points))):
            raise Broken("a kept label has a number that is not finite")
        edges = row.cx - row.w / 2, row.cy - row.h / 2, 1 - row.cx - row.w / 2, 1 - row.cy - row.h / 2
        if min(row.w, row.h) <= 0 or min(edges) < -_ROUNDING:
            raise Broken("a kept label lies outside of its picture")
        if row.confidence is not None and not -_LEEWAY <= row.confidence <= 1 + _LEEWAY:
            raise Broken("a kept label has a confidence outside of 0 to 1")
    if len(list(decode_labels(encode_labels(kept)))) != len(kept):
        raise Broken("staged labels are not those that were kept")


def _classes_are_there(source: LabelledSource, kept_rows: list[list[LabelRow]]) -> None:
    names, final = source.class_names(), source.final_class_ids()
    for name in names:
        _writable(name)
        if not name or not name.isprintable():
            raise Broken("a class has no printable name")
    for row in itertools.chain.from_iterable(kept_rows):
        if not 0 <= row.class_id < len(final) or not 0 <= final[row.class_id] < len(names):
            raise Broken("a kept label is of no class")


def _convert(source: LabelledSource, shapes: ShapeCounts, rows: Iterable[LabelRow]) -> None:
    decision = decide_task("", source.task, shapes, source.format)
    converter = Converter(decision.task, source.final_class_ids(), source.keypoints if decision.task == "pose" else None)
    for row in rows:
        label = converter.convert(row, *SIZE).label
        if label is not None and not all(map(math.isfinite, (label.cx, label.cy, label.w, label.h, *label.points))):
            raise Broken("a converted label has a number that is not finite")


def _writable(text: str) -> None:
    """Messages and names go into JSON, Parquet and gRPC, which hold no half characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Broken("a text cannot be written as UTF-8") from None
