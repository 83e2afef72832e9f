"""Reads the structure of a YOLO source: which images, in which splits, with which label files and classes.

Three layouts, sub-folders allowed for each: a ``data.yaml`` under any name that names the splits (Ultralytics, Roboflow); image and label folders side by side in
either order (``images/train``, ``train/images``) with a ``classes.txt`` (Label Studio, labelImg); labels beside their images (Darknet's ``obj_train_data``, with the lists that its ``obj.data`` names).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.class_list import find_class_list, other_class_lists, read_class_list
from visionyard.dataset.formats.darknet import find_darknet
from visionyard.dataset.formats.data_yaml import DataYaml, find_data_yaml, read_keypoints, read_names, read_splits, set_root
from visionyard.dataset.formats.labelled import (
    LabelledSource,
    Notes,
    UnreadLabels,
    split_of_folder,
    split_of_path,
)
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.shapes import LabelRow
from visionyard.dataset.formats.split_table import SplitTable
from visionyard.dataset.formats.staged import SourceImage
from visionyard.dataset.formats.yolo_rows import hold_labels, looks_like_labels, read_rows
from visionyard.dataset.source import SourceTree, decode_text, stem_of
from visionyard.kit.artifacts.dataset import KeypointLayout
from visionyard.kit.errors import Reason, YardError

_IMAGE_FOLDERS = frozenset({"images", "image", "img", "imgs", "jpegimages"})
_LABEL_FOLDERS = ("labels", "label", "txt", "annotations")
_NO_LABEL_FILES = frozenset({"classes", "predefined_classes", "notes", "readme", "license", "source"})
"""Texts about the set itself, unless there is an image of that very name."""
_IMAGES_A_CHECK = 1024
_MAX_REMEMBERED = 100_000


def find_yolo(tree: SourceTree) -> list[Labelling]:
    """The YOLO labelling of a source: told by a text of label rows beside any image, or, where there are no images, beside a list of classes."""
    data = find_data_yaml(tree)
    if not data.path and (darknet := find_darknet(tree)):
        darknet.unread = data.unread
        data = darknet
    if not _has_labels(tree, data):
        return []
    return [Labelling("yolo", data.path or "labels", lambda: read_yolo(tree, data), declared=data.declares)]


def _has_labels(tree: SourceTree, data: DataYaml) -> bool:
    seen: set[str] = set()
    for image in tree.images_with_text("txt"):
        tree.check()
        labels = next(_label_files(tree, image), "")
        if labels and data.names_splits:
            return True  # whatever the rows are like: what is wrong with each is said when they are read
        if labels and labels not in seen:
            if len(seen) < _MAX_REMEMBERED:
                seen.add(labels)
            if looks_like_labels(decode_text(tree.read(labels))):
                return True
    if tree.image_count and not tree.texts("txt"):
        return False
    if not data.path and find_class_list(tree) is None:
        return False
    # No label lies where an image's should; some may lie elsewhere, or beside no image at all.
    return any(_is_label(tree, path) for path in tree.each_text("txt"))


def _is_label(tree: SourceTree, path: str) -> bool:
    tree.check()
    stem = stem_of(path).lower()
    return stem not in _NO_LABEL_FILES and bool(text := tree.read(path).strip()) and looks_like_labels(decode_text(text))


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
        if found and tree.is_text(found) and (found == candidate or not _is_another_s(tree, image, found)):
            yield found


def _is_another_s(tree: SourceTree, image: str, labels: str) -> bool:
    """Whether a label file that differs from the image's name in case belongs to another image that does not: of ``A.jpg`` and ``a.jpg`` only one has ``a.txt``."""
    stem, folder = stem_of(labels), posixpath.dirname(image)
    others = tree.images_called(stem)
    return any(other != image and stem_of(other) == stem and posixpath.dirname(other) == folder for other in others)


class YoloSource(LabelledSource):
    """A YOLO source. Build it with :func:`read_yolo`."""

    format = "yolo"
    file_each = True

    def __init__(self, tree: SourceTree, names: tuple[str, ...], notes: Notes, keypoints: KeypointLayout | None = None) -> None:
        super().__init__(tree.staging)
        self.notes = notes
        self.keypoints = keypoints
        self.task = "pose" if keypoints else ""
        self._tree = tree
        self._names = names

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:  # noqa: ARG002 - shares need no picture
        """See :meth:`LabelledSource.rows`."""
        text = decode_text(self._tree.read(labels))
        if "\0" in text or "\ufffd" in text:  # a disk that was full leaves zeros; Ultralytics, too, leaves such a picture out
            raise UnreadLabels("it holds bytes that are no text")
        return read_rows(text, len(self._names), self.keypoints)

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
    for path in data.others:
        notes.add(Code.OTHER_LABELLING, f"{path} names another set; only that of {data.path} was read", path)
    for path, why in data.unread:
        notes.add(Code.YAML_UNREAD, f"{path} was not read: {why}", path)
    if not data.path:
        return _read_without_yaml(tree, data, notes)
    source = YoloSource(tree, read_names(data, notes), notes, read_keypoints(data, notes))
    placed = read_splits(tree, data, notes)
    _take(source, tree, placed, set_root(data.root, placed.folders()))
    source.reason = f"{data.path} names {_what_was_read(source)}"
    return source


def _what_was_read(source: YoloSource) -> str:
    return f"{len(source.class_names())} classes, and {source.images.labelled()} of {len(source.images)} images have a YOLO label file"


def _take(source: YoloSource, tree: SourceTree, placed: SplitTable, root: str) -> None:
    """Fills in images, those left out, and orphans, from each image's split (empty: the source does not tell)."""
    staging = tree.staging
    staging.run("DROP TABLE IF EXISTS claimed")
    staging.run("CREATE TABLE claimed (labels TEXT PRIMARY KEY, image TEXT, first INT, taken INT DEFAULT 0) WITHOUT ROWID")
    named = len(placed) > 0
    for number, image in enumerate(_members(tree, placed, root)):
        if number % _IMAGES_A_CHECK == 0:
            tree.check()
        for position, labels in enumerate(_label_files(tree, image)):
            staging.run("INSERT OR IGNORE INTO claimed (labels, image, first) VALUES (?, ?, ?)", (labels, image, position == 0))
    # Labels in another tree altogether are looked for only where none lies beside its image: else they are another labelling's.
    in_place = staging.one("SELECT 1 FROM claimed LIMIT 1") is not None
    for image in _members(tree, placed, root):
        # Where the YAML's paths lead nowhere, the folders' names tell.
        split = placed.of(image) if named else split_of_path(image, root)
        labels = next(_label_files(tree, image), "") or ("" if in_place else _label_elsewhere(tree, image))
        staging.run("UPDATE claimed SET taken = 1 WHERE labels = ?", (labels,))
        (source.left_out if split is None else source.images).append(SourceImage(image, split or "", labels))
    _name_others(source, tree)
    for path in _orphans(tree, root):
        source.orphans.append(SourceImage("", labels=path))


def _name_others(source: YoloSource, tree: SourceTree) -> None:
    """Lists that images have further files of labels, which were not read: a second tree of them may be the better one."""
    count, first = 0, ""
    for path, image in tree.staging.query("SELECT labels, image FROM claimed WHERE NOT taken ORDER BY labels"):
        tree.check()
        text = decode_text(tree.read(path))
        if text.strip() and looks_like_labels(text):
            count, first = count + 1, first or f"{path} beside that of {image}"
    if count:
        files = "a second file" if count == 1 else f"{count} second files"
        source.notes.add(
            Code.OTHER_LABELLING, f"images have {files} of labels, which were not read: {first}{' is the first' if count > 1 else ''}"
        )


def _members(tree: SourceTree, placed: SplitTable, root: str) -> Iterator[str]:
    """The images below the root, then those elsewhere that a split names."""
    yield from tree.images_under(root)
    if root:
        yield from (image for image in placed.images() if not image.startswith(f"{root}/"))


def _label_elsewhere(tree: SourceTree, image: str) -> str:
    """The label file of an image that has none where it should be: the only text of its stem, if no other image has that stem or wants the text."""
    stem = stem_of(image)
    texts = [path for path in tree.texts_called(stem, "txt") if tree.staging.one("SELECT 1 FROM claimed WHERE labels = ?", (path,)) is None]
    if len(texts) != 1 or len(tree.images_called(stem)) != 1:
        return ""
    text = decode_text(tree.read(texts[0]))
    if "\0" not in text and not looks_like_labels(text):  # zeros: it is damaged, not another text
        return ""
    tree.staging.run("INSERT INTO claimed (labels, image, first) VALUES (?, ?, ?)", (texts[0], image, True))
    return texts[0]


def _orphans(tree: SourceTree, root: str) -> Iterator[str]:
    """The label files of no image: texts like labels beside those of images, or in any label folder below the root.

    A second file that may be an image's labels is no orphan (the table ``claimed``).
    """
    staging = tree.staging
    folders = {
        folder for (folder,) in staging.query("SELECT DISTINCT f.folder FROM files f JOIN claimed c ON f.path = c.labels WHERE c.first")
    }
    for path in tree.each_text("txt"):
        tree.check()
        folder, stem = posixpath.dirname(path), stem_of(path).lower()
        if staging.one("SELECT 1 FROM claimed WHERE labels = ?", (path,)) or (stem in _NO_LABEL_FILES and not tree.images_called(stem)):
            continue
        wanted = folder in folders or _is_label_folder(folder, root) or not tree.image_count
        if wanted and hold_labels(decode_text(tree.read(path))):
            yield path


def _is_label_folder(folder: str, root: str) -> bool:
    """Whether a folder is a label folder or lies in one, below the root."""
    below = folder[len(root) :] if f"{folder}/".startswith(f"{root}/" if root else "") else ""
    return any(name.lower() in _LABEL_FOLDERS for name in below.split("/"))


# --- without a data.yaml


def _read_without_yaml(tree: SourceTree, data: DataYaml, notes: Notes) -> YoloSource:
    classes = find_class_list(tree)
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
    source = YoloSource(tree, read_class_list(tree, classes), notes)
    for other in other_class_lists(tree, classes, source.class_names()):
        notes.add(
            Code.CLASSES_MISMATCH,
            f"{other} names other classes than {classes}, or in another order; the latter was taken for all labels",
            other,
        )
    _take(source, tree, SplitTable(tree.staging), _common_root(tree))
    source.reason = f"{classes} names {_what_was_read(source)}"
    return source


def _common_root(tree: SourceTree) -> str:
    """The folder that holds everything; what wraps the set may be called ``train`` without meaning a split."""
    folders = list(tree.image_folders())
    root = posixpath.commonpath(folders) if folders and all(folders) else ""
    # .../images and .../train belong to the set; the folder above them is its root.
    while root and (posixpath.basename(root).lower() in _IMAGE_FOLDERS or split_of_folder(posixpath.basename(root))):
        root = posixpath.dirname(root)
    return root
