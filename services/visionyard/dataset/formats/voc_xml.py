"""One Pascal VOC annotation file, with the line of every object.

The format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html, section 5.2. Coordinates are taken as written, without the devkit's offset of one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from visionyard.dataset.formats.xml_reader import NotXml, pixels, read_xml

MAX_XML_BYTES = 8 << 20
"""A larger annotation file is not read."""
_YES = frozenset({"1", "true"})
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class NotVoc(NotXml):
    """The file is no VOC annotation; the message says why."""


@dataclass
class VocObject:
    """An object as written.

    Attributes:
        line: Where its element begins, from 1.
        name: Its class; empty where there is none.
        corners: What stands in xmin, ymin, xmax, ymax, those that are there.
        difficult: Whether it is marked as hard to recognise.
    """

    line: int
    name: str = ""
    corners: dict[str, str] = field(default_factory=dict)
    difficult: bool = False


@dataclass
class VocAnnotation:
    """An annotation file.

    Attributes:
        filename: The image's name as written; empty where there is none.
        size: Width and height as written, in pixels; zeros where there are none.
        objects: In the file's order.
    """

    filename: str = ""
    size: tuple[int, int] = (0, 0)
    objects: list[VocObject] = field(default_factory=list)


class _Handler:
    """Follows the elements; knows only the few that count."""

    def __init__(self) -> None:
        self.annotation = VocAnnotation()
        self.size = {"width": 0, "height": 0}
        self.labelme = False

    def start(self, path: list[str], _: dict[str, str], line: int) -> None:
        if path[0] != "annotation":
            raise NotVoc(f"its root is <{path[0][:40]}>, not <annotation>")
        if path == ["annotation", "imagesize"]:
            self.labelme = True
        if path == ["annotation", "object"]:
            self.annotation.objects.append(VocObject(line))

    def end(self, path: list[str], text: str) -> None:
        below, name = path[1:], path[-1]
        if below == ["object"] and self.labelme and not self.annotation.objects[-1].corners:
            raise NotVoc("it is an annotation of LabelMe's")
        if below == ["filename"]:
            self.annotation.filename = text
        elif below[:1] == ["size"] and name in self.size:
            self.size[name] = pixels(text)
        elif below == ["object", "name"]:
            self.annotation.objects[-1].name = text
        elif below == ["object", "difficult"]:
            self.annotation.objects[-1].difficult = text.lower() in _YES
        elif below[:2] == ["object", "bndbox"] and name in _CORNERS:
            self.annotation.objects[-1].corners[name] = text


def parse_voc(path: str, data: bytes) -> VocAnnotation:
    """Reads an annotation file.

    Args:
        path: Its path in the source, for messages.
        data: Its bytes.

    Raises:
        NotVoc: it is none, or damaged.
        YardError: ANNOTATION_BOMB.
    """
    if len(data) > MAX_XML_BYTES:
        raise NotVoc(f"it has more than {MAX_XML_BYTES} bytes")
    handler = _Handler()
    try:
        read_xml(io.BytesIO(data), path, handler)
    except NotVoc:
        raise
    except NotXml as error:
        raise NotVoc(str(error)) from error
    if handler.labelme and not handler.annotation.objects:
        raise NotVoc("it is an annotation of LabelMe's")
    handler.annotation.size = (handler.size["width"], handler.size["height"])
    return handler.annotation
