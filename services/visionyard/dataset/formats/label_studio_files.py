"""Which files of a source are Label Studio's, which of them belong together, and the labelling interface beside them."""

from __future__ import annotations

import enum
import itertools
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.json_items import json_items
from visionyard.dataset.formats.json_lines import json_lines
from visionyard.dataset.formats.json_stream import NotJson, Take, begins_with, glimpse, read_parts
from visionyard.dataset.formats.label_studio_config import LabelConfig, parse_config
from visionyard.dataset.formats.label_studio_tasks import is_task
from visionyard.dataset.formats.labelled import Notes, split_of_folder
from visionyard.dataset.formats.xml_reader import NotXml
from visionyard.dataset.source import MAX_TEXT_BYTES, SourceTree, stem_of

_HEAD_BYTES = 4096
_HEAD_MARKS = (b'"data"', b'"annotations"', b'"completions"', b'"predictions"', b'"result"', b'"annotator"', b'"annotation_id"')
_FIRST_ENTRIES = 20
_MOST_CONFIGS = 20
_WORDS = re.compile(r"([-_. ]+)")


class Layout(enum.IntEnum):
    """How a file holds its tasks. The numbers are stored in the staging database only."""

    LIST = 0
    ONE = 1
    LINES = 2


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A file of tasks.

    Attributes:
        path: Where it is.
        layout: How it holds them.
        split: What its name or folders call it; empty where they don't.
    """

    path: str
    layout: Layout
    split: str


def find_files(tree: SourceTree) -> list[tuple[str, str]]:
    """Puts down which files hold tasks; returns the places that are a labelling each, and what a message calls them.

    A file with a list of tasks is a labelling by itself, as a project's export is; files that differ only in the split that their names or folders tell are one, and so
    are all files of one task each in a folder.
    """
    staging = tree.staging
    staging.run("DROP TABLE IF EXISTS ls_files")
    staging.run("CREATE TABLE ls_files (place TEXT, path TEXT, layout INT, split TEXT)")
    for suffix in ("json", "jsonl"):
        for path in tree.each_text(suffix):
            tree.check()
            layout = _layout(tree, path)
            if layout is not None:
                place, split = _place(path, layout)
                staging.run("INSERT INTO ls_files VALUES (?, ?, ?, ?)", (place, path, layout.value, split))
    staging.run("CREATE INDEX ls_files_by_place ON ls_files (place, path)")
    statement = "SELECT place, CASE COUNT(*) WHEN 1 THEN MIN(path) ELSE place END FROM ls_files GROUP BY place ORDER BY place"
    return list(staging.query(statement))


def files_at(tree: SourceTree, place: str) -> Iterator[TaskFile]:
    """The files of a labelling, sorted by path."""
    for path, layout, split in tree.staging.query("SELECT path, layout, split FROM ls_files WHERE place = ? ORDER BY path", (place,)):
        yield TaskFile(path, Layout(layout), split)


def _layout(tree: SourceTree, path: str) -> Layout | None:
    """How a file holds tasks; None where it holds none. What is something else costs a look at its beginning."""
    if begins_with(tree, path, b"["):
        root = glimpse(tree, path)
        return Layout.LIST if isinstance(root, list) and any(map(is_task, root[:_FIRST_ENTRIES])) else None
    if not begins_with(tree, path, b"{"):
        return None
    head = tree.open(path).read(_HEAD_BYTES)
    if not any(mark in head for mark in _HEAD_MARKS):
        return None
    first, second = (value for _, value in itertools.islice(itertools.chain(json_lines(tree.open(path)), [(0, None)] * 2), 2))
    if is_task(first) and second is not None:
        return Layout.LINES
    return Layout.ONE if tree.size(path) <= MAX_TEXT_BYTES and is_task(glimpse(tree, path)) else None


def _place(path: str, layout: Layout) -> tuple[str, str]:
    """Where a file belongs, with a star for the split that its path tells; and that split."""
    *folders, name = path.split("/")
    words = _WORDS.split(stem_of(name))
    split = next(filter(None, map(split_of_folder, [*words, *reversed(folders)])), "")
    starred = ["*" if split_of_folder(folder) else folder for folder in folders]
    if layout is Layout.ONE:
        return "/".join([*starred, ""]), split
    return "/".join([*starred, "".join("*" if split_of_folder(word) else word for word in words)]), split


def read_values(tree: SourceTree, file: TaskFile, notes: Notes) -> Iterator[tuple[str, Any]]:
    """What a file holds where tasks should be, each with what a message calls it.

    Args:
        tree: The source.
        file: The file.
        notes: Gets MALFORMED_ANNOTATION for what cannot be read.
    """
    if file.layout is Layout.LINES:
        for line, value in json_lines(tree.open(file.path), tree.check):
            if isinstance(value, NotJson):
                notes.add(Code.MALFORMED_ANNOTATION, f"{file.path}:{line} cannot be read: {value}", file.path, line)
            else:
                yield f"line {line}", value
        return
    number = 0
    for value in json_items(tree.open(file.path), tree.check) if file.layout is Layout.LIST else _whole(tree, file.path):
        if isinstance(value, NotJson):
            said = f"{file.path} cannot be read beyond its task {number}: {value}"
            notes.add(Code.MALFORMED_ANNOTATION, said, file.path)
        else:
            number += 1
            yield f"task {number}", value


def _whole(tree: SourceTree, path: str) -> Iterator[Any]:
    """The one value of a file, or why it cannot be read."""
    try:
        for _, value in read_parts(tree, path, lambda _: Take.WHOLE):
            yield value
    except NotJson as error:
        yield error


def find_config(tree: SourceTree, path: str, notes: Notes) -> LabelConfig:
    """The labelling interface in the folder of an export; of several the one whose name ends most like the export's, then the shortest name.

    Args:
        tree: The source.
        path: The export.
        notes: Gets LABEL_CONFIG_UNREAD.

    Raises:
        YardError: ANNOTATION_BOMB.
    """
    # The folder may hold 100,000 XML files of VOC besides.
    statement = (
        "SELECT path FROM files WHERE folder = ? AND suffix = 'xml' AND at IS NOT NULL ORDER BY instr(stem, 'config') = 0, path LIMIT ?"
    )
    near = sorted(
        (config for (config,) in tree.staging.query(statement, (posixpath.dirname(path), _MOST_CONFIGS))),
        key=lambda config: (-_common_end(stem_of(config), stem_of(path)), len(config), config),
    )
    for config in near:
        tree.check()
        try:
            found = parse_config(config, tree.read(config))
        except NotXml as error:
            notes.add(Code.LABEL_CONFIG_UNREAD, f"{config} was not read: {error}", config)
            continue
        if found:
            return found
    return LabelConfig()


def _common_end(one: str, other: str) -> int:
    """How many characters two names share at their ends."""
    return len(posixpath.commonprefix([one[::-1], other[::-1]]))
