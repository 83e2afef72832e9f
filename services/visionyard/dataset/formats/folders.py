"""Image folders for classification: a folder a class, in ``train``, ``val`` and ``test`` or in one tree (https://docs.ultralytics.com/datasets/classify/).

As torchvision's ``ImageFolder`` does, with which Ultralytics reads them, the topmost folder is the class and what lies in folders below it belongs to it; so that a class may
also hold its splits (``cat/train``), and folders around the whole set mean nothing.

Nothing in such a source says that it is one. So it is told only where no other labelling was found, and not where folders or files look like those of one: a YOLO set
whose labels cannot be read must not become a classification of ``images`` and ``masks``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from visionyard.dataset.formats.labelled import MAX_CLASSES, LabelledSource, clean_class_name, split_of_folder
from visionyard.dataset.formats.labelling import Labelling
from visionyard.dataset.formats.shapes import LabelRow, Shape
from visionyard.dataset.formats.staged import SourceImage
from visionyard.dataset.source import SourceTree

_NO_CLASSES = re.compile(
    r"images?|imgs?|jpegimages|labels?|annotations?|imagesets|segmentation(class|object).*|masks?|(obj|yolo)_\w*data|ground_?truths?|gt|depth|thumbnails?|\W*",
    re.IGNORECASE,
)
"""Folders of other layouts: where one of them holds images, its neighbours are no classes either."""
_MIN_CLASSES = 2


def find_folders(tree: SourceTree) -> list[Labelling]:
    """The classification that a source's folders make, if they do: two classes or more, none of them called as other layouts' folders are."""
    root = _root(tree.image_folders())
    names: set[str] = set()
    for folder in tree.image_folders():
        tree.check()
        _, name = _place(folder, root)
        if name is not None:
            if _NO_CLASSES.fullmatch(name):
                return []
            names.add(name)
        if len(names) > MAX_CLASSES:
            return []
    if len(names) < _MIN_CLASSES:
        return []
    return [Labelling("folders", root or "the source", lambda: FolderSource(tree, root, sorted(names)))]


def has_label_files(tree: SourceTree) -> bool:
    """Whether any image has a text of its name that may hold its labels: such a source is no mere tree of folders."""
    statement = "SELECT 1 FROM files i JOIN files t ON t.stem = i.stem WHERE i.image AND t.suffix IN ('txt', 'xml', 'json') LIMIT 1"
    return tree.staging.one(statement) is not None


def _root(folders: Iterable[str]) -> str:
    """The folder that holds the splits or classes: the innermost around all images, or the one above where that is called as a split."""
    common: list[str] | None = None
    for folder in folders:
        names = folder.split("/") if folder else []
        if common is None:
            common = names
        while names[: len(common)] != common:
            common.pop()
    common = common or []
    while common and split_of_folder(common[-1]):
        common.pop()
    return "/".join(common)


def _place(folder: str, root: str) -> tuple[str, str | None]:
    """The split and the class that a folder below the root means: the first name that is a split's, and the first that is not."""
    below = folder[len(root) :].strip("/")
    names = below.split("/") if below else []
    split = next((split for name in names[:2] if (split := split_of_folder(name))), "")
    return split, next((name for name in names if not split_of_folder(name)), None)


class FolderSource(LabelledSource):
    """A classification that folders make.

    Args:
        tree: The source.
        root: The folder that holds the splits or classes.
        names: The classes, sorted.
    """

    format = "folders"
    task = "classify"

    def __init__(self, tree: SourceTree, root: str, names: list[str]) -> None:
        super().__init__(tree.staging)
        self._names = names
        self._take(tree, root)
        self.reason = f"there are no labels but {len(names)} folders of images, which are taken for classes"

    def _take(self, tree: SourceTree, root: str) -> None:
        ids = {name: i for i, name in enumerate(self._names)}
        has_splits = any(_place(folder, root)[0] for folder in tree.image_folders())
        for image in tree.images():
            tree.check()
            folder = image.rpartition("/")[0]
            split, name = _place(folder, root)
            labels = "" if name is None else f"{folder}#{ids[name]}"
            (self.left_out if has_splits and not split else self.images).append(SourceImage(image, split, labels))

    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:  # noqa: ARG002 - the whole picture, whatever its size
        """See :meth:`LabelledSource.rows`: the one class of the picture."""
        yield LabelRow(0, class_id=int(labels.rpartition("#")[2]), cx=0.5, cy=0.5, w=1.0, h=1.0, shape=Shape.IMAGE)

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`LabelledSource.class_names`: in the order in which torchvision sorts folders."""
        return tuple(clean_class_name(name, i) for i, name in enumerate(self._names))
