"""A YOLO source's data.yaml, under any name: which of a source's YAML files it is, the classes it names, and the split of each image."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.labelled import MAX_CLASSES, Notes, clean_class_name, split_of_path
from visionyard.dataset.formats.places import Places
from visionyard.dataset.formats.safe_yaml import MAX_YAML_BYTES, NotYaml, read_yaml
from visionyard.dataset.formats.split_table import SplitTable
from visionyard.dataset.source import SourceTree, decode_text, stem_of, suffix_of
from visionyard.kit.artifacts.dataset import KeypointLayout
from visionyard.kit.errors import Reason, YardError

_SPLIT_KEYS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_MENTIONS_CLASSES = re.compile(r"""(?:^|[\s{,"'])(?:names|nc)["']?\s*:""")
_MENTIONS_SPLITS = re.compile(r"""(?:^|[\s{,"'])(?:train|val|valid|validation|test)["']?\s*:""")
_MOST_READ = 32
_MAX_KEYPOINTS = 1000
_MOST_CHARACTERS = 2 * MAX_YAML_BYTES
"""Of all YAML files together: parsing them takes less than a minute."""


@dataclass
class DataYaml:
    """What came of looking for a source's data.yaml.

    Attributes:
        path: The file; empty where there is none.
        document: What it holds.
        unread: The files that seem to be one and cannot be read: path and why, in the order in which they were tried.
        others: Further files that name classes and splits.
        declares: Whether it is a file that is written to say which images are the set, not a mere list of classes.
    """

    path: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    unread: list[tuple[str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def declares(self) -> bool:
        """See the class."""
        return suffix_of(self.path) in {"yaml", "yml", "data"}

    @property
    def names_splits(self) -> bool:
        """Whether it names images of a split."""
        return _names_split(self.document)

    @property
    def root(self) -> str:
        """The folder that it lies in."""
        return posixpath.dirname(self.path)


def find_data_yaml(tree: SourceTree) -> DataYaml:
    """The YAML that names the classes: one that also names a split goes first, then the shallowest, then ``data.yaml``.

    Files are tried in that order, and only those that mention classes at all; no more than 32, which together have no more than 1 MiB.
    """
    result = DataYaml()
    read = characters = 0
    for path in sorted(tree.texts("yaml", "yml"), key=lambda path: (path.count("/"), stem_of(path).lower() != "data", path)):
        tree.check()
        text = decode_text(tree.read(path))
        if not _MENTIONS_CLASSES.search(text) or (result.names_splits and not _MENTIONS_SPLITS.search(text)):
            continue
        read, characters = read + 1, characters + min(len(text), MAX_YAML_BYTES)
        if read > _MOST_READ or characters > _MOST_CHARACTERS:
            if result.names_splits:
                break
            result.unread.append((path, f"{read - 1} others were tried before it, and no more are"))
            break
        try:
            document = read_yaml(text, tree.check)
        except NotYaml as error:
            if result.names_splits:
                continue
            result.unread.append((path, str(error)))
            continue
        if not document or not ("names" in document or "nc" in document):
            continue
        if result.names_splits:
            result.others += [path] if _names_split(document) else []
        elif _names_split(document) or ("names" in document and not result.path):
            result.path, result.document = path, document
    return result


def _names_split(document: Mapping[str, Any]) -> bool:
    return any(key in document for keys in _SPLIT_KEYS.values() for key in keys)


def read_names(data: DataYaml, notes: Notes) -> tuple[str, ...]:
    """The classes' names by id.

    Args:
        data: The file.
        notes: Gets CLASS_NAMES_MISSING and CLASSES_MISMATCH.

    Raises:
        YardError: CLASSES_UNKNOWN.
    """
    path, names = data.path, data.document.get("names")
    count = _whole(data.document.get("nc"))
    by_id: dict[int, str] = {}
    if isinstance(names, list):
        by_id = {i: str(name) for i, name in enumerate(names)}
    elif isinstance(names, dict):
        by_id = {number: str(name) for key, name in names.items() if (number := _whole(key)) is not None}
    if not by_id and count:
        by_id = {i: f"class_{i}" for i in range(min(count, MAX_CLASSES))}
        notes.add(Code.CLASS_NAMES_MISSING, f"{path} has no names, only nc: {count}; the classes are called class_0 and so on", path)
    size = max(by_id, default=-1) + 1
    if not 0 < size <= MAX_CLASSES:
        raise YardError(
            Reason.CLASSES_UNKNOWN, f"{path} names no classes (or more than {MAX_CLASSES}): give it a list of names", {"file": path}
        )
    if count is not None and count != size:
        notes.add(Code.CLASSES_MISMATCH, f"{path} says nc: {count} but names {size} classes; the names were taken", path)
    if len(by_id) != size:
        missing = f"{size - len(by_id)} of the class ids 0 to {size - 1}"
        notes.add(Code.CLASSES_MISMATCH, f"{path} leaves out {missing}; they are called class_N", path)
    return tuple(clean_class_name(by_id.get(i, ""), i) for i in range(size))


def read_keypoints(data: DataYaml, notes: Notes) -> KeypointLayout | None:
    """The keypoints that a YAML declares (``kpt_shape: [17, 3]``, ``flip_idx``); None where it declares none, or none that can be read.

    See https://docs.ultralytics.com/datasets/pose/.

    Args:
        data: The file.
        notes: Gets KEYPOINTS_UNREAD.
    """
    written, flips = data.document.get("kpt_shape"), data.document.get("flip_idx")
    if written is None:
        return None
    shape = [_whole(value) for value in written] if isinstance(written, list) else []
    if len(shape) != 2 or not shape[0] or shape[0] > _MAX_KEYPOINTS or shape[1] not in {2, 3}:  # noqa: PLR2004 - count and dimensions
        notes.add(Code.KEYPOINTS_UNREAD, f"{data.path} has the kpt_shape {str(written)[:80]}, which is no [count, 2 or 3]", data.path)
        return None
    count, dimensions = shape[0], shape[1]
    flip = [_whole(value) for value in flips] if isinstance(flips, list) else []
    if flips is not None and sorted(value for value in flip if value is not None) != list(range(count)):
        notes.add(Code.KEYPOINTS_UNREAD, f"{data.path} has a flip_idx that does not name each of the {count} keypoints once", data.path)
        flip = []
    return KeypointLayout(count, dimensions, (), tuple(value for value in flip if value is not None))


def _whole(value: object) -> int | None:
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else None  # noqa: PLR2004 - more digits than any class id has


def read_splits(tree: SourceTree, data: DataYaml, notes: Notes) -> SplitTable:
    """The split of each image that the YAML names, the empty string where it is to be drawn; no image where all its paths lead nowhere.

    Args:
        tree: The source.
        data: The file.
        notes: Gets SPLIT_MISSING, SPLIT_ENTRY_WITHOUT_IMAGE, SPLITS_ALIKE and SPLIT_LEAKAGE.
    """
    path, document = data.path, data.document
    resolver = Places(tree, data.root, str(document.get("path") or ""), notes)
    placed = SplitTable(tree.staging)
    held: set[str] = set()
    missing: list[str] = []
    for split, keys in _SPLIT_KEYS.items():
        value = next((document[key] for key in keys if document.get(key)), None)
        if value is None:
            continue
        places = [str(place) for place in value] if isinstance(value, list) else [str(value)]
        if placed.name(split, resolver.images(places)):
            held.add(split)
        else:
            missing.append(split)
        for nowhere in resolver.missing if split in held else [", ".join(places)]:
            notes.add(Code.SPLIT_MISSING, f"{path} names {nowhere[:200]} as {split}, where there are no images", path)
    if {"train", "val"} <= held and placed.same("train", "val"):
        kept = " from them; test was kept" if "test" in held else ""
        notes.add(Code.SPLITS_ALIKE, f"{path} names the same images as train and val, so the split is drawn{kept}", path)
        placed.undraw("train", "val")
    for image, splits in placed.twice():
        first, *others = (split or "train" for split in splits)
        for split in others:
            notes.add(Code.SPLIT_LEAKAGE, f"{image} is named in {first} and in {split}; it was kept in {first}", image)
    if held and missing:
        _place_by_folders(tree, data, placed, missing)
    return placed


def _place_by_folders(tree: SourceTree, data: DataYaml, placed: SplitTable, missing: Collection[str]) -> None:
    """A split that leads nowhere gets the images of the folder called so."""
    root = set_root(data.root, placed.folders())
    for image in tree.images_under(root):
        split = split_of_path(image, root)
        if split in missing and placed.of(image) is None:
            placed.name(split, [image])


def set_root(root: str, folders: Iterable[str]) -> str:
    """The innermost folder that holds the data.yaml's folder and every folder of images: the YAML may lie beside its set."""
    for folder in folders:
        root = posixpath.commonpath([root, folder])
    return root
