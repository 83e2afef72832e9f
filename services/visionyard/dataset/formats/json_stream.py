"""JSON files that memory should not hold: their parts, one by one, and how they begin."""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import Any

from visionyard.dataset.formats.json_text import MAX_ITEM_CHARACTERS, JsonText, NotJson
from visionyard.dataset.source import SourceTree, decode_text

__all__ = ["NotJson", "Path", "Take", "as_number", "begins_with", "glimpse", "head_of", "read_parts", "stream_members"]
_ITEMS_A_CHECK = 1024
_HEAD_BYTES = 4096
_GLIMPSE_BYTES = 64 << 10
_GLIMPSE_DEPTH = 64
_MAX_DEPTH = 64
"""Of what is gone into; no format has more than ten."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{},]', re.DOTALL)

Path = tuple[str | int, ...]
"""Names of members and positions of items, from the root."""


class Take(enum.Enum):
    """What to do with a list or an object of a file."""

    WHOLE = 0
    """Give it."""
    INTO = 1
    """Ask for each of its members or items."""
    SKIP = 2
    """Pass over it."""


def stream_members(
    source: BufferedReader, check: Callable[[], None] = lambda: None, limit: int = MAX_ITEM_CHARACTERS
) -> Iterator[tuple[str, Any]]:
    """The members of the object that a file holds: of an array each of its items, of anything else its value.

    Args:
        source: The file; see :class:`JsonText`.
        check: Called again and again; raises where the work is to stop.
        limit: The most characters that an item may have.

    Yields:
        The member's key, and an item or the value. An empty array gives nothing.

    Raises:
        NotJson: when it comes to what cannot be read; what came before has been given.
    """
    text = JsonText(source, limit)
    if text.next() != "{":
        text.expect("{")
    count = 0
    for key in _parts(text):
        for item in (text.value() for _ in _parts(text)) if text.next() == "[" else iter((text.value(),)):
            count += 1
            if count % _ITEMS_A_CHECK == 0:
                check()
            yield str(key), item


def read_parts(tree: SourceTree, path: str, take: Callable[[Path], Take]) -> Iterator[tuple[Path, Any]]:
    """The values of a JSON file that are wanted, one by one, in the file's order.

    Args:
        tree: The source.
        path: The file.
        take: Asked for each list and object from the root on, by its path, what to do, unless it lies in one that is given or passed over. Values that are neither list
            nor object are given.

    Raises:
        NotJson: when it comes to what cannot be read; what came before has been given.
        KeyError: the file is no text of this source.
    """
    text = JsonText(tree.open(path), MAX_ITEM_CHARACTERS)
    for count, part in enumerate(_walk(text, (), take)):
        if count % _ITEMS_A_CHECK == 0:
            tree.check()
        if part is not None:
            yield part
    if text.next():
        raise text.refused("something follows its end")


def _walk(text: JsonText, at: Path, take: Callable[[Path], Take]) -> Iterator[tuple[Path, Any] | None]:
    """The parts below a value; None for each that is passed over, so that whoever asks hears of it."""
    what = take(at) if text.next() in {"{", "["} else Take.WHOLE
    if what is Take.WHOLE:
        yield at, text.value()
        return
    if len(at) >= _MAX_DEPTH:
        raise text.refused("it is nested too deep")
    for name in _parts(text):
        if what is Take.INTO:
            yield from _walk(text, (*at, name), take)
        else:
            text.value()
            yield None


def _parts(text: JsonText) -> Iterator[str | int]:
    """The name of each member, or the position of each item, of the object or list that comes next; whoever asks takes its value in between."""
    begin = text.expect("{[")
    end, position = "}" if begin == "{" else "]", 0
    if text.next() == end:
        text.expect(end)
        return
    while True:
        if begin == "{":
            name = text.value()
            if not isinstance(name, str):
                raise text.refused("a member has no name")
            text.expect(":")
            yield name
        else:
            yield position
            position += 1
        if text.expect(f",{end}") == end:
            return


# --- how a file begins


def glimpse(tree: SourceTree, path: str) -> Any:
    """How a JSON file begins: its root with as much as the first 64 KiB hold, and as is well-formed; None where it begins like no JSON.

    Enough to tell a format by its names; never the whole of a large file.
    """
    text = decode_text(tree.open(path).raw.read(_GLIMPSE_BYTES) or b"")
    if (whole := _value(text)) is not None:
        return whole
    ends = _ends(text)
    low, high, found = 0, len(ends), None
    while low < high:  # what is well-formed up to one place is so up to those before it
        middle = (low + high) // 2
        value = _value(text[: ends[middle][0]] + ends[middle][1])
        if value is None:
            high = middle
        else:
            found, low = value, middle + 1
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _ends(text: str) -> list[tuple[int, str]]:
    """The places where a text may be cut, each with the brackets that close what is open there."""
    ends: list[tuple[int, str]] = []
    closers = ""
    for match in _STRUCTURE.finditer(text):
        mark = match[0]
        if mark[0] == '"':
            continue
        if mark in "[{":
            closers = ("]" if mark == "[" else "}") + closers
        elif mark in "]}":
            if closers[:1] != mark:
                break
            closers = closers[1:]
        if len(closers) > _GLIMPSE_DEPTH:
            break
        ends.append((match.start() if mark == "," else match.end(), closers))
        if not closers:
            break
    return ends


def head_of(tree: SourceTree, path: str) -> bytes:
    """The first 4 KiB of a file, from its first character that is not blank: tells most files of other formats at next to no cost."""
    return (tree.open(path).raw.read(_HEAD_BYTES) or b"").removeprefix(_BYTE_ORDER_MARK).lstrip()


def begins_with(tree: SourceTree, path: str, mark: bytes) -> bool:
    """Whether a file's first character that is not blank is ``mark``."""
    return head_of(tree, path).startswith(mark)


def as_number(value: object) -> float | None:
    """A JSON number as a float, infinity where no float holds it; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
