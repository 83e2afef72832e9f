"""CreateML's JSON: a list of images, each with boxes given by centre and size in pixels.

The format: https://developer.apple.com/documentation/createml/building-an-object-detector-data-source. Tools write a file an image or one for all, and spell the
names ``image`` and ``annotations`` (Apple, Roboflow) or ``imagefilename`` and ``annotation`` (older ones).
"""

from __future__ import annotations

from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.classes import NamedClasses
from visionyard.dataset.formats.json_stream import NotJson, Path, Take, as_number, begins_with, glimpse, read_parts
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.listed import ListedImages, ListedSource, Unusable
from visionyard.dataset.formats.shapes import WrittenLabel
from visionyard.dataset.source import SourceTree

_IMAGE = ("image", "imagefilename")
_LABELS = ("annotations", "annotation")
_NUMBERS = ("x", "y", "width", "height")
_SHOWN = 80


class CreateMlSource(ListedSource):
    """A CreateML source. Build it with :func:`read_createml`."""

    format = "createml"


def find_createml(tree: SourceTree) -> list[Labelling]:
    """The CreateML labelling of a source, told by the first JSON file that begins as one."""
    first = next((path for path in tree.each_text("json") if _is_createml(tree, path)), "")
    return [Labelling("createml", first, lambda: read_createml(tree))] if first else []


def _is_createml(tree: SourceTree, path: str) -> bool:
    """Whether a file is a list of images with annotations that have coordinates; or, where none has annotations, that holds nothing else."""
    tree.check()
    root = glimpse(tree, path) if begins_with(tree, path, b"[") else None
    entries = [entry for entry in root if isinstance(entry, dict)] if isinstance(root, list) else []
    if not entries or not isinstance(_first(entries[0], _IMAGE), str):
        return False
    labels = [label for entry in entries for label in _labels(entry)]
    if labels:
        return any(isinstance(label, dict) and "coordinates" in label for label in labels)
    return all(set(entry) <= {*_IMAGE, *_LABELS} and any(name in entry for name in _LABELS) for entry in entries)


def _first(entry: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((entry[name] for name in names if name in entry), None)


def _labels(entry: dict[str, Any]) -> list[Any]:
    """The annotations of an image; what is none is one that cannot be read."""
    labels = _first(entry, _LABELS)
    return labels if isinstance(labels, list) else [] if labels is None else [labels]


def read_createml(tree: SourceTree) -> CreateMlSource:
    """Reads all CreateML files of a source, which together are one labelling.

    Args:
        tree: The source.
    """
    source = CreateMlSource(tree, NamedClasses())
    images, files = ListedImages(tree, source), 0
    for path in tree.each_text("json"):
        if _is_createml(tree, path):
            files += 1
            _read_file(tree, path, source, images)
        elif images.image_of(path) and _is_damaged(tree, path):
            images.unread(path)
    images.finish()
    source.reason = (
        f"{files} JSON files are lists of images with coordinates as CreateML writes them, "
        f"and {source.images.labelled()} of {len(source.images)} images have labels"
    )
    return source


def _is_damaged(tree: SourceTree, path: str) -> bool:
    """Whether a file is no well-formed JSON, and so may have been one of these."""
    try:
        for _ in read_parts(tree, path, lambda _: Take.SKIP):
            pass
    except NotJson:
        return True
    return False


def _entry_by_entry(at: Path) -> Take:
    return Take.WHOLE if at else Take.INTO


def _read_file(tree: SourceTree, path: str, source: CreateMlSource, images: ListedImages) -> None:
    number = 0
    try:
        for number, (_, entry) in enumerate(read_parts(tree, path, _entry_by_entry), start=1):
            name = _first(entry, _IMAGE) if isinstance(entry, dict) else None
            if not isinstance(name, str):
                name = ""
            labels = _labels(entry) if isinstance(entry, dict) else []
            if not name and not labels:
                source.notes.add(Code.MALFORMED_ANNOTATION, f"{path}: entry {number} names no image", path)
                continue
            key = images.key(name, path)
            for position, label in enumerate(labels, start=1):
                source.add(key, _written(label, f"annotation {position} of image {name[:_SHOWN]!r}", source))
    except NotJson as error:
        source.notes.add(Code.MALFORMED_ANNOTATION, f"{path} cannot be read beyond its entry {number}: {error}", path)
        images.unread(path)


def _written(label: Any, where: str, source: CreateMlSource) -> WrittenLabel:
    if not isinstance(label, dict):
        return WrittenLabel(problem=Code.MALFORMED_LABEL, message=f"{where} is no object with a label and coordinates")
    try:
        coordinates = label.get("coordinates")
        numbers = [as_number(coordinates.get(name)) for name in _NUMBERS] if isinstance(coordinates, dict) else []
        x, y, width, height = (number for number in numbers if number is not None)
        return WrittenLabel(
            class_id=source.class_id(label.get("label")), box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        )
    except Unusable as error:
        return WrittenLabel(problem=error.code, message=f"{where} {error}")
    except ValueError:
        return WrittenLabel(problem=Code.MALFORMED_LABEL, message=f"{where} has no coordinates x, y, width and height that are all numbers")
