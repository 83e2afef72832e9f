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
_CORNERS = frozenset({"xmin", "ymin", "xmax", "ymax"})
_CHILD, _GRANDCHILD = 2, 3
"""The length of a path to a child of the root, and to a child of such."""


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
        depth = len(path)
        if depth == 1 and path[0] != "annotation":
            raise NotVoc(f"its root is <{path[0][:40]}>, not <annotation>")
        if depth == _CHILD:
            if path[1] == "object":
                self.annotation.objects.append(VocObject(line))
            elif path[1] == "imagesize":
                self.labelme = True

    def end(self, path: list[str], text: str) -> None:
        depth = len(path)
        if depth == _CHILD:
            if path[1] == "filename":
                self.annotation.filename = text
            elif path[1] == "object" and self.labelme and not self.annotation.objects[-1].corners:
                raise NotVoc("it is an annotation of LabelMe's")
        elif depth == _GRANDCHILD:
            self._describe(path[1], path[2], text)
        elif depth == _GRANDCHILD + 1 and path[2] == "bndbox" and path[1] == "object" and path[3] in _CORNERS:
            self.annotation.objects[-1].corners[path[3]] = text

    def _describe(self, parent: str, name: str, text: str) -> None:
        if parent == "object":
            if name == "name":
                self.annotation.objects[-1].name = text
            elif name == "difficult":
                self.annotation.objects[-1].difficult = text.lower() in _YES
        elif parent == "size" and name in self.size:
            self.size[name] = pixels(text)


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
