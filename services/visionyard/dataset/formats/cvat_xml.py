"""One CVAT annotation file, version 1.1, for images or for video, read as a stream: what its elements say, with the line of each.

The format: https://docs.cvat.ai/docs/manual/advanced/xml_format/. A file of images has ``<image>`` elements with shapes in them; one of a video has ``<track>``
elements with a shape for each frame in which the object is seen, and one more, ``outside="1"``, for the frame in which it has gone, which is no label.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from visionyard.dataset.formats.labelled import MAX_CLASSES
from visionyard.dataset.formats.xml_reader import ByteReader, Enough, NotXml, pixels, read_xml

SHAPES = frozenset({"box", "polygon", "polyline", "points", "ellipse", "mask", "cuboid", "skeleton", "tag"})
MAX_NAME = 1000
"""Characters of a label's or keypoint's name."""
MAX_KEYPOINTS = 1000
"""Of one skeleton."""
_ITEM_DEPTH = 2
_SHAPE_DEPTH = 3
YES = frozenset({"1", "true", "True"})


@dataclass
class CvatMeta:
    """What a file says about itself before its first image or track.

    Attributes:
        labels: The labels' names, in the order in which they are declared; those of a skeleton's points are not among them.
        points: The names of the points of each skeleton label, in their order.
        subset: The task's subset; empty where there is none, or a project's tasks have several.
    """

    labels: list[str] = field(default_factory=list)
    points: dict[str, list[str]] = field(default_factory=dict)
    subset: str = ""


@dataclass(frozen=True, slots=True)
class CvatImage:
    """An image, or a frame of a video.

    Attributes:
        name: As written; of a frame the name that CVAT gives its picture, without extension.
        subset: As written.
        width: In pixels, 0 where it is not told.
        height: Likewise.
        task: The task of a frame's video, as written; empty where the file holds one task.
        frame: The frame's number in the video; -1 for an image.
    """

    name: str
    subset: str
    width: int = 0
    height: int = 0
    task: str = ""
    frame: int = -1


@dataclass(slots=True)
class CvatShape:
    """A shape or a tag.

    Attributes:
        line: Where its element begins.
        kind: The element's name.
        label: As written.
        attributes: As written.
        points: Of a skeleton: the attributes of each of its points, 1,001 at most.
        by_model: Whether a model drew it and nobody changed it since (``source="auto"``).
    """

    line: int
    kind: str
    label: str
    attributes: dict[str, str]
    points: list[dict[str, str]] = field(default_factory=list)
    by_model: bool = False


class Sink(Protocol):
    """Takes what a file holds, in the file's order."""

    def image(self, image: CvatImage) -> None:
        """An image begins; the shapes that follow are its."""

    def shape(self, shape: CvatShape) -> None:
        """A shape of the image that was named last."""

    def image_ends(self) -> None:
        """All shapes of an image were given; of a frame that is known only at the file's end."""


class _Meta:
    """Reads what stands before the first image or track, and no more."""

    def __init__(self) -> None:
        self.meta = CvatMeta()
        self.is_cvat = False
        self._name = self._parent = ""

    def start(self, path: list[str], _: dict[str, str], __: int) -> None:
        if path[0] != "annotations":
            raise NotXml(f"its root is <{path[0][:40]}>, not <annotations>")
        if len(path) == _ITEM_DEPTH and path[1] in {"meta", "image", "track"}:
            self.is_cvat = True
            if path[1] != "meta":
                raise Enough
        elif path[-1] == "label":
            self._name = self._parent = ""

    def end(self, path: list[str], text: str) -> None:
        if path == ["annotations", "meta"]:
            raise Enough
        if path[-3:-1] == ["labels", "label"] and path[-1] == "name":
            self._name = text[:MAX_NAME]
        elif path[-3:-1] == ["labels", "label"] and path[-1] == "parent":
            self._parent = text[:MAX_NAME]
        elif path[-2:] == ["labels", "label"] and self._name:
            self._declare()
        elif len(path) == 4 and path[2] in {"task", "job"} and path[3] == "subset":  # noqa: PLR2004 - annotations/meta/task/subset; a project's tasks lie deeper
            self.meta.subset = text[:MAX_NAME]

    def _declare(self) -> None:
        if self._parent:
            points = self.meta.points.setdefault(self._parent, []) if len(self.meta.points) < MAX_CLASSES else []
            if len(points) < MAX_KEYPOINTS:
                points.append(self._name)
        elif len(self.meta.labels) < MAX_CLASSES:
            self.meta.labels.append(self._name)


def read_meta(stream: ByteReader, file: str) -> CvatMeta | None:
    """What a file says about itself; None where it is none of CVAT's.

    Args:
        stream: Its bytes, of which only the beginning is read.
        file: Its path in the source.

    Raises:
        YardError: ANNOTATION_BOMB.
    """
    handler = _Meta()
    with contextlib.suppress(NotXml):  # whoever reads the whole file comes upon the damage
        read_xml(stream, file, handler)
    return handler.meta if handler.is_cvat else None


class _Items:
    """Reads the images, tracks and shapes."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._track: dict[str, str] | None = None
        self._skeleton: CvatShape | None = None

    def start(self, path: list[str], attributes: dict[str, str], line: int) -> None:
        depth = len(path)
        if depth == _ITEM_DEPTH:
            self._item(path[1], attributes)
        elif depth == _SHAPE_DEPTH and path[1] in {"image", "track"}:
            self._shape(path[2], attributes, line)
        elif (
            depth == _SHAPE_DEPTH + 1
            and self._skeleton is not None
            and path[3] != "attribute"
            and len(self._skeleton.points) <= MAX_KEYPOINTS
        ):
            self._skeleton.points.append(attributes)

    def _item(self, name: str, attributes: dict[str, str]) -> None:
        self._track = attributes if name == "track" else None
        if name == "image":
            size = pixels(attributes.get("width", "")), pixels(attributes.get("height", ""))
            self._sink.image(CvatImage(attributes.get("name", ""), attributes.get("subset", ""), *size))

    def _shape(self, kind: str, attributes: dict[str, str], line: int) -> None:
        track = self._track
        # What future versions may call a shape has a label too; in a track it has a frame.
        if kind not in SHAPES and ("frame" if track is not None else "label") not in attributes:
            return
        if track is not None:
            if attributes.get("outside") in YES:
                return
            self._sink.image(_frame(attributes.get("frame", ""), track))
        named = attributes if track is None else track
        shape = CvatShape(line, kind, named.get("label", "").strip(), attributes, by_model=named.get("source") == "auto")
        if kind == "skeleton":
            self._skeleton = shape
        else:
            self._sink.shape(shape)

    def end(self, path: list[str], _: str) -> None:
        if self._skeleton is not None and len(path) == _SHAPE_DEPTH:
            points = self._skeleton.points
            gone = self._track is not None and points and all(point.get("outside") in YES for point in points)
            if not gone:
                self._sink.shape(self._skeleton)
            self._skeleton = None
        if len(path) == _ITEM_DEPTH and path[1] == "image":
            self._sink.image_ends()


def _frame(number: str, track: dict[str, str]) -> CvatImage:
    """The frame of a track's shape, with the name that CVAT gives its picture."""
    frame = pixels(number)
    return CvatImage(f"frame_{frame:06d}", track.get("subset", ""), task=track.get("task_id", ""), frame=frame)


def read_items(stream: ByteReader, file: str, sink: Sink, check: Callable[[], None]) -> None:
    """Reads a file's images and shapes.

    Args:
        stream: Its bytes.
        file: Its path in the source.
        sink: Takes them.
        check: Called now and then; raises where the work is to stop.

    Raises:
        NotXml: the rest cannot be read; the sink has what came before.
        YardError: ANNOTATION_BOMB.
    """
    read_xml(stream, file, _Items(sink), check)
