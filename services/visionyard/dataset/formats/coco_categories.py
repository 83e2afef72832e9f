"""The categories of COCO files: sparse ids, the classes that they become, and what their keypoints are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from visionyard.dataset.formats.labelled import MAX_CLASSES, clean_class_name
from visionyard.kit.artifacts.dataset import KeypointLayout

MAX_KEYPOINTS = 1000
_SIDE = re.compile(r"left|right|(?<![a-z])[lr](?![a-z])")
_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}
_MAX_KEY = 256


def key_of(written: Any) -> str | None:
    """An id of an image or a category as text, 7 and "7" alike; None for what is no id."""
    if isinstance(written, float) and written.is_integer():
        written = int(written)
    if isinstance(written, bool) or not isinstance(written, int | str):
        return None
    if isinstance(written, int):
        return str(written) if written.bit_length() < _MAX_KEY else None
    return printable(written) if 0 < len(written) <= _MAX_KEY else None


def printable(text: str) -> str:
    """A text without halves of characters (JSON's escapes can write them), which nothing stores."""
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class _Category:
    """A category of one file."""

    file: int
    key: str
    name: str
    keypoints: tuple[str, ...]


class CocoCategories:
    """The categories of a labelling's files, which may have different ones: what is called alike is one class.

    Classes stand in the order of the categories' ids; those that no label is of are kept.
    """

    def __init__(self) -> None:
        self._declared: dict[tuple[int, str], _Category] = {}
        self._met: dict[tuple[int, str], int] = {}
        self._unnamed_keypoints = 0
        self.too_many = False

    def __len__(self) -> int:
        return len(self._declared)

    def declare(self, file: int, item: Any) -> bool:
        """Takes a category; False where it is none, or its id is taken already."""
        key = key_of(item.get("id")) if isinstance(item, dict) else None
        if key is None or (file, key) in self._declared:
            return False
        if len(self._declared) >= MAX_CLASSES:
            self.too_many = True
            return False
        name = item.get("name")
        keypoints = item.get("keypoints")
        named = isinstance(keypoints, list) and len(keypoints) <= MAX_KEYPOINTS and all(isinstance(point, str) for point in keypoints)
        points = tuple(clean_class_name(point, i) for i, point in enumerate(keypoints)) if named else ()
        self._declared[file, key] = _Category(
            file, key, clean_class_name(name if isinstance(name, str) else "", len(self._declared)), points
        )
        return True

    def meet(self, file: int, written: Any) -> int | None:
        """The class id for now of a label's ``category_id``, which may be declared later; None where it cannot be one."""
        key = key_of(written)
        if key is None or ((file, key) not in self._met and len(self._met) >= MAX_CLASSES):
            return None
        return self._met.setdefault((file, key), len(self._met))

    def meet_keypoints(self, count: int) -> None:
        """Hears how many keypoints a label has; the first counts where no category names them."""
        self._unnamed_keypoints = self._unnamed_keypoints or count

    def names(self) -> tuple[str, ...]:
        """The classes' names by final id."""
        return tuple(dict.fromkeys(category.name for category in self._in_order()))

    def _in_order(self) -> list[_Category]:
        return sorted(self._declared.values(), key=lambda category: (*_by_number(category.key), category.file))

    def unknown(self) -> dict[int, str]:
        """The categories that labels are of and no file declares: their id for now, and what is written."""
        return {met: key for (file, key), met in self._met.items() if (file, key) not in self._declared}

    def final_ids(self) -> list[int]:
        """The final id of each id that :meth:`meet` gave; 0 for those of unknown categories."""
        at = {name: i for i, name in enumerate(self.names())}
        declared = (self._declared.get(place) for place in self._met)
        return [at[category.name] if category else 0 for category in declared]

    def keypoints(self) -> KeypointLayout | None:
        """What the keypoints are: as many as the category with the most has; their names where all categories that have some agree. None where there are none."""
        lists = list(dict.fromkeys(category.keypoints for category in self._in_order() if category.keypoints))
        count = max(map(len, lists), default=self._unnamed_keypoints)
        names = lists[0] if len(lists) == 1 else ()
        return KeypointLayout(count, 3, names, mirrored(names)) if count else None


def _by_number(key: str) -> tuple[int, int, str]:
    """Numbers by their value, then the rest by its letters."""
    number = re.fullmatch(r"-?[0-9]{1,18}", key)
    return (0, int(key), "") if number else (1, 0, key)


def mirrored(names: Sequence[str]) -> tuple[int, ...]:
    """Which keypoint each becomes in the mirror, by its name (``left_eye``, ``right_eye``, ``nose``); empty where the names do not tell of all."""
    plain = [name.lower() for name in names]
    at = {name: i for i, name in enumerate(plain)}
    flip = [at.get(_SIDE.sub(lambda side: _OTHER_SIDE[side.group()], name)) for name in plain]
    found = list(_present(flip))
    told = len(at) == len(names) and any(i != j for i, j in enumerate(found))
    return tuple(found) if told and sorted(found) == list(range(len(names))) else ()


def _present(places: Sequence[int | None]) -> Iterator[int]:
    return (place for place in places if place is not None)
