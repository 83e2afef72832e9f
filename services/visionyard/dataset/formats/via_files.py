"""The files of VIA 1 and 2 (VGG Image Annotator), read entry by entry: JSON exports, JSON projects, CSV exports. What shapes and attributes mean is not known here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from visionyard.dataset.formats.json_stream import NotJson, Path, Take, glimpse, head_of, read_parts
from visionyard.dataset.source import SourceTree

_METADATA = "_via_img_metadata"
_ATTRIBUTES = "_via_attributes"
_MARKS = (b'"_via_', b'"filename"', b'"vid_list"', b'"creator"')
_COLUMNS = ("filename", "region_count", "region_shape_attributes", "region_attributes")
_MAX_LINE = 1 << 20
_MAX_LINES_A_ROW = 1000


class NotVia(ValueError):
    """The rest of a file cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class ViaRegion:
    """A region as written.

    Attributes:
        line: From 1 in a CSV; 0 in JSON.
        where: Which it is, the beginning of a sentence; empty in a CSV, whose line tells it.
        shape: Its ``shape_attributes``.
        attributes: Its ``region_attributes``.
    """

    line: int
    where: str
    shape: Any
    attributes: Any


@dataclass(frozen=True, slots=True)
class ViaEntry:
    """A part of a file: an image, or the next rows of a CSV that name one.

    Attributes:
        number: Of the image in the file, from 1; the rows of one image have one number.
        name: The image's as written; empty where it has none.
        regions: Those that are read at once.
        readable: Whether it looks like an entry at all.
    """

    number: int
    name: str
    regions: tuple[ViaRegion, ...]
    readable: bool = True


# --- JSON


def json_kind(tree: SourceTree, path: str) -> str:
    """``via`` for an export or project of VIA 1 or 2, ``via3`` for what VIA 3 writes; empty for any other JSON file."""
    tree.check()
    head = head_of(tree, path)
    root = glimpse(tree, path) if head.startswith(b"{") and any(mark in head for mark in _MARKS) else None
    if not isinstance(root, dict) or not root:
        return ""
    project = root.get("project")
    if isinstance(project, dict) and ("vid_list" in project or "VGG Image Annotator" in str(project.get("creator"))):
        return "via3"
    entries = root.get(_METADATA, root)
    first = next(iter(entries.values()), None) if isinstance(entries, dict) else None
    if _METADATA in root and isinstance(entries, dict):
        return "via"
    if any(name.startswith("_via_") for name in root):
        return "via"
    return "via" if isinstance(first, dict) and isinstance(first.get("filename"), str) and "regions" in first else ""


def _entries_only(at: Path) -> Take:
    if at in {(), (_METADATA,)}:
        return Take.INTO
    return Take.SKIP if str(at[0]).startswith("_via_") and at[0] != _METADATA else Take.WHOLE


def _attributes_only(at: Path) -> Take:
    return Take.INTO if not at else Take.WHOLE if at == (_ATTRIBUTES,) else Take.SKIP


def declared_attributes(tree: SourceTree, path: str) -> dict[str, Any]:
    """What a project declares of its regions' attributes, by their names; empty for an export.

    Raises:
        NotVia: the file cannot be read.
    """
    try:
        for at, value in read_parts(tree, path, _attributes_only):
            if at == (_ATTRIBUTES,) and isinstance(value, dict) and isinstance(value.get("region"), dict):
                declared: dict[str, Any] = value["region"]
                return declared
    except NotJson as error:
        raise NotVia(str(error)) from error
    return {}


def json_entries(tree: SourceTree, path: str) -> Iterator[ViaEntry]:
    """The images of a JSON export or project.

    Raises:
        NotVia: the rest cannot be read.
    """
    number = 0
    try:
        for at, value in read_parts(tree, path, _entries_only):
            if len(at) == 1 and str(at[0]).startswith("_via_"):
                continue  # a setting that is no list and no object
            number += 1
            yield _json_entry(number, value)
    except NotJson as error:
        raise NotVia(str(error)) from error


def _json_entry(number: int, value: Any) -> ViaEntry:
    if not isinstance(value, dict):
        return ViaEntry(number, "", (), readable=False)
    name = value.get("filename")
    name = name if isinstance(name, str) else ""
    regions = value.get("regions")
    # VIA 1 numbers the regions in an object.
    listed = (
        list(regions.values())
        if isinstance(regions, dict)
        else regions
        if isinstance(regions, list)
        else []
        if regions is None
        else [regions]
    )
    taken = []
    for position, region in enumerate(listed, start=1):
        parts = region if isinstance(region, dict) else {}
        taken.append(
            ViaRegion(0, f"region {position} of image {name[:80]!r} ", parts.get("shape_attributes"), parts.get("region_attributes"))
        )
    return ViaEntry(number, name, tuple(taken), readable=bool(name or taken))


# --- CSV


def is_csv(tree: SourceTree, path: str) -> bool:
    """Whether a file begins with the header of VIA's CSV exports."""
    tree.check()
    try:
        _columns(csv.reader([_encoded(tree, path).readline(_MAX_LINE)], strict=True))  # strict: a quote that is not closed is damage
    except NotVia:
        return False
    return True


def _columns(rows: Iterator[list[str]]) -> dict[str, int]:
    """Where each column stands, by the header.

    Raises:
        NotVia: the first row is no header of VIA's, or cannot be read.
    """
    try:
        header = next(rows, [])
    except csv.Error as error:  # a name of more than 128 KiB
        raise NotVia("its header cannot be read") from error
    columns = {name.strip().lstrip("#"): i for i, name in enumerate(header)}
    if not set(_COLUMNS) <= columns.keys():
        raise NotVia(f"its header lacks one of the columns {', '.join(_COLUMNS)}")
    return columns


def _encoded(tree: SourceTree, path: str) -> io.TextIOWrapper:
    """A reader of a text's characters: spreadsheets write UTF-16."""
    stream = tree.open(path)
    encoding = "utf-16" if stream.peek(2)[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    return io.TextIOWrapper(stream, encoding, "replace", newline="")


class _Lines:
    """A CSV's lines, none of them too long, and not too many for one row."""

    def __init__(self, tree: SourceTree, path: str) -> None:
        self._tree = tree
        self._text = _encoded(tree, path)
        self.unanswered = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(_MAX_LINE):
            self._tree.check()
            self.unanswered += 1
            if len(line) >= _MAX_LINE or self.unanswered > _MAX_LINES_A_ROW:
                raise NotVia(f"it has a row of more than {_MAX_LINE} characters or {_MAX_LINES_A_ROW} lines")
            yield line


def csv_entries(tree: SourceTree, path: str) -> Iterator[ViaEntry]:
    """The rows of a CSV export: a region each, or an image without regions.

    Raises:
        NotVia: the rest cannot be read.
    """
    lines = _Lines(tree, path)
    rows = csv.reader(iter(lines))
    columns = _columns(rows)
    number, image = 0, None
    while True:
        lines.unanswered = 0
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:  # a cell of more than 128 KiB; nobody knows whose it is
            number, image = number + 1, None
            yield ViaEntry(number, "", (ViaRegion(rows.line_num, "", None, None),))
            continue
        if not any(row):
            continue
        cells = {name: row[i] if i < len(row) else "" for name, i in columns.items()}
        now = cells["filename"], cells.get("file_size")
        if now != image:
            number, image = number + 1, now
        yield _csv_entry(number, rows.line_num, cells)


def _csv_entry(number: int, line: int, cells: dict[str, str]) -> ViaEntry:
    shape, attributes = _cell(cells["region_shape_attributes"]), _cell(cells["region_attributes"])
    without = cells["region_count"].strip() == "0" and not shape
    return ViaEntry(number, cells["filename"].strip(), () if without else (ViaRegion(line, "", shape, attributes),))


def _cell(text: str) -> Any:
    """What a cell's JSON holds; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
