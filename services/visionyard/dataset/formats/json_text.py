"""The text of a JSON file (RFC 8259) that memory should not hold, and Python's own decoder going through it value by value.

NaN and Infinity, which Python's own encoder writes, and numbers of any size are read, and cost only the label that they stand in; an incremental parser would give up the
rest of the file.
"""

from __future__ import annotations

import codecs
import json
import re
from io import BufferedReader
from typing import Any

MAX_ITEM_CHARACTERS = 4 << 20
"""The largest item: a polygon of 200,000 corners. As Python's objects it takes 30 times as much."""
_CHUNK_BYTES = 1 << 18
_SPACE = re.compile(r"[ \t\n\r]*")


class NotJson(ValueError):
    """The file is no JSON, or one that is not to be read; the message says why and where."""


class JsonText:
    """A file's text, of which a window is held.

    Args:
        source: The file, in UTF-8 with or without a byte-order mark, or in UTF-16 with one.
        limit: The most characters that a value which is taken whole may have.
    """

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
        """What is wrong, and where."""
        return NotJson(f"{why}, at character {self._before + self._at + 1}")

    def next(self) -> str:
        """The next character that is no space, which stays; empty at the end.

        Raises:
            NotJson: there is nothing but space for too long.
        """
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def expect(self, wanted: str) -> str:
        """Takes the next character, which must be one of those wanted.

        Raises:
            NotJson: it is another.
        """
        character = self.next()
        if not character:
            raise self.refused("it ends too early")
        if character not in wanted:
            raise self.refused(f"it has {character!r} where {' or '.join(wanted)} should be")
        self._at += 1
        return character

    def value(self) -> Any:
        """Takes a whole value.

        Raises:
            NotJson: it is none, or too large.
        """
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
