"""JSON files that memory should not hold: the members of the object that such a file is, and the items of its arrays, one by one.

Python's own decoder reads each item, so NaN and Infinity, which Python's own encoder writes, and numbers of any size are read and cost only the label that they stand
in; an incremental parser would give up the rest of the file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import Any

MAX_ITEM_CHARACTERS = 4 << 20
"""The largest item: a polygon of 200,000 corners. As Python's objects it takes 30 times as much."""
_CHUNK_BYTES = 1 << 18
_ITEMS_A_CHECK = 1024
_SPACE = re.compile(r"[ \t\n\r]*")


class NotJson(ValueError):
    """The file is no JSON object, or one that is not to be read; the message says why and where."""


def stream_members(
    source: BufferedReader, check: Callable[[], None] = lambda: None, limit: int = MAX_ITEM_CHARACTERS
) -> Iterator[tuple[str, Any]]:
    """The members of the object that a file holds: of an array each of its items, of anything else its value.

    Args:
        source: The file, in UTF-8 with or without a byte-order mark, or in UTF-16 with one.
        check: Called again and again; raises where the work is to stop.
        limit: The most characters that an item may have.

    Yields:
        The member's key, and an item or the value. An empty array gives nothing.

    Raises:
        NotJson: when it comes to what cannot be read; what came before has been given.
    """
    text = _Text(source, limit)
    text.expect("{")
    if text.next() == "}":
        return
    count = 0
    while True:
        key = text.value()
        if not isinstance(key, str):
            raise text.refused("a member has no name")
        text.expect(":")
        for item in _items(text) if text.next() == "[" else iter((text.value(),)):
            count += 1
            if count % _ITEMS_A_CHECK == 0:
                check()
            yield key, item
        if text.expect(",}") == "}":
            return


def _items(text: _Text) -> Iterator[Any]:
    text.expect("[")
    if text.next() == "]":
        text.expect("]")
        return
    yield text.value()
    while text.expect(",]") == ",":
        yield text.value()


class _Text:
    """A file's text, of which a window is held."""

    def __init__(self, source: BufferedReader, limit: int) -> None:
        utf16 = source.peek(2)[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}
        self._bytes = codecs.getincrementaldecoder("utf-16" if utf16 else "utf-8-sig")("replace")
        self._source = source
        self._limit = limit
        self._text = ""
        self._at = 0
        self._before = 0  # characters in front of the window
        self._ended = False
        self._decode = json.JSONDecoder().raw_decode

    def refused(self, why: str) -> NotJson:
        return NotJson(f"{why}, at character {self._before + self._at + 1}")

    def next(self) -> str:
        """The next character that is no space, which stays; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def expect(self, wanted: str) -> str:
        """Takes the next character, which must be one of those wanted."""
        character = self.next()
        if not character:
            raise self.refused("it ends too early")
        if character not in wanted:
            raise self.refused(f"it has {character!r} where {' or '.join(wanted)} should be")
        self._at += 1
        return character

    def value(self) -> Any:
        """Takes a whole value."""
        self.next()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more():
                    early = error.pos >= len(self._text) or error.msg.startswith("Unterminated")
                    raise self.refused("it ends too early" if early else f"it is damaged ({error.msg})") from error
            except RecursionError as error:
                raise self.refused("it is nested too deep") from error
            except ValueError as error:  # an integer of more than 4,300 digits
                raise self.refused("it holds a number that is too long") from error
            else:
                if end < len(self._text) or not self._more():  # "12" at the window's end may go on with "3"
                    self._at = end
                    return value

    def _more(self) -> bool:
        """Widens the window; False at the file's end. It grows with the value that is being read, so that no value is begun often."""
        held = len(self._text) - self._at
        if self._ended:
            return False
        if held > self._limit:
            raise self.refused(f"it holds an item of more than {self._limit} characters")
        data = self._source.read(max(_CHUNK_BYTES, held))
        self._ended = not data
        self._before += self._at
        self._text = self._text[self._at :] + self._bytes.decode(data, final=self._ended)
        self._at = 0
        return True
