"""A YOLO source's data.yaml, under any name: which of a source's YAML files it is, the classes it names, and the split of each image."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.labelled import MAX_CLASSES, Notes, clean_class_name, split_of_path
from visionyard.dataset.formats.places import Places
from visionyard.dataset.formats.safe_yaml import MAX_YAML_BYTES, NotYaml, read_yaml
from visionyard.dataset.source import SourceTree, decode_text, stem_of
from visionyard.kit.errors import Reason, YardError

_SPLIT_KEYS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_MENTIONS_CLASSES = re.compile(r"""(?:^|[\s{,"'])(?:names|nc)["']?\s*:""")
_MOST_READ = 32
_MOST_CHARACTERS = 2 * MAX_YAML_BYTES
"""Of all YAML files together: parsing them takes less than a minute."""


@dataclass
class DataYaml:
    """What came of looking for a source's data.yaml.

    Attributes:
        path: The file; empty where there is none.
        document: What it holds.
        unread: The files that seem to be one and cannot be read: path and why, in the order in which they were tried.
    """

    path: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    unread: list[tuple[str, str]] = field(default_factory=list)

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
        if not _MENTIONS_CLASSES.search(text):
            continue
        read, characters = read + 1, characters + min(len(text), MAX_YAML_BYTES)
        if read > _MOST_READ or characters > _MOST_CHARACTERS:
            result.unread.append((path, f"{read - 1} others were tried before it, and no more are"))
            break
        try:
            document = read_yaml(text, tree.check)
        except NotYaml as error:
            result.unread.append((path, str(error)))
            continue
        if not document or not ("names" in document or "nc" in document):
            continue
        names_split = any(key in document for keys in _SPLIT_KEYS.values() for key in keys)
        if names_split or ("names" in document and not result.path):
            result.path, result.document = path, document
        if names_split:
            break
    return result


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


def _whole(value: object) -> int | None:
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else None  # noqa: PLR2004 - more digits than any class id has


def read_splits(tree: SourceTree, data: DataYaml, notes: Notes) -> dict[str, str]:
    """The split of each image that the YAML names, the empty string where it is to be drawn; no image where all its paths lead nowhere.

    Args:
        tree: The source.
        data: The file.
        notes: Gets SPLIT_MISSING, SPLITS_ALIKE and SPLIT_LEAKAGE.
    """
    path, document = data.path, data.document
    resolver = Places(tree, data.root, str(document.get("path") or ""))
    named: dict[str, set[str]] = {}
    missing: list[str] = []
    for split, keys in _SPLIT_KEYS.items():
        value = next((document[key] for key in keys if document.get(key)), None)
        if value is None:
            continue
        places = [str(place) for place in value] if isinstance(value, list) else [str(value)]
        images = resolver.images(places)
        if images:
            named[split] = images
        else:
            missing.append(split)
            notes.add(Code.SPLIT_MISSING, f"{path} names {', '.join(places)[:200]} as {split}, where there are no images", path)
    if "train" in named and named.get("val") == named["train"]:
        kept = " from them; test was kept" if "test" in named else ""
        notes.add(Code.SPLITS_ALIKE, f"{path} names the same images as train and val, so the split is drawn{kept}", path)
        named = {"": named["train"], **({"test": named["test"]} if "test" in named else {})}
    return _placed(tree, data.root, named, missing, notes)


def _placed(tree: SourceTree, root: str, named: dict[str, set[str]], missing: list[str], notes: Notes) -> dict[str, str]:
    """One split an image: the first that names it; a split that leads nowhere gets the images of the folder called so."""
    placed: dict[str, str] = {}
    for split, images in named.items():
        for image in sorted(images):
            if image in placed:
                first = placed[image] or "train"
                notes.add(Code.SPLIT_LEAKAGE, f"{image} is named in {first} and in {split}; it was kept in {first}", image)
            placed.setdefault(image, split)
    if named and missing:
        root = set_root(root, placed)
        for image in tree.images_under(root):
            if image not in placed and split_of_path(image, root) in missing:
                placed[image] = split_of_path(image, root)
    return placed


def set_root(root: str, images: Iterable[str]) -> str:
    """The innermost folder that holds the data.yaml's folder and every image: the YAML may lie beside its set."""
    return posixpath.commonpath([root, *{posixpath.dirname(image) for image in images}])
