"""XML read with expat: as a stream, bounded, without entities, with the line of every element. The files of VOC, LabelMe and CVAT are read with it.

What could grow without bound in a stream is bounded each by itself: what stands before the first element, one token (a tag with its attributes, a comment), the text of one
element, the depth, and the names that expat remembers for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from xml.parsers import expat

from visionyard.kit.errors import Reason, YardError

_CHUNK_BYTES = 256 << 10
_MAX_TOKEN_BYTES = 4 << 20
"""A tag with all its attributes; CVAT writes a polygon or a mask into one."""
_MAX_TEXT_CHARACTERS = 1 << 20
_MAX_DEPTH = 32
_MAX_NAMES = 10_000
"""Of elements and attributes; the formats have some dozens."""

_MAX_SIZE_DIGITS = 7


class NotXml(ValueError):
    """The text is no XML, or none that is to be read; the message says why."""


class Enough(Exception):
    """Raised by a handler that needs no more of the file."""


class Handler(Protocol):
    """What follows the elements of a file."""

    def start(self, path: list[str], attributes: dict[str, str], line: int) -> None:
        """An element begins.

        Args:
            path: The names of the elements from the root to this one. Not to be kept: it goes on changing.
            attributes: Its attributes.
            line: Where it begins, from 1.

        Raises:
            NotXml: the file is not to be read.
            Enough: the rest is not needed.
        """

    def end(self, path: list[str], text: str) -> None:
        """The element that ``path`` leads to ends; ``text`` is what stands in it after its last child, without blanks around it. Raises likewise."""


class ByteReader(Protocol):
    """What bytes are read from: a file, or :meth:`SourceTree.open`'s reader."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, ``size`` at most; none at the end."""


def read_xml(stream: ByteReader, file: str, handler: Handler, check: Callable[[], None] = lambda: None) -> None:
    """Reads a file; memory stays flat however large it is.

    Args:
        stream: Its bytes.
        file: Its path in the source, for messages.
        handler: Is told of the elements.
        check: Called now and then; raises where the work is to stop.

    Raises:
        NotXml: it is damaged, or not to be read; the handler was told of what came before.
        YardError: ANNOTATION_BOMB, where it declares entities.
    """
    reader = _Reader(file, handler)
    try:
        while chunk := stream.read(_CHUNK_BYTES):
            check()
            reader.feed(chunk)
        reader.close()
    except Enough:
        return
    except expat.ExpatError as error:
        raise NotXml(f"it is no well-formed XML ({expat.ErrorString(error.code)}, line {error.lineno})") from error
    except (ValueError, LookupError) as error:
        if reader.begun or isinstance(error, NotXml):
            raise
        raise NotXml("its encoding is not known") from error  # Python is asked for what expat does not know


def pixels(text: str) -> int:
    """A picture's width or height as written; 0 where it is no whole number that a picture may have."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_SIZE_DIGITS else 0


class _Reader:
    """Holds expat's parser and keeps the bounds."""

    def __init__(self, file: str, handler: Handler) -> None:
        self.begun = False
        self._file = file
        self._told_start, self._told_end = handler.start, handler.end
        self._path: list[str] = []
        self._text: list[str] = []
        self._fed = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text.append
        # Entities are what XML bombs and file stealers are made of; no annotation needs any of its own.
        self._parser.EntityDeclHandler = self._entity
        self._parser.ExternalEntityRefHandler = self._entity
        self._parser.UnparsedEntityDeclHandler = self._entity

    def feed(self, chunk: bytes) -> None:
        self._parser.Parse(chunk, False)
        self._fed += len(chunk)
        if self._fed - max(0, self._parser.CurrentByteIndex) > _MAX_TOKEN_BYTES:
            raise NotXml(f"it holds a tag or comment of more than {_MAX_TOKEN_BYTES} bytes")
        if not self.begun and self._fed >= _CHUNK_BYTES:
            raise NotXml(f"its first {self._fed} bytes hold no element")  # declarations take expat quadratic time, and it keeps them all
        if len(self._parser.intern) > _MAX_NAMES:
            raise NotXml(f"it has more than {_MAX_NAMES} different names of elements and attributes")
        if sum(map(len, self._text)) > _MAX_TEXT_CHARACTERS:
            raise NotXml(f"it holds a text of more than {_MAX_TEXT_CHARACTERS} characters")

    def close(self) -> None:
        self._parser.Parse(b"", True)

    def _entity(self, *_: object) -> int:
        raise YardError(
            Reason.ANNOTATION_BOMB,
            f"{self._file} declares XML entities, which can expand without bound: export it without them",
            {"file": self._file},
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.begun = True
        path = self._path
        path.append(name)
        if len(path) > _MAX_DEPTH:
            raise NotXml(f"it is nested more than {_MAX_DEPTH} deep")
        self._text.clear()
        self._told_start(path, attributes, self._parser.CurrentLineNumber)

    def _end(self, _: str) -> None:
        pieces, path = self._text, self._path
        text = "".join(pieces).strip() if pieces else ""
        pieces.clear()
        self._told_end(path, text)
        path.pop()
