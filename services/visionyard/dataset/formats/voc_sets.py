"""Reads ``ImageSets/Main``: which images of a Pascal VOC source are in which split.

A source may hold several years side by side (``VOCdevkit/VOC2007``, ``VOCdevkit/VOC2012``), each with lists of its own that speak of its own images.
"""

from __future__ import annotations

import itertools
import posixpath
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.labelled import Notes
from visionyard.dataset.formats.split_table import SplitTable
from visionyard.dataset.source import SourceTree, decode_text, stem_of

_SET_LISTS = {"train.txt": "train", "val.txt": "val", "test.txt": "test"}
_CLASS_FLAGS = frozenset({"-1", "0", "1"})
"""What follows the name in a list of one class: not in the picture, difficult, in it."""
_LINES_A_CHECK = 1024


def set_splits(tree: SourceTree, is_member: Callable[[str], bool], notes: Notes) -> SplitTable:
    """The split of each image that the lists name; empty where there are no usable lists.

    An entry means an image below the list's own root (the folder that holds ``ImageSets``), or else one that is below no list's root.

    Args:
        tree: The source.
        is_member: Whether an image belongs to the set; of those of one name below one root the first counts.
        notes: Gets SPLIT_ENTRY_WITHOUT_IMAGE and SPLIT_LEAKAGE.
    """
    roots = _lists(tree)
    named = SplitTable(tree.staging)
    for root, lists in roots.items():
        for name, split in _SET_LISTS.items():
            if name not in lists:
                continue
            path = lists[name]
            for number, line in enumerate(decode_text(tree.read(path)).splitlines(), start=1):
                if number % _LINES_A_CHECK == 0:
                    tree.check()
                entry = line.strip()
                if not entry:
                    continue
                image = _find(entry, root, roots, tree, is_member)
                if image is None:
                    notes.add(Code.SPLIT_ENTRY_WITHOUT_IMAGE, f"{path} names {entry[:100]!r}, which is not there", path, number)
                    continue
                first = named.of(image)
                if first is None:
                    named.add(split, image)
                elif first != split:
                    message = f"{entry[:100]!r} is in the lists of {first} and {split}; it was kept in {first}"
                    notes.add(Code.SPLIT_LEAKAGE, message, path, number)
    return named


def _lists(tree: SourceTree) -> dict[str, dict[str, str]]:
    """The list of each file name, by the root that holds ``ImageSets``; a root's train and val together count as train where that has no list."""
    roots: dict[str, dict[str, str]] = defaultdict(dict)
    for path in tree.texts("txt"):
        folders = posixpath.dirname(path).split("/")
        if folders[-1].lower() == "main":
            folders.pop()
        if folders and folders[-1].lower() == "imagesets":
            # Sorted: what lies in Main comes before what lies beside it.
            roots["/".join(folders[:-1])].setdefault(posixpath.basename(path).lower(), path)
    for lists in roots.values():
        if "train.txt" not in lists and "trainval.txt" in lists:
            lists["train.txt"] = lists["trainval.txt"]
    return dict(roots)


def _folders(path: str) -> Iterator[str]:
    """Every folder that a file lies below, the innermost first, the source's own (the empty path) last."""
    while path:
        path = posixpath.dirname(path)
        yield path


def _find(entry: str, root: str, roots: Collection[str], tree: SourceTree, is_member: Callable[[str], bool]) -> str | None:
    """The image that a line means: a name may hold blanks and be followed by a class's flag."""
    *name, last = entry.rsplit(maxsplit=1)
    named = [*name, entry.split(maxsplit=1)[0]] if last in _CLASS_FLAGS else [entry.split(maxsplit=1)[0]]
    elsewhere: str | None = None
    for spelling in dict.fromkeys((entry, *named)):
        *folders, base = spelling.split("/")
        for stem in dict.fromkeys((base, stem_of(base))):
            # Of "clip7/000001", as ImageNet's videos are listed, only the picture in clip7 is meant.
            for image in itertools.chain.from_iterable(tree.images_near(folders, stem)):
                above = set(_folders(image))
                if root in above and is_member(image):
                    return image
                if elsewhere is None and not above & set(roots) and is_member(image):
                    elsewhere = image
    return elsewhere
