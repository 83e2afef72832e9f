"""What every format is read into: images with their splits, classes, and label rows on demand."""

from __future__ import annotations

import abc
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from visionyard.dataset.findings import MAX_LISTED, Code
from visionyard.dataset.formats.shapes import LabelRow
from visionyard.dataset.formats.staged import SourceImages
from visionyard.dataset.staging import Staging
from visionyard.kit.artifacts.dataset import KeypointLayout

_SPLIT = re.compile(r"(train|training|val|valid|validation|test|testing)(?:[-_]?\d{2,4})?\Z", re.IGNORECASE)
_SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}
MAX_CLASSES = 10_000
"""The most classes; the largest public detection sets have about 1,200."""
_MAX_CLASS_NAME = 200
_SAME_SHAPE = 0.01


@dataclass
class Notes:
    """What reading the structure came upon, to be listed: code, message, file, line.

    Of each code only one more than a report lists is kept (so that it says there were more): a list of millions of lines costs no memory.
    """

    items: list[tuple[Code, str, str, int]] = field(default_factory=list)
    _taken: Counter[Code] = field(default_factory=Counter)

    def add(self, code: Code, message: str, file: str = "", line: int = 0) -> None:
        """Takes one."""
        self._taken[code] += 1
        if self._taken[code] <= MAX_LISTED + 1:
            self.items.append((code, message, file, line))


class UnreadLabels(Exception):
    """The file that an image's labels stand in is damaged, so nobody knows what is on the image: it is left out of the set, not taken as background.

    The message is the end of a sentence: why.
    """


class LabelledSource(abc.ABC):
    """A source that was understood.

    Attributes:
        format: As ``--format`` names it: ``yolo``, ``coco``, ...
        reason: Why it was taken for that, in a sentence.
        task: What its labels are for where the source says so itself (a data.yaml with ``kpt_shape``: ``pose``; folders of classes: ``classify``); empty where the
            labels' own shapes tell.
        keypoints: What its keypoints are, where it has some; known for certain only after all rows have been read.
        images: The images of the set.
        left_out: Images of the source that are no part of the set.
        left_out_because: Why, as a code and the end of a sentence about one of them.
        orphans: Labels without an image.
        notes: What else was found.
        file_each: Whether each image's labels are a file of their own, whose path may hold a ``#``.

    Args:
        staging: Where the lists of images lie.
    """

    format: str
    reason: str = ""
    task: str = ""
    keypoints: KeypointLayout | None = None
    file_each: bool = False
    left_out_because: tuple[Code, str] = (Code.IMAGE_NOT_IN_SPLIT, "is in none of the splits that the source names")

    def __init__(self, staging: Staging) -> None:
        self.images = SourceImages(staging)
        self.left_out = SourceImages(staging)
        self.orphans = SourceImages(staging)
        self.notes = Notes()

    @abc.abstractmethod
    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """The labels of an image.

        Args:
            labels: Its :attr:`SourceImage.labels`.
            width: Of the upright picture, in pixels; 0 where it cannot be read and its labels are only counted.
            height: Likewise.

        Raises:
            UnreadLabels: the file that they stand in is damaged; before the first row.
            YardError: ANNOTATION_BOMB.
        """

    def size_of_labels(self, what: str, file: str, written: tuple[int, int], real: tuple[int, int]) -> tuple[int, int]:
        """The size of the picture, in pixels, that labels in pixels were drawn on; lists a difference.

        Pictures that were scaled since they were labelled (the file has another size of the same shape for them) keep their labels in place; where the shape
        differs too, as with labels drawn on a picture that lay on its side, pixels are taken as written.

        Args:
            what: What a message calls the labels, a noun and a verb: ``a.xml was written for``.
            file: Where they stand.
            written: Width and height as the file has them; zeros where it has none.
            real: Those of the upright picture; zeros where it cannot be read.
        """
        if not all(written) or not all(real) or written == real:
            return real
        x, y = written[0] / real[0], written[1] / real[1]
        scaled = abs(x - y) <= _SAME_SHAPE * max(x, y)
        message = f"{what} a picture of {written[0]} x {written[1]} pixels, but it has {real[0]} x {real[1]}"
        self.notes.add(Code.SIZE_MISMATCH, message + ("; its labels were scaled with it" if scaled else ""), file)
        return written if scaled else real

    def file_of(self, labels: str) -> str:
        """The file that labels stand in, for messages; a folder where that tells the class.

        Args:
            labels: A :attr:`SourceImage.labels`.
        """
        return labels if self.file_each else labels.rpartition("#")[0]

    @abc.abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The classes' names by id. Known for certain only after all rows have been read."""

    def final_class_ids(self) -> list[int]:
        """The id in :meth:`class_names` of each ``class_id`` that rows may have, from 0."""
        return list(range(len(self.class_names())))


def split_of_folder(name: str) -> str:
    """``train``, ``val`` or ``test`` for a folder of that name (``valid``, ``train2017``); empty for any other."""
    match = _SPLIT.match(name)
    return _SPLIT_NAMES[match.group(1).lower()] if match else ""


def split_of_path(path: str, root: str) -> str:
    """The split that a path's folders below ``root`` name, the innermost first; empty where none does."""
    below = path[len(root) + 1 :] if root else path
    for folder in reversed(below.split("/")[:-1]):
        if split := split_of_folder(folder):
            return split
    return ""


def clean_class_name(name: str, class_id: int) -> str:
    """A class's name in one printable line of at most 200 characters."""
    text = "".join(c if c.isprintable() else " " for c in name).strip()[:_MAX_CLASS_NAME]
    return text or f"class_{class_id}"
