"""The list of classes of a YOLO source that has no data.yaml: ``classes.txt``, ``obj.names`` and the like, a name a line; or Label Studio's ``notes.json``."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from contextlib import suppress

from visionyard.dataset.formats.labelled import MAX_CLASSES, clean_class_name
from visionyard.dataset.formats.yolo_rows import looks_like_labels
from visionyard.dataset.source import SourceTree, decode_text, stem_of, suffix_of
from visionyard.kit.errors import Reason, YardError

_CLASS_FILES = ("classes.txt", "obj.names", "classes.names", "predefined_classes.txt")
_NOTES = "notes.json"
_MAX_NOTES_BYTES = 1 << 20


def find_class_list(tree: SourceTree) -> str | None:
    """The file that lists the classes, the likeliest name first, then the shallowest; the labels of an image that happens to be called ``classes`` are none."""
    by_rank = []
    called_so = {stem for name in _CLASS_FILES if tree.images_called(stem := stem_of(name))}
    for path in tree.texts("txt", "names"):
        name = posixpath.basename(path).lower()
        if name.endswith(".txt") and stem_of(name) in called_so and looks_like_labels(decode_text(tree.read(path))):
            continue
        if name in _CLASS_FILES or name.endswith(".names"):
            rank = _CLASS_FILES.index(name) if name in _CLASS_FILES else len(_CLASS_FILES)
            by_rank.append((rank, path.count("/"), path))
    if by_rank:
        return min(by_rank)[2]
    notes = (path for path in tree.texts_called(stem_of(_NOTES), "json") if tree.size(path) <= _MAX_NOTES_BYTES and _noted(tree, path))
    return min(notes, key=lambda path: (path.count("/"), path), default=None)


def other_class_lists(tree: SourceTree, path: str, names: tuple[str, ...]) -> Iterator[str]:
    """The lists of the same file name (labelImg writes one into each folder) that name other classes, or in another order."""
    for other in tree.texts_called(stem_of(path), suffix_of(path)):
        with suppress(YardError):
            if other != path and not looks_like_labels(decode_text(tree.read(other))) and read_class_list(tree, other) != names:
                yield other


def read_class_list(tree: SourceTree, path: str) -> tuple[str, ...]:
    """The classes' names by id.

    Args:
        tree: The source.
        path: What :func:`find_class_list` gave, or a list that Darknet's ``obj.data`` names.

    Raises:
        YardError: CLASSES_UNKNOWN.
    """
    lines = _noted(tree, path) if path.lower().endswith(".json") else [line.strip() for line in decode_text(tree.read(path)).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not 0 < len(lines) <= MAX_CLASSES:
        raise YardError(
            Reason.CLASSES_UNKNOWN, f"{path} names no classes (or more than {MAX_CLASSES}): give it a name a line", {"file": path}
        )
    return tuple(clean_class_name(name, i) for i, name in enumerate(lines))


def _noted(tree: SourceTree, path: str) -> list[str]:
    """The names in Label Studio's ``notes.json``, whose ``categories`` have an ``id`` from 0 and a ``name`` each; empty where it is no such file."""
    try:
        document = json.loads(tree.read(path))
        by_id = {entry["id"]: entry["name"] for entry in document["categories"]}
    except (ValueError, RecursionError, KeyError, TypeError):
        return []
    names = [by_id.get(i) for i in range(len(by_id))]
    return [name for name in names if isinstance(name, str)] if all(isinstance(name, str) for name in names) else []
