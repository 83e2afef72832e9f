"""Reads the structure of a YOLO source: which images, in which splits, with which label files and classes.

Three layouts, sub-folders allowed for each: a ``data.yaml`` under any name that names the splits (Ultralytics, Roboflow); image and label folders side by side in
either order (``images/train``, ``train/images``) with a ``classes.txt`` (Label Studio, labelImg); labels beside their images (Darknet's ``obj_train_data``).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.data_yaml import DataYaml, read_names, read_splits, set_root
from visionyard.dataset.formats.labelled import (
    MAX_CLASSES,
    LabelledSource,
    LabelRow,
    Notes,
    SourceImage,
    clean_class_name,
    split_of_folder,
    split_of_path,
)
from visionyard.dataset.formats.yolo_rows import looks_like_labels, read_rows
from visionyard.dataset.source import SourceTree, decode_text, stem_of
from visionyard.kit.errors import Reason, YardError

_IMAGE_FOLDERS = frozenset({"images", "image", "img", "imgs", "jpegimages"})
_LABEL_FOLDERS = ("labels", "label", "txt", "annotations")
_CLASS_FILES = ("classes.txt", "obj.names", "classes.names", "predefined_classes.txt")
_NO_LABEL_FILES = frozenset({"classes", "predefined_classes", "notes", "readme", "license", "source"})
"""Texts about the set itself, unless there is an image of that very name."""
_IMAGES_A_CHECK = 1024


def find_labels(tree: SourceTree, image: str) -> str:
    """The label file of an image: its last image folder's name exchanged for a label folder's, else beside it; empty where there is none."""
    return next(_label_files(tree, image), "")


def _label_files(tree: SourceTree, image: str) -> Iterator[str]:
    """The files that may be an image's labels, the likeliest first. They are its labels whatever they are called, also ``source.txt``."""
    name = f"{stem_of(image)}.txt"
    folders = image.split("/")[:-1]
    at = next((i for i in range(len(folders) - 1, -1, -1) if folders[i].lower() in _IMAGE_FOLDERS), None)
    if at is not None:
        candidates = ["/".join([*folders[:at], label, *folders[at + 1 :], name]) for label in _LABEL_FOLDERS]
    else:
        candidates = ["/".join([*folders, "labels", name]), "/".join([*folders[:-1], "labels", *folders[-1:], name])]
        candidates.append("/".join([*folders[:-1], "labels", name]))
    candidates.append("/".join([*folders, name]))
    for candidate in candidates:
        found = tree.find(candidate)
        if found and tree.is_text(found):
            yield found


class YoloSource(LabelledSource):
    """A YOLO source. Build it with :func:`read_yolo`."""

    format = "yolo"

    def __init__(self, tree: SourceTree, names: tuple[str, ...], notes: Notes, *, pose: bool) -> None:
        super().__init__()
        self.notes = notes
        self._tree = tree
        self._names = names
        self._pose = pose

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:  # noqa: ARG002 - shares need no picture
        """See :meth:`LabelledSource.rows`."""
        return read_rows(decode_text(self._tree.read(labels)), len(self._names), pose=self._pose)

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`."""
        return self._names


def read_yolo(tree: SourceTree, data: DataYaml) -> YoloSource:
    """Reads a YOLO source's structure.

    Args:
        tree: The source.
        data: What came of looking for its data.yaml.

    Raises:
        YardError: CLASSES_UNKNOWN.
    """
    notes = Notes()
    for path, why in data.unread:
        notes.add(Code.YAML_UNREAD, f"{path} was not read: {why}", path)
    if not data.path:
        return _read_without_yaml(tree, data, notes)
    source = YoloSource(tree, read_names(data, notes), notes, pose="kpt_shape" in data.document)
    placed = read_splits(tree, data, notes)
    _take(source, tree, placed, set_root(data.root, placed))
    source.reason = f"{data.path} names {_what_was_read(source)}"
    return source


def _what_was_read(source: YoloSource) -> str:
    labelled = sum(1 for image in source.images if image.labels)
    return f"{len(source.class_names())} classes, and {labelled} of {len(source.images)} images have a YOLO label file"


def _take(source: YoloSource, tree: SourceTree, placed: dict[str, str], root: str) -> None:
    """Fills in images, those left out, and orphans, from each image's split (empty: the source does not tell)."""
    inside = tree.images_under(root)
    if not placed:  # the YAML's paths lead nowhere: the folders' names tell
        placed = {image: split_of_path(image, root) for image in inside}
    claimed: set[str] = set()
    folders: set[str] = set()
    for number, image in enumerate(sorted({*inside, *placed})):
        if number % _IMAGES_A_CHECK == 0:
            tree.check()
        labels = list(_label_files(tree, image))
        claimed.update(labels)
        folders.update(posixpath.dirname(path) for path in labels[:1])
        taken = SourceImage(image, placed.get(image, ""), labels[0] if labels else "")
        (source.images if image in placed else source.left_out).append(taken)
    source.orphans.extend(_orphans(tree, root, claimed, folders))


def _orphans(tree: SourceTree, root: str, claimed: set[str], folders: set[str]) -> Iterator[str]:
    """The label files of no image: texts like labels beside those of images, or in any label folder below the root.

    Args:
        tree: The source.
        root: The set's folder.
        claimed: The files that may be an image's labels. A second one of the same image is no orphan.
        folders: Where the images' labels lie.
    """
    stems = {stem_of(image).lower() for image in tree.images}
    for path in tree.texts("txt"):
        tree.check()
        folder, stem = posixpath.dirname(path), stem_of(path).lower()
        if path in claimed or (stem in _NO_LABEL_FILES and stem not in stems):
            continue
        if (folder in folders or _is_label_folder(folder, root)) and looks_like_labels(decode_text(tree.read(path))):
            yield path


def _is_label_folder(folder: str, root: str) -> bool:
    """Whether a folder is a label folder or lies in one, below the root."""
    below = folder[len(root) :] if f"{folder}/".startswith(f"{root}/" if root else "") else ""
    return any(name.lower() in _LABEL_FOLDERS for name in below.split("/"))


# --- without a data.yaml


def _read_without_yaml(tree: SourceTree, data: DataYaml, notes: Notes) -> YoloSource:
    classes = _class_file(tree)
    if classes is None and data.unread:
        path, why = data.unread[0]
        raise YardError(
            Reason.CLASSES_UNKNOWN,
            f"{path} was not read: {why}; correct it, or add a classes.txt that names the classes",
            {"file": path},
        )
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
    source = YoloSource(tree, tuple(clean_class_name(name, i) for i, name in enumerate(lines)), notes, pose=False)
    _take(source, tree, {}, _common_root(tree))
    source.reason = f"{classes} names {_what_was_read(source)}"
    return source


def _class_file(tree: SourceTree) -> str | None:
    """The list of classes; the labels of an image that happens to be called ``classes`` are none."""
    by_rank = []
    called_so = {stem_of(image).lower() for image in tree.images} & {stem_of(name) for name in _CLASS_FILES}
    for path in tree.texts("txt", "names"):
        name = posixpath.basename(path).lower()
        if name.endswith(".txt") and stem_of(name) in called_so and looks_like_labels(decode_text(tree.read(path))):
            continue
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
