"""What every format is read into: images with their splits, classes, and label rows on demand."""

from __future__ import annotations

import abc
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from visionyard.dataset.findings import MAX_LISTED, Code

_SPLIT = re.compile(r"(train|training|val|valid|validation|test|testing)(?:[-_]?\d{2,4})?\Z", re.IGNORECASE)
_SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}
MAX_CLASSES = 10_000
"""The most classes; the largest public detection sets have about 1,200."""
_MAX_CLASS_NAME = 200


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One label as its source has it.

    Attributes:
        line: Where in its file, from 1.
        problem: Why it cannot be used; None where it can, as far as its own row tells.
        message: The end of a sentence about the problem, which begins with file and line.
        class_id: From 0.
        cx: The centre's x as a share of the picture's width.
        cy: The centre's y as a share of its height.
        w: The width as a share.
        h: The height as a share.
        note: Something worth listing about a label that is used.
    """

    line: int
    problem: Code | None = None
    message: str = ""
    class_id: int = 0
    cx: float = 0.0
    cy: float = 0.0
    w: float = 0.0
    h: float = 0.0
    note: Code | None = None


@dataclass(frozen=True)
class SourceImage:
    """An image that belongs to the set.

    Attributes:
        path: In the source.
        split: ``train``, ``val`` or ``test``; empty where the source does not tell.
        labels: The path of its label file; empty for a background image.
    """

    path: str
    split: str
    labels: str = ""


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


class LabelledSource(abc.ABC):
    """A source that was understood.

    Attributes:
        format: ``yolo`` or ``voc``.
        reason: Why it was taken for that, in a sentence.
        images: The images of the set, sorted by path.
        left_out: Images of the source that are in no split although it names splits, sorted.
        orphans: Label files without an image, sorted.
        notes: What else was found.
    """

    format: str
    reason: str

    def __init__(self) -> None:
        self.images: list[SourceImage] = []
        self.left_out: list[SourceImage] = []
        self.orphans: list[str] = []
        self.notes = Notes()

    @abc.abstractmethod
    def rows(self, labels: str, width: int, height: int) -> Iterator[LabelRow]:
        """The rows of a label file.

        Args:
            labels: Its path.
            width: Of its picture, in pixels.
            height: Of its picture, in pixels.

        Raises:
            YardError: ANNOTATION_BOMB.
        """

    @abc.abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The classes' names by id. Known for certain only after all rows have been read."""

    def final_class_id(self, class_id: int) -> int:
        """The id in :meth:`class_names` of what a row calls ``class_id``."""
        return class_id


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
