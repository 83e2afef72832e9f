"""One annotation file of LabelMe 3.0, with the line of every object: what the web tool writes, and CVAT and Datumaro as ``LabelMe``.

The format: https://github.com/CSAILVision/LabelMeAnnotationTool (the section on its annotations), and
https://docs.cvat.ai/docs/manual/advanced/formats/format-labelme/ for boxes (``<type>bounding_box</type>``) and their attribute ``rotation``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from visionyard.dataset.formats.xml_reader import NotXml, pixels, read_xml

_YES = frozenset({"1", "true", "yes"})
_BOX = ("xmin", "ymin", "xmax", "ymax")


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
    """Follows the elements; knows only those that count."""

    def __init__(self) -> None:
        self.objects: list[LabelmeObject] = []
        self.texts = {"filename": "", "folder": "", "nrows": "", "ncols": ""}
        self.is_labelme = False

    def start(self, path: list[str], _: dict[str, str], line: int) -> None:
        if path[0] != "annotation":
            raise NotXml(f"its root is <{path[0][:40]}>, not <annotation>")
        if path == ["annotation", "object"]:
            self.objects.append(LabelmeObject(line))
        elif path[1:2] == ["imagesize"]:
            self.is_labelme = True
        elif len(path) == 3 and path[1] == "object" and path[2] in {"polygon", "segm"}:  # noqa: PLR2004 - annotation/object/polygon
            self.objects[-1].shape = path[2]
            self.is_labelme = True
        elif len(path) == 3 and path[1:] == ["object", "bndbox"]:  # noqa: PLR2004 - likewise
            raise NotXml("it is an annotation of Pascal VOC's")

    def end(self, path: list[str], text: str) -> None:
        match path[1:]:
            case ["filename" | "folder" as name] | ["imagesize", "nrows" | "ncols" as name]:
                self.texts[name] = text
            case ["object", *below]:
                _describe(self.objects[-1], below, text)


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
        case ["polygon", "pt", "x" | "y"]:
            item.points.append(text)
        case ["segm", "box", corner] if corner in _BOX:
            item.box[corner] = text


def parse_labelme_xml(path: str, data: bytes) -> LabelmeAnnotation:
    """Reads an annotation file.

    Args:
        path: Its path in the source, for messages.
        data: Its bytes.

    Raises:
        NotXml: it is none of LabelMe's, or damaged.
        YardError: ANNOTATION_BOMB.
    """
    handler = _Handler()
    read_xml(io.BytesIO(data), path, handler)
    if not handler.is_labelme:
        raise NotXml("it has neither an <imagesize> nor a <polygon>")
    texts = handler.texts
    image = f"{texts['folder']}/{texts['filename']}" if texts["folder"] and texts["filename"] else texts["filename"]
    return LabelmeAnnotation(image, (pixels(texts["ncols"]), pixels(texts["nrows"])), handler.objects)
