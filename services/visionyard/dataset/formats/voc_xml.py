"""One Pascal VOC annotation file, read with expat: bounded, without entities, and with the line of every object.

The format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html, section 5.2. Coordinates are taken as written, without the devkit's offset of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

from visionyard.kit.errors import Reason, YardError

MAX_XML_BYTES = 8 << 20
"""A larger annotation file is not read."""
_MAX_DEPTH = 32
_YES = frozenset({"1", "true"})
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class NotVoc(ValueError):
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

    def __init__(self, path: str) -> None:
        self.annotation = VocAnnotation()
        self.path: list[str] = []
        self._file = path
        self._text: list[str] = []
        self._size = {"width": 0, "height": 0}
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text.append
        # Entities are what XML bombs and file stealers are made of; no annotation needs any of its own.
        self._parser.EntityDeclHandler = self._entity
        self._parser.ExternalEntityRefHandler = self._entity
        self._parser.UnparsedEntityDeclHandler = self._entity

    def parse(self, data: bytes) -> VocAnnotation:
        self._parser.Parse(data, True)
        width, height = self._size["width"], self._size["height"]
        self.annotation.size = (width, height)
        return self.annotation

    def _entity(self, *_: object) -> int:
        raise YardError(
            Reason.ANNOTATION_BOMB,
            f"{self._file} declares XML entities, which can expand without bound: export it without them",
            {"file": self._file},
        )

    def _start(self, name: str, _: dict[str, str]) -> None:
        if not self.path and name != "annotation":
            raise NotVoc(f"its root is <{name[:40]}>, not <annotation>")
        self.path.append(name)
        if len(self.path) > _MAX_DEPTH:
            raise NotVoc(f"it is nested more than {_MAX_DEPTH} deep")
        self._text.clear()
        if self.path == ["annotation", "object"]:
            self.annotation.objects.append(VocObject(self._parser.CurrentLineNumber))

    def _end(self, name: str) -> None:
        below = self.path[1:]
        text = "".join(self._text).strip()
        self.path.pop()
        self._text.clear()
        if below == ["filename"]:
            self.annotation.filename = text
        elif below[:1] == ["size"] and name in self._size:
            self._size[name] = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0  # noqa: PLR2004 - no picture is wider
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
    try:
        return _Handler(path).parse(data)
    except expat.ExpatError as error:
        raise NotVoc(f"it is no well-formed XML ({expat.ErrorString(error.code)}, line {error.lineno})") from error
    except (ValueError, LookupError) as error:  # an encoding that nobody knows
        raise error if isinstance(error, NotVoc) else NotVoc("its encoding is not known") from error
