"""Annotation files in JSON (RFC 8259), read as a stream: bounded in depth, size and memory, however large the file or hostile its text.

Numbers come as int or float; one that no float holds comes as infinity. Of several members of one name the last counts, as with Python's own reader.
"""

from __future__ import annotations

import enum
import io
import itertools
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import ijson

from visionyard.dataset.source import SourceTree

_CHUNK_BYTES = 64 << 10
_MAX_TOKEN_BYTES = 16 << 20
"""No name, text or number is longer; LabelMe keeps whole pictures in texts."""
_MAX_DEPTH = 32
_MAX_VALUES = 1_000_000
"""Of one value that is read whole, which is one picture's labels or less."""
_MAX_CHARACTERS = 32 << 20
_GLIMPSE_EVENTS = 2000
_HEAD_BYTES = 256
_EVENTS_A_CHECK = 10_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STARTS = frozenset({"start_map", "start_array"})
_ENDS = frozenset({"end_map", "end_array"})

Event = tuple[str, Any]
Path = tuple[str | int, ...]
"""Names of members and positions of items, from the root."""


class NotJson(ValueError):
    """The text is no JSON, or one that is not to be read; the message says why."""


class Take(enum.Enum):
    """What to do with a value of a file."""

    WHOLE = 0
    """Give it."""
    INTO = 1
    """Ask for each of its members or items."""
    SKIP = 2
    """Pass over it."""


class _Source:
    """A file's bytes for the parser; refuses one that goes on and on within one token."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self._begun = False
        self.unanswered = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(min(size, _CHUNK_BYTES) if size > 0 else size)
        if not self._begun and data:
            self._begun = True
            data = data.removeprefix(_BYTE_ORDER_MARK) or self._stream.read(_CHUNK_BYTES)
        self.unanswered += len(data)
        if self.unanswered > _MAX_TOKEN_BYTES:
            raise NotJson(f"it holds a text or number of more than {_MAX_TOKEN_BYTES} bytes")
        return data


def _events(tree: SourceTree, path: str) -> Iterator[Event]:
    source = _Source(tree.open(path))
    try:
        for number, (event, value) in enumerate(ijson.basic_parse(source, buf_size=_CHUNK_BYTES)):
            if number % _EVENTS_A_CHECK == 0:
                tree.check()
            source.unanswered = 0
            yield event, float(value) if isinstance(value, Decimal) else value
    except NotJson:
        raise
    except (ijson.JSONError, ValueError, ArithmeticError) as error:  # the last: a number that not even Decimal holds
        raise NotJson("it is no well-formed JSON, or was cut off") from error


def read_parts(tree: SourceTree, path: str, take: Callable[[Path], Take]) -> Iterator[tuple[Path, Any]]:
    """The values of a JSON file that are wanted, one by one, in the file's order.

    Args:
        tree: The source.
        path: The file.
        take: Asked for each list and object from the root on, by its path, what to do; other values that are asked for are given.

    Raises:
        NotJson: the rest cannot be read.
        KeyError: the file is no text of this source.
    """
    events = _events(tree, path)
    for event, value in events:  # the root; what may follow it is an error
        yield from _walk(events, event, value, (), take)


def _walk(events: Iterator[Event], event: str, value: Any, at: Path, take: Callable[[Path], Take]) -> Iterator[tuple[Path, Any]]:
    what = take(at) if event in _STARTS else Take.WHOLE
    if what is Take.WHOLE:
        yield at, _built(events, event, value)
    elif what is Take.SKIP:
        _skip(events)
    else:
        name: str | int = -1
        for inner, found in events:
            if inner in _ENDS:
                return
            if inner == "map_key":
                name = found
                continue
            name = name + 1 if isinstance(name, int) else name
            yield from _walk(events, inner, found, (*at, name), take)


def _skip(events: Iterator[Event]) -> None:
    depth = 1
    for event, _ in events:
        depth += (event in _STARTS) - (event in _ENDS)
        if not depth:
            return


def _built(events: Iterator[Event], event: str, value: Any) -> Any:
    """The whole value that begins with an event."""
    if event not in _STARTS:
        return value
    root = _empty(event)
    _fill(root, events)
    return root


def _empty(event: str) -> Any:
    return {} if event == "start_map" else []


def _fill(root: Any, events: Iterator[Event]) -> None:
    """Puts into a list or object what follows, up to its end."""
    holder, name = root, ""
    above: list[tuple[Any, str]] = []
    characters = 0
    for count, (event, value) in enumerate(events):
        if isinstance(value, str):
            characters += len(value)
        if count > _MAX_VALUES or characters > _MAX_CHARACTERS:
            raise NotJson(f"it holds more than {_MAX_VALUES} values or {_MAX_CHARACTERS} characters where one picture's are")
        if event == "map_key":
            name = value
        elif event in _ENDS:
            if not above:
                return
            holder, name = above.pop()
        else:
            new = _empty(event) if event in _STARTS else value
            if isinstance(holder, dict):
                holder[name] = new
            else:
                holder.append(new)
            if event in _STARTS:
                if len(above) >= _MAX_DEPTH:
                    raise NotJson(f"it is nested more than {_MAX_DEPTH} deep")
                above.append((holder, name))
                holder = new


def glimpse(tree: SourceTree, path: str) -> Any:
    """How a JSON file begins: its root value with what the first 2,000 tokens hold; None where it begins like no JSON.

    Enough to tell a format by its names; never the whole of a large file.
    """
    events = itertools.islice(_events(tree, path), _GLIMPSE_EVENTS)
    root: Any = None
    try:
        for event, value in events:
            root = value
            if event in _STARTS:
                root = _empty(event)
                _fill(root, events)
            break
    except NotJson:
        pass  # how it began tells enough; whoever reads it will come upon the damage
    return root


def begins_with(tree: SourceTree, path: str, mark: bytes) -> bool:
    """Whether a file's first character that is not blank is ``mark``; costs next to nothing, where a source has 100,000 JSON files of other formats."""
    return tree.open(path).raw.read(_HEAD_BYTES).removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(mark)


def as_number(value: object) -> float | None:
    """A JSON number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
