"""Darknet's ``obj.data``: where the lists of images and of classes are (https://github.com/AlexeyAB/darknet#how-to-train-to-detect-your-custom-objects).

It says what a data.yaml says, in lines of ``key = value``; CVAT's "YOLO 1.1" exports hold one.
"""

from __future__ import annotations

import posixpath

from visionyard.dataset.formats.class_list import find_class_list, read_class_list
from visionyard.dataset.formats.data_yaml import DataYaml
from visionyard.dataset.formats.labelled import split_of_folder
from visionyard.dataset.images import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from visionyard.dataset.source import SourceTree, decode_text, stem_of, suffix_of
from visionyard.kit.errors import YardError

_SPLITS = {"train": "train", "valid": "val", "test": "test"}
_MAX_BYTES = 64 << 10
_MOST_READ = 32


def find_darknet(tree: SourceTree) -> DataYaml | None:
    """What a source's ``obj.data`` says, in the words of a data.yaml; None where there is none that names lists of images, or none of classes can be read."""
    candidates = [path for path in tree.texts("data") if tree.size(path) <= _MAX_BYTES]
    for path in sorted(candidates, key=lambda path: (path.count("/"), path))[:_MOST_READ]:
        tree.check()
        said = _said(decode_text(tree.read(path)))
        document: dict[str, object] = {split: said[key] for key, split in _SPLITS.items() if said.get(key)}
        names = _names(tree, posixpath.dirname(path), said.get("names", ""))
        if document and names:
            document["names"] = list(names)
            if said.get("classes"):
                document["nc"] = said["classes"]
            return DataYaml(path, document)
    return _bare_lists(tree)


def _bare_lists(tree: SourceTree) -> DataYaml | None:
    """What ``train.txt``, ``valid.txt`` and ``test.txt`` say where no ``obj.data`` names them but they name images; None where there are none, or no list of classes."""
    lists: dict[str, str] = {}
    for path in sorted(tree.texts("txt"), key=lambda path: (path.count("/"), path)):
        split = split_of_folder(stem_of(path))
        if split and split not in lists and not tree.images_called(stem_of(path)) and _names_images(tree, path):
            lists[split] = path
    classes = find_class_list(tree) if lists else None
    names = _names(tree, "", classes) if classes else ()
    if not classes or not names:
        return None
    root = posixpath.dirname(classes) or "."
    return DataYaml(classes, {**{split: posixpath.relpath(path, root) for split, path in lists.items()}, "names": list(names)})


def _names_images(tree: SourceTree, path: str) -> bool:
    """Whether a text's first line that is not empty is the path of an image."""
    first = next((line for line in decode_text(tree.read(path)).splitlines() if line.strip()), "")
    return suffix_of(first.strip().replace("\\", "/")) in IMAGE_SUFFIXES | UNREAD_SUFFIXES


def _said(text: str) -> dict[str, str]:
    lines = (line.partition("#")[0].partition("=") for line in text.splitlines())
    return {key.strip().lower(): value.strip() for key, equals, value in lines if equals}


def _names(tree: SourceTree, root: str, written: str) -> tuple[str, ...]:
    """The classes in the list that is named, or in the one that lies somewhere; empty where there is none."""
    path = posixpath.normpath(posixpath.join(root, written.replace("\\", "/"))) if written else ""
    found = tree.find(path) if path else None
    if not found or not tree.is_text(found):
        called = tree.texts_called(stem_of(path), suffix_of(path)) if path else []
        found = called[0] if called else find_class_list(tree)
    try:
        return read_class_list(tree, found) if found else ()
    except YardError:
        return ()
