"""The items of a JSON list (RFC 8259), one by one, at the speed of Python's own reader: for files of many objects of which each is one picture's and is needed whole.

Where only parts of a file are needed, or an item may be large, see :mod:`.json_stream`; it reads ten times slower.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from visionyard.dataset.formats.json_stream import NotJson
from visionyard.dataset.source import MAX_TEXT_BYTES

# A whole number of thousands of digits would take Python long; as a float it is infinity at once.
DECODER = json.JSONDecoder(parse_int=float)
_CHUNK_BYTES = 1 << 20
_MAX_VALUES = 1_000_000
"""Of an item: an object of Python takes a hundred bytes where the text has two."""
_UNFINISHED = len("e+")
_BLANK = re.compile(r"[ \t\r\n,]*")


def json_items(stream: io.BufferedIOBase, check: Callable[[], None] = lambda: None) -> Iterator[Any]:
    """The items of a list; where the rest cannot be read, a :class:`NotJson` that says why comes last. Numbers come as float.

    Args:
        stream: The file's bytes, UTF-8.
        check: Called now and then; raises where the work is to stop.
    """
    text = _Window(stream, check)
    if text.next() != "[":
        yield NotJson("it is no list")
        return
    text.at += 1
    while (begin := text.next()) != "]":
        value = text.value() if begin else NotJson("it is no well-formed JSON, or was cut off")
        yield value
        if isinstance(value, NotJson):
            return


class _Window:
    """The part of a file that is being read."""

    def __init__(self, stream: io.BufferedIOBase, check: Callable[[], None]) -> None:
        self.at = 0
        self._text = ""
        self._stream = stream
        self._check = check
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._ended = False

    def next(self) -> str:
        """The character that comes after blanks and commas; empty at the end."""
        while True:
            blank = _BLANK.match(self._text, self.at)
            self.at = blank.end() if blank else self.at
            if self.at < len(self._text):
                return self._text[self.at]
            if not self._more():
                return ""

    def value(self) -> Any:
        """The value that begins here, or why it cannot be read. The window grows until it holds all of it."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self.at)
            except RecursionError:
                return NotJson("it is nested too deep")
            except ValueError:
                length = len(self._text) - self.at
                if length > MAX_TEXT_BYTES or (length > _CHUNK_BYTES and self._values() > _MAX_VALUES):
                    return NotJson(f"it is damaged, or an item has more than {MAX_TEXT_BYTES} bytes or {_MAX_VALUES} values")
                if not self._more():
                    return NotJson("it is no well-formed JSON, or was cut off")
                continue
            # A number at the window's end may go on: of "1e+5" only "1e+" may be here, of which "1" was read.
            if self._text[end - 1] in '}]"' or len(self._text) - end > _UNFINISHED or not self._more():
                self.at = end
                return value

    def _values(self) -> int:
        return self._text.count(",", self.at) + self._text.count("[", self.at) + self._text.count("{", self.at)

    def _more(self) -> bool:
        """Reads as much again as is waiting; False at the end."""
        self._check()
        if self._ended:
            return False
        self._text, self.at = self._text[self.at :], 0
        data = self._stream.read(max(_CHUNK_BYTES, len(self._text)))
        self._ended = not data
        self._text += self._decoder.decode(data, final=self._ended)
        return True
