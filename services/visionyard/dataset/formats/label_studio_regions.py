"""What the result of a Label Studio annotation or prediction says: regions, each joined of all items that share its id, and answers about the whole picture.

The format: https://labelstud.io/guide/export#Label-Studio-JSON-format-of-annotated-tasks. Coordinates are percent of the picture as it is shown, upright.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from visionyard.dataset.findings import Code
from visionyard.dataset.formats.json_stream import as_number
from visionyard.dataset.formats.label_studio_shapes import Geometry, Unreadable, geometry, kind_of
from visionyard.dataset.formats.shapes import Shape, enclosing

_MAX_NAME = 1000
_SHOWN = 60
_SEEN, _HIDDEN = 2, 1
_HIDDEN_CHOICES = frozenset({"hidden", "occluded"})
_RELATION = "relation"

Keypoint = tuple[str, float, float, int]
"""Its name, x and y as shares of the picture, visibility (1 hidden, 2 seen)."""


@dataclass(frozen=True, slots=True)
class Region:
    """A region as it counts: one label for each of its classes.

    Attributes:
        where: What a message calls it.
        image: The Image tag that it was drawn on; empty where it does not say.
        page: Which of that tag's pictures, from 0.
        classes: What it is labelled as; may be none where there is a problem.
        shape: What it is.
        box: Left, top, right, bottom as shares; empty where the points tell.
        points: As shares; none of a region with keypoints.
        keypoints: Those that belong to it.
        problem: Why it cannot be used, or None.
        message: What is the matter, the end of a sentence that begins with ``where``.
        score: How sure a model was; None where it does not say.
        size: The picture's width and height in pixels as written; zeros where they are not.
    """

    where: str
    image: str = ""
    page: int = 0
    classes: tuple[str, ...] = ()
    shape: Shape = Shape.BOX
    box: tuple[float, ...] = ()
    points: tuple[float, ...] = ()
    keypoints: tuple[Keypoint, ...] = ()
    problem: Code | None = None
    message: str = ""
    score: float | None = None
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class PictureChoice:
    """An answer about the whole picture.

    Attributes:
        control: The control's name.
        image: As in :class:`Region`, likewise ``score``.
        choices: What was chosen.
    """

    control: str
    image: str
    choices: tuple[str, ...]
    score: float | None


@dataclass
class Result:
    """What a result holds.

    Attributes:
        regions: In the result's order; keypoints that belong to a region are part of it.
        choices: About the whole picture.
        ignored: Answers that no version can hold: the control's name and type of each.
    """

    regions: list[Region] = field(default_factory=list)
    choices: list[PictureChoice] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


@dataclass(eq=False)
class _Draft:
    """A region while its items are being joined."""

    number: int
    kind: str
    item: dict[str, Any]
    value: dict[str, Any]
    classes: dict[str, None] = field(default_factory=dict)
    answers: dict[str, None] = field(default_factory=dict)
    keypoints: dict[str, Keypoint] = field(default_factory=dict)

    @property
    def where(self) -> str:
        name = plain(self.item.get("id"))
        return f"region {name[:_SHOWN]!r}" if name else f"region {self.number}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Its own labels; where it has none, what was chosen about it."""
        return tuple(self.classes or self.answers)


def plain(value: object) -> str:
    """A text as it can be stored and written: without lone surrogates, 1,000 characters at most; empty for what is no text."""
    if not isinstance(value, str):
        return ""
    text = value[:_MAX_NAME]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def read_result(result: list[Any]) -> Result:
    """Reads a result.

    Args:
        result: The ``result`` of an annotation or prediction.
    """
    found = Result()
    drafts: list[_Draft | Region] = []
    by_id: dict[str, _Draft] = {}
    others: list[dict[str, Any]] = []
    for number, item in enumerate(result, start=1):
        value = item.get("value") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(value, dict):
            if not isinstance(item, dict) or item.get("type") != _RELATION:
                drafts.append(Region(f"item {number}", problem=Code.MALFORMED_LABEL, message="is no object with a value"))
            continue
        kind = kind_of(item, value)
        if not kind:
            others.append(item)
            continue
        name = plain(item.get("id"))
        draft = by_id.get(name) if name else None
        # Several controls may label one region; each writes the region anew. Where it lies elsewhere, the id was only used again.
        if draft is None or not _same_place(draft.value, value):
            draft = _Draft(number, kind, item, value)
            drafts.append(draft)
            if name:
                by_id.setdefault(name, draft)
        draft.classes.update(dict.fromkeys(_labels(kind, value)))
    for item in others:
        _answer(item, by_id, found)
    grouped = _group_keypoints(drafts, by_id, result)
    found.regions = [draft if isinstance(draft, Region) else _region(draft) for draft in drafts if draft not in grouped]
    return found


def _same_place(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(key) == other.get(key) for key in ("x", "y", "width", "height", "points"))


def _labels(kind: str, value: dict[str, Any]) -> list[str]:
    for key in (f"{kind}labels", "labels"):
        if isinstance(value.get(key), list):
            return [name for name in map(plain, value[key]) if name]
    return []


def _answer(item: dict[str, Any], by_id: dict[str, _Draft], found: Result) -> None:
    """An item that is no region: joined to its region, taken as one about the picture, or ignored."""
    value, type_ = item["value"], plain(item.get("type")).lower()
    draft = by_id.get(plain(item.get("id")))
    chosen = value.get(type_)
    names = [name for name in map(plain, chosen if isinstance(chosen, list) else [chosen]) if name]
    control = plain(item.get("from_name"))
    if draft is not None and type_ in {"labels", "choices"}:
        (draft.classes if type_ == "labels" else draft.answers).update(dict.fromkeys(names))
        if type_ == "labels" or not draft.classes or draft.kind == "keypoint":
            return
    elif type_ == "choices" and not isinstance(value.get("x"), int | float):
        found.choices.append(PictureChoice(control, plain(item.get("to_name")), tuple(names), score_of(item)))
        return
    found.ignored.append(f"{control or 'a control without name'} ({type_ or 'of no type'})")


def _group_keypoints(drafts: list[_Draft | Region], by_id: dict[str, _Draft], result: list[Any]) -> set[_Draft | Region]:
    """Gives each keypoint to its rectangle: its parent (``parentID``), or the one that a relation joins it with. Returns those that were given away."""
    parents: dict[int, _Draft] = {}
    for one, other in _relations(result):
        pair = by_id.get(one), by_id.get(other)
        for point, box in (pair, pair[::-1]):
            if point and box and point.kind == "keypoint" and box.kind == "rectangle":
                parents.setdefault(id(point), box)
    grouped: set[_Draft | Region] = set()
    for draft in drafts:
        if not isinstance(draft, _Draft) or draft.kind != "keypoint":
            continue
        parent = by_id.get(plain(draft.item.get("parentID")))
        box = parent if parent and parent.kind == "rectangle" else parents.get(id(draft))
        x, y = as_number(draft.value.get("x")), as_number(draft.value.get("y"))
        name = next(iter(draft.classes), "")
        if box is None or x is None or y is None or not name or name in box.keypoints:
            continue
        hidden = any(answer.lower() in _HIDDEN_CHOICES for answer in draft.answers)
        box.keypoints[name] = name, x / 100, y / 100, _HIDDEN if hidden else _SEEN
        grouped.add(draft)
    return grouped


def _relations(result: list[Any]) -> Iterator[tuple[str, str]]:
    for item in result:
        if isinstance(item, dict) and item.get("type") == _RELATION:
            yield plain(item.get("from_id")), plain(item.get("to_id"))


def _region(draft: _Draft) -> Region:
    """A joined region as it counts."""
    item = draft.item
    image, page = plain(item.get("to_name")), as_number(item.get("item_index"))
    place = image, int(page) if page is not None and 0 <= page < 1 << 20 else 0
    try:
        shape = geometry(draft.kind, item, draft.value)
    except Unreadable as error:
        return Region(draft.where, *place, problem=error.code, message=str(error))
    if not draft.labels:
        return Region(draft.where, *place, problem=Code.UNKNOWN_CLASS, message="has no label")
    return _counted(draft, place, shape)


def _counted(draft: _Draft, place: tuple[str, int], found: Geometry) -> Region:
    shape, box, points = found.shape, found.box, found.points
    keypoints = tuple(draft.keypoints.values())
    if keypoints:
        shape, box, points = Shape.KEYPOINTS, box or enclosing(points), ()
    return Region(draft.where, *place, draft.labels, shape, box, points, keypoints, score=score_of(draft.item), size=found.size)


def score_of(item: dict[str, Any]) -> float | None:
    """How sure a model was, from 0 to 1; None where it does not say so in a number."""
    score = as_number(item.get("score"))
    return min(max(score, 0.0), 1.0) if score is not None and not math.isnan(score) else None
