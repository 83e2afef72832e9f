"""One annotation file of LabelMe 3.0, with the line of every object: what the web tool writes, and CVAT and Datumaro as ``LabelMe``.

The format: https://github.com/CSAILVision/LabelMeAnnotationTool (the section on its annotations), and
https://docs.cvat.ai/docs/manual/advanced/formats/format-labelme/ for boxes (``<type>bounding_box</type>``) and their attribute ``rotation``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from visionyard.dataset.formats.xml_reader import Enough, NotXml, pixels, read_xml

_YES = frozenset({"1", "true", "yes"})
_OBJECT_DEPTH = 2
_BOX = ("xmin", "ymin", "xmax", "ymax")


class OtherXml(NotXml):
    """The file is an annotation of another kind, or none; the message says why."""


@dataclass(slots=True)
class LabelmeObject:
    """An object as written.

    Attributes:
        line: Where its element begins, from 1.
        name: Its class; empty where there is none.
        deleted: Whether it was deleted since.
        kind: ``bounding_box`` for a box; empty, or another word, for a polygon.
        attributes: Names and values as one text.
        shape: The element that tells where it is: ``polygon``, ``segm``; empty where there is none that is known.
        points: x and y of each corner, as written.
        box: Of a mask: what stands in xmin, ymin, xmax, ymax, those that are there.
    """

    line: int
    name: str = ""
    deleted: bool = False
    kind: str = ""
    attributes: str = ""
    shape: str = ""
    points: list[str] = field(default_factory=list)
    box: dict[str, str] = field(default_factory=dict)


@dataclass
class LabelmeAnnotation:
    """An annotation file.

    Attributes:
        image: The image's name as written, with its folder where there is one; empty where there is none.
        size: Width and height as written, in pixels; zeros where there are none.
        objects: In the file's order.
    """

    image: str = ""
    size: tuple[int, int] = (0, 0)
    objects: list[LabelmeObject] = field(default_factory=list)


class _Handler:
    """Follows the elements; knows only those that count.

    Args:
        brief: Whether the first object is enough, to tell what the file is and which image it means.
    """

    def __init__(self, *, brief: bool) -> None:
        self.objects: list[LabelmeObject] = []
        self.texts = {"filename": "", "folder": "", "nrows": "", "ncols": ""}
        self.is_labelme = False
        self._brief = brief

    def start(self, path: list[str], _: dict[str, str], line: int) -> None:
        depth = len(path)
        if depth > _OBJECT_DEPTH + 1:
            return
        if path[0] != "annotation":
            raise OtherXml(f"its root is <{path[0][:40]}>, not <annotation>")
        if depth == _OBJECT_DEPTH:
            self.is_labelme |= path[1] == "imagesize"
            if path[1] == "object":
                self.objects.append(LabelmeObject(line))
        elif depth == _OBJECT_DEPTH + 1 and path[1] == "object":
            self._place(path[2])

    def _place(self, element: str) -> None:
        """An element of an object that tells where it is."""
        if element == "bndbox":
            raise OtherXml("it is an annotation of Pascal VOC's")
        if element in {"polygon", "segm"}:
            self.objects[-1].shape = element
            self.is_labelme = True
            if self._brief and self.texts["filename"]:
                raise Enough

    def end(self, path: list[str], text: str) -> None:
        name = path[-1]
        if path[1:2] == ["object"]:
            if name in {"x", "y"} and path[2:4] == ["polygon", "pt"]:
                self.objects[-1].points.append(text)
            elif text:
                _describe(self.objects[-1], path[2:], text)
        elif name in self.texts and path[1:-1] in ([], ["imagesize"]):
            self.texts[name] = text


def _describe(item: LabelmeObject, below: list[str], text: str) -> None:
    """Takes the text of one of an object's elements."""
    match below:
        case ["name"]:
            item.name = text
        case ["deleted"]:
            item.deleted = text.lower() in _YES
        case ["type"]:
            item.kind = text
        case ["attributes"]:
            item.attributes = text
        case ["segm", "box", corner] if corner in _BOX:
            item.box[corner] = text


def parse_labelme_xml(path: str, data: bytes, *, brief: bool = False) -> LabelmeAnnotation:
    """Reads an annotation file.

    Args:
        path: Its path in the source, for messages.
        data: Its bytes.
        brief: Whether to read no more than it takes to know the image's name, and whether there is an object.

    Raises:
        OtherXml: it is none of LabelMe's.
        NotXml: it is damaged.
        YardError: ANNOTATION_BOMB.
    """
    handler = _Handler(brief=brief)
    read_xml(io.BytesIO(data), path, handler)
    if not handler.is_labelme:
        raise OtherXml("it has neither an <imagesize> nor a <polygon>")
    texts = handler.texts
    image = f"{texts['folder']}/{texts['filename']}" if texts["folder"] and texts["filename"] else texts["filename"]
    return LabelmeAnnotation(image, (pixels(texts["ncols"]), pixels(texts["nrows"])), handler.objects)
