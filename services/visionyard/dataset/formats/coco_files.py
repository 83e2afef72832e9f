"""Which of a source's JSON files are COCO's, and which of them belong together: one labelling may have a file for each split."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from typing import Any

from visionyard.dataset.formats.json_stream import NotJson, stream_members
from visionyard.dataset.formats.labelled import split_of_folder, split_of_path
from visionyard.dataset.source import SourceTree, stem_of

_HEAD_CHARACTERS = 1 << 18
"""What stands before the first image, category or annotation is no more than licences and a description."""
_HEAD_ITEMS = 10_000
_KINDS = ("person_keypoints", "instances", "panoptic", "captions", "image_info", "stuff")
"""What COCO's own file names begin with; what follows names the split or another part of the set."""
_WORDS = re.compile(r"[_\-. ]+")
_RANK = {"train": 0, "val": 1, "test": 2, "": 3}


def coco_files(tree: SourceTree) -> list[list[str]]:
    """The COCO files of a source by labelling: files of one kind in folders alike but for the split belong together; train first, then val, then test."""
    labellings: dict[str, list[str]] = defaultdict(list)
    for path in tree.each_text("json"):
        tree.check()
        if _is_coco(tree, path):
            labellings[_kind(path)].append(path)
    return [sorted(files, key=lambda path: (_RANK[split_of_file(path)], path)) for files in labellings.values()]


def _is_coco(tree: SourceTree, path: str) -> bool:
    """Whether a file's first image, category or annotation is one of COCO's."""
    try:
        for count, (key, item) in enumerate(stream_members(tree.open(path), tree.check, _HEAD_CHARACTERS)):
            if key in {"images", "categories", "annotations"}:
                return isinstance(item, dict) and _is_item(key, item)
            if count > _HEAD_ITEMS:
                return False
    except NotJson:
        pass
    return False


def _is_item(key: str, item: dict[str, Any]) -> bool:
    if key == "images":
        return "id" in item and bool(item.keys() & {"file_name", "coco_url", "width"})
    if key == "categories":
        return "id" in item and "name" in item
    return "image_id" in item and bool(item.keys() & {"category_id", "bbox", "segmentation", "keypoints", "segments_info", "caption"})


def split_of_file(path: str) -> str:
    """The split that a file's name tells (``instances_val2017.json``), else its folders; empty where neither does."""
    told = [split for word in _WORDS.split(stem_of(path)) if (split := split_of_folder(word))]
    return told[-1] if told else split_of_path(path, "")


def split_word(path: str) -> str:
    """The very word of the file's name that tells the split (``val2017``), which a folder of images may be called too; empty where there is none."""
    told = [word for word in _WORDS.split(stem_of(path)) if split_of_folder(word)]
    return told[-1] if told else ""


def _kind(path: str) -> str:
    """What the files of one labelling have in common."""
    folders = [name for name in posixpath.dirname(path).split("/") if not split_of_folder(name)]
    stem = stem_of(path).lower()
    kind = next((kind for kind in _KINDS if stem.startswith(kind)), None)
    if kind is None:
        kind = "_".join(word for word in _WORDS.split(stem) if not split_of_folder(word))
    return "/".join([*folders, kind])
