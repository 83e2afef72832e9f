"""A file that two processes share: how many inputs were taken, and the one that is being taken, which is at hand even when the process that took it was killed."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

MAX_INPUT_BYTES = 1 << 20
_HEAD = struct.Struct("<QQdd")


class Slot:
    """The shared file.

    Args:
        path: Where it lies; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_HEAD.size + MAX_INPUT_BYTES))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    @property
    def executions(self) -> int:
        """How many inputs were begun."""
        return int(_HEAD.unpack_from(self._map)[0])

    @property
    def seconds(self) -> float:
        """From the first input of the process that is at work, or was last, to its last one."""
        _, _, first, last = _HEAD.unpack_from(self._map)
        return float(last - first)

    @property
    def data(self) -> bytes:
        """The input that was begun last."""
        length = _HEAD.unpack_from(self._map)[1]
        return bytes(self._map[_HEAD.size : _HEAD.size + length])

    def restart(self) -> None:
        """Another process goes on: its time runs anew."""
        executions, length, _, _ = _HEAD.unpack_from(self._map)
        _HEAD.pack_into(self._map, 0, executions, length, 0.0, 0.0)

    def begin(self, data: bytes) -> None:
        """An input is begun."""
        executions, _, first, _ = _HEAD.unpack_from(self._map)
        now = time.monotonic()
        _HEAD.pack_into(self._map, 0, executions + 1, len(data), first or now, now)
        self._map[_HEAD.size : _HEAD.size + len(data)] = data
