"""Reads the structure of a YOLO source: which images, in which splits, with which label files and classes.

Three layouts, sub-folders allowed for each: a ``data.yaml`` under any name that names the splits (Ultralytics, Roboflow); image and label folders side by side in
either order (``images/train``, ``train/images``) with a ``classes.txt`` (Label Studio, labelImg); labels beside their images (Darknet's ``obj_train_data``).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.labelled import (
    MAX_CLASSES,
    LabelledSource,
    LabelRow,
    SourceImage,
    clean_class_name,
    split_of_folder,
    split_of_path,
)
from visionyard.dataset.formats.safe_yaml import MAX_YAML_BYTES, read_yaml
from visionyard.dataset.formats.yolo_rows import looks_like_labels, read_rows
from visionyard.dataset.source import SourceTree, decode_text, stem_of, suffix_of
from visionyard.kit.errors import Reason, YardError

_IMAGE_FOLDERS = frozenset({"images", "image", "img", "imgs", "jpegimages"})
_LABEL_FOLDERS = ("labels", "label", "txt", "annotations")
_SPLIT_KEYS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_CLASS_FILES = ("classes.txt", "obj.names", "classes.names", "predefined_classes.txt")
_NO_LABEL_FILES = frozenset({"classes", "predefined_classes", "notes", "readme", "license", "source"})


def find_data_yaml(tree: SourceTree) -> tuple[str, dict[str, Any]] | None:
    """The YAML that names the classes, with its content: one that also names a split goes first, then the shallowest, then ``data.yaml``."""
    found = []
    for path in tree.texts("yaml", "yml"):
        if tree.sizes[path] > MAX_YAML_BYTES:
            continue
        document = read_yaml(decode_text(tree.read(path)))
        if not document:
            continue
        names_split = any(key in document for keys in _SPLIT_KEYS.values() for key in keys)
        if "names" in document or ("nc" in document and names_split):
            found.append((not names_split, path.count("/"), stem_of(path).lower() != "data", path, document))
    if not found:
        return None
    *_, path, document = min(found, key=lambda item: item[:4])
    return path, document


def find_labels(tree: SourceTree, image: str) -> str:
    """The label file of an image: its last image folder's name exchanged for a label folder's, else beside it; empty where there is none."""
    name = f"{stem_of(image)}.txt"
    folders = image.split("/")[:-1]
    candidates = []
    at = next((i for i in range(len(folders) - 1, -1, -1) if folders[i].lower() in _IMAGE_FOLDERS), None)
    if at is not None:
        candidates = ["/".join([*folders[:at], label, *folders[at + 1 :], name]) for label in _LABEL_FOLDERS]
    else:
        candidates = ["/".join([*folders, "labels", name]), "/".join([*folders[:-1], "labels", *folders[-1:], name])]
        candidates.append("/".join([*folders[:-1], "labels", name]))
    candidates.append("/".join([*folders, name]))
    for candidate in candidates:
        found = tree.find(candidate)
        if found and tree.is_text(found) and not _is_about_the_set(found):
            return found
    return ""


def _is_about_the_set(path: str) -> bool:
    return stem_of(path).lower().split(".")[0] in _NO_LABEL_FILES


class YoloSource(LabelledSource):
    """A YOLO source. Build it with :func:`read_yolo`."""

    format = "yolo"

    def __init__(self, tree: SourceTree, names: tuple[str, ...], *, pose: bool) -> None:
        super().__init__()
        self._tree = tree
        self._names = names
        self._pose = pose

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:  # noqa: ARG002 - shares need no picture
        """See :meth:`LabelledSource.rows`."""
        return read_rows(decode_text(self._tree.read(labels)), len(self._names), pose=self._pose)

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`."""
        return self._names


def read_yolo(tree: SourceTree) -> YoloSource:
    """Reads a YOLO source's structure.

    Raises:
        YardError: CLASSES_UNKNOWN.
    """
    found = find_data_yaml(tree)
    if found is None:
        return _read_without_yaml(tree)
    path, document = found
    root = posixpath.dirname(path)
    names, notes = _yaml_names(path, document)
    source = YoloSource(tree, names, pose="kpt_shape" in document)
    for code, message in notes:
        source.notes.add(code, message, path)
    placed = _yaml_splits(tree, root, document, source, path)
    _take(source, tree, placed, root)
    labelled = sum(1 for image in source.images if image.labels)
    source.reason = f"{path} names {len(names)} classes, and {labelled} of {len(source.images)} images have a YOLO label file"
    return source


def _take(source: YoloSource, tree: SourceTree, placed: dict[str, str], root: str) -> None:
    """Fills in images, those left out, and orphans, from each image's split (empty: the source does not tell)."""
    inside = tree.images_under(root)
    if not placed:  # the YAML's paths lead nowhere: the folders' names tell
        placed = {image: split_of_path(image, root) for image in inside}
    matched: set[str] = set()
    for image in sorted({*inside, *placed}):
        labels = find_labels(tree, image)
        matched.add(labels)
        taken = SourceImage(image, placed.get(image, ""), labels)
        (source.images if image in placed else source.left_out).append(taken)
    folders = {posixpath.dirname(path) for path in matched if path}
    for path in tree.texts("txt"):
        if path in matched or _is_about_the_set(path) or posixpath.dirname(path) not in folders:
            continue
        if looks_like_labels(decode_text(tree.read(path))):
            source.orphans.append(path)


# --- data.yaml


def _yaml_names(path: str, document: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[Code, str]]]:
    names, notes = document.get("names"), list[tuple[Code, str]]()
    count = _whole(document.get("nc"))
    by_id: dict[int, str] = {}
    if isinstance(names, list):
        by_id = {i: str(name) for i, name in enumerate(names)}
    elif isinstance(names, dict):
        by_id = {number: str(name) for key, name in names.items() if (number := _whole(key)) is not None}
    if not by_id and count:
        by_id = {i: f"class_{i}" for i in range(min(count, MAX_CLASSES))}
        notes.append((Code.CLASS_NAMES_MISSING, f"{path} has no names, only nc: {count}; the classes are called class_0 and so on"))
    size = max(by_id, default=-1) + 1
    if not 0 < size <= MAX_CLASSES:
        raise YardError(
            Reason.CLASSES_UNKNOWN, f"{path} names no classes (or more than {MAX_CLASSES}): give it a list of names", {"file": path}
        )
    if count is not None and count != size:
        notes.append((Code.CLASSES_MISMATCH, f"{path} says nc: {count} but names {size} classes; the names were taken"))
    if len(by_id) != size:
        notes.append(
            (Code.CLASSES_MISMATCH, f"{path} leaves out {size - len(by_id)} of the class ids 0 to {size - 1}; they are called class_N")
        )
    return tuple(clean_class_name(by_id.get(i, ""), i) for i in range(size)), notes


def _whole(value: object) -> int | None:
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else None  # noqa: PLR2004 - more digits than any class id has


def _yaml_splits(tree: SourceTree, root: str, document: dict[str, Any], source: YoloSource, path: str) -> dict[str, str]:
    """The split of each image that the YAML names."""
    base = posixpath.normpath(posixpath.join(root, str(document.get("path") or "."))).lstrip("./")
    named: dict[str, set[str]] = {}
    missing: list[str] = []
    for split, keys in _SPLIT_KEYS.items():
        value = next((document[key] for key in keys if document.get(key)), None)
        if value is None:
            continue
        places = [str(place) for place in value] if isinstance(value, list) else [str(value)]
        images = {image for place in places for image in _resolve(tree, root, base, place)}
        if images:
            named[split] = images
        else:
            missing.append(split)
            source.notes.add(Code.SPLIT_MISSING, f"{path} names {', '.join(places)[:200]} as {split}, where there are no images", path)
    if "train" in named and named.get("val") == named["train"]:
        source.notes.add(Code.SPLITS_ALIKE, f"{path} names the same images as train and val, so the split is drawn", path)
        return dict.fromkeys(sorted(named["train"] | named.get("test", set())), "")
    return _placed(tree, root, named, missing, source)


def _placed(tree: SourceTree, root: str, named: dict[str, set[str]], missing: list[str], source: YoloSource) -> dict[str, str]:
    """One split an image: the first that names it; a split that leads nowhere gets the images of the folder called so."""
    placed: dict[str, str] = {}
    for split, images in named.items():
        for image in sorted(images):
            if image in placed:
                source.notes.add(
                    Code.SPLIT_LEAKAGE, f"{image} is named in {placed[image]} and in {split}; it was kept in {placed[image]}", image
                )
            placed.setdefault(image, split)
    if named and missing:
        for image in tree.images_under(root):
            if image not in placed and split_of_path(image, root) in missing:
                placed[image] = split_of_path(image, root)
    return placed


def _resolve(tree: SourceTree, root: str, base: str, place: str) -> list[str]:
    """The images that a path in a data.yaml means: a folder, or a list of files.

    Paths are often those of another machine, or Roboflow's ``../train/images`` for what lies in ``./train/images``: the longest ending that exists counts.
    """
    parts = [part for part in place.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    for start in range(max(len(parts), 1)):
        if start and split_of_folder(parts[start - 1]):
            return []  # what is left no longer tells the splits apart
        tail = "/".join(parts[start:])
        for folder in dict.fromkeys((base, root)):
            candidate = posixpath.join(folder, tail).rstrip("/")
            if suffix_of(candidate) == "txt" and (listed := tree.find(candidate)) and tree.is_text(listed):
                return _listed(tree, listed)
            found = tree.find_folder(candidate)
            if found is not None:
                return tree.images_under(found)
    return []


def _listed(tree: SourceTree, path: str) -> list[str]:
    """The images that a list file names, one a line, relative to it or to wherever its paths' endings exist."""
    found: list[str] = []
    folder = posixpath.dirname(path)
    for line in decode_text(tree.read(path)).splitlines():
        parts = [part for part in line.strip().replace("\\", "/").split("/") if part not in {"", ".", ".."}]
        for start in range(len(parts)):
            image = tree.find(posixpath.join(folder, *parts[start:])) or tree.find("/".join(parts[start:]))
            if image:
                found.append(image)
                break
    return found


# --- without a data.yaml


def _read_without_yaml(tree: SourceTree) -> YoloSource:
    classes = _class_file(tree)
    if classes is None:
        raise YardError(
            Reason.CLASSES_UNKNOWN,
            "the source has YOLO label files but neither a data.yaml nor a classes.txt: add one that names the classes",
            {"file": ""},
        )
    lines = [line.strip() for line in decode_text(tree.read(classes)).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not 0 < len(lines) <= MAX_CLASSES:
        raise YardError(
            Reason.CLASSES_UNKNOWN, f"{classes} names no classes (or more than {MAX_CLASSES}): give it a name a line", {"file": classes}
        )
    source = YoloSource(tree, tuple(clean_class_name(name, i) for i, name in enumerate(lines)), pose=False)
    _take(source, tree, {}, _common_root(tree))
    labelled = sum(1 for image in source.images if image.labels)
    source.reason = f"{classes} names {len(lines)} classes, and {labelled} of {len(source.images)} images have a YOLO label file"
    return source


def _class_file(tree: SourceTree) -> str | None:
    by_rank = []
    for path in tree.texts("txt", "names"):
        name = posixpath.basename(path).lower()
        if name in _CLASS_FILES or name.endswith(".names"):
            rank = _CLASS_FILES.index(name) if name in _CLASS_FILES else len(_CLASS_FILES)
            by_rank.append((rank, path.count("/"), path))
    return min(by_rank)[2] if by_rank else None


def _common_root(tree: SourceTree) -> str:
    """The folder that holds everything; what wraps the set may be called ``train`` without meaning a split."""
    folders = [posixpath.dirname(path) for path in tree.images]
    root = posixpath.commonpath(folders) if folders and all(folders) else ""
    # .../images and .../train belong to the set; the folder above them is its root.
    while root and (posixpath.basename(root).lower() in _IMAGE_FOLDERS or split_of_folder(posixpath.basename(root))):
        root = posixpath.dirname(root)
    return root
