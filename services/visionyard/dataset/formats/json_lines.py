"""JSON Lines (https://jsonlines.org): a value a line, each read by itself, so that a damaged line costs itself only."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

from visionyard.dataset.formats.json_items import DECODER
from visionyard.dataset.formats.json_stream import NotJson

MAX_LINE_BYTES = 4 << 20
"""A longer line is not read; one picture's polygons take less."""
_SKIPPED_AT_ONCE = 1 << 20
_LINES_A_CHECK = 256


def json_lines(stream: io.BufferedIOBase, check: Callable[[], None] = lambda: None) -> Iterator[tuple[int, Any]]:
    """The values of a file, with the number of each one's line from 1; for a line that cannot be read a :class:`NotJson` that says why. Blank lines are passed over.

    Numbers come as float.

    Args:
        stream: The file's bytes.
        check: Called now and then; raises where the work is to stop.
    """
    number = 0
    while data := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number % _LINES_A_CHECK == 1:
            check()
        if len(data) > MAX_LINE_BYTES:
            yield number, NotJson(f"it has more than {MAX_LINE_BYTES} bytes")
            while not data.endswith(b"\n") and (data := stream.readline(_SKIPPED_AT_ONCE)):
                check()
        elif text := data.decode("utf-8-sig", "replace").strip():
            yield number, _value(text)


def _value(text: str) -> Any:
    try:
        return DECODER.decode(text)
    except RecursionError:
        return NotJson("it is nested too deep")
    except ValueError:
        return NotJson("it is no well-formed JSON")
