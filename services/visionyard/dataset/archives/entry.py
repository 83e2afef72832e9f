"""What an archive is asked for: its files one after the other, within limits, under names that can do no harm."""

from __future__ import annotations

import abc
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from visionyard.kit.errors import Reason, YardError

_DRIVE = re.compile(r"[A-Za-z]:")
_RATIO_FREE_BYTES = 64 << 20
_SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may ask of the machine.

    Attributes:
        entries: The most files and folders.
        unpacked_bytes: The most bytes that all its files together may have.
        file_bytes: A file above this is passed over (its entry is yielded without bytes).
        ratio: The most unpacked bytes for each packed byte, beyond the first 64 MiB. Photographs pack 1:1, label texts about 5:1.
        path_characters: The longest path.
        depth: The most folders above a file.
    """

    entries: int = 2_000_000
    unpacked_bytes: int = 2 << 40
    file_bytes: int = 128 << 20
    ratio: int = 100
    path_characters: int = 1024
    depth: int = 64


class Entry(NamedTuple):
    """A regular file in an archive.

    Attributes:
        path: Its path with forward slashes, NFC, relative and without ``.`` or ``..``.
        size: Its size in bytes.
        too_large: Whether it is above the limit for one file, so that its bytes are not to be had.
        place: Where :meth:`Archive.fetch` finds its bytes; each file's is above those of the files before it, and below :data:`PLACES`.
    """

    path: str
    size: int
    too_large: bool
    place: int = 0


PLACES = 1 << 62
"""More than any archive has bytes."""
Wanted = Callable[[Entry], bool]
T = TypeVar("T")


class Archive(abc.ABC):
    """An opened archive; may be read several times, one reading at a time.

    Args:
        name: What the user calls it, for messages.
        limits: What it may ask of the machine.
    """

    def __init__(self, name: str, limits: ArchiveLimits) -> None:
        self.name = name
        self.limits = limits

    @abc.abstractmethod
    def read(self, wanted: Wanted) -> Iterator[tuple[Entry, bytes | None]]:
        """Yields every file in the archive's order, with its bytes where ``wanted`` says so and it is not too large.

        The paths of what is passed over silently (hidden files, what macOS and Windows leave lying about) are checked too.

        Raises:
            YardError: ARCHIVE_UNREADABLE, ARCHIVE_TRUNCATED, ARCHIVE_ENCRYPTED, ARCHIVE_BOMB, ARCHIVE_UNSAFE_PATH.
        """

    @abc.abstractmethod
    def fetch(self, files: Iterable[tuple[int, int, T]]) -> Iterator[tuple[T, bytes | None]]:
        """Yields the bytes of some files, None for one that is too large. Nothing but these bytes is looked at again.

        Args:
            files: Of each its :attr:`Entry.place` and size, and what is to come back with its bytes; by place. May be asked for some ahead.

        Raises:
            YardError: what :meth:`read` raises, which must have got to its end before.
        """

    def error(self, reason: Reason, what: str, **metadata: str) -> YardError:
        """An error about this archive: ``{name} {what}``."""
        return YardError(reason, f"{self.name} {what}", {"file": self.name, **metadata})

    def bomb(self, what: str, limit_bytes: int) -> YardError:
        """An ARCHIVE_BOMB error."""
        return self.error(Reason.ARCHIVE_BOMB, f"{what}: unpack it, look at it, and import the folder", limit_bytes=str(limit_bytes))

    def unsafe(self, path: str, why: str) -> YardError:
        """An ARCHIVE_UNSAFE_PATH error."""
        return self.error(Reason.ARCHIVE_UNSAFE_PATH, f"holds {_shown(path)!r}, {why}: pack it again without that entry")

    def clean(self, path: str) -> str:
        """The path in its one form.

        Raises:
            YardError: ARCHIVE_UNSAFE_PATH.
        """
        if len(path) > self.limits.path_characters:
            raise self.unsafe(path, f"a path of more than {self.limits.path_characters} characters")
        if path.startswith("/") or _DRIVE.match(path):
            raise self.unsafe(path, "an absolute path")
        if "\\" in path:
            raise self.unsafe(path, "a path with a backslash")
        parts = [part for part in path.split("/") if part not in {"", "."}]
        if ".." in parts:
            raise self.unsafe(path, "a path that climbs out of the archive")
        if len(parts) > self.limits.depth:
            raise self.unsafe(path, f"a path of more than {self.limits.depth} folders")
        return unicodedata.normalize("NFC", "/".join(map(_readable, parts)))

    def check_unpacked(self, unpacked: int, packed: int) -> None:
        """Holds the sum of what came out against what went in.

        Raises:
            YardError: ARCHIVE_BOMB.
        """
        if unpacked > self.limits.unpacked_bytes:
            raise self.bomb(f"unpacks to more than {self.limits.unpacked_bytes} bytes", self.limits.unpacked_bytes)
        allowed = _RATIO_FREE_BYTES + self.limits.ratio * packed
        if unpacked > allowed:
            raise self.bomb(f"unpacks to more than {self.limits.ratio} times its size", allowed)

    def check_count(self, count: int) -> None:
        """Holds the number of entries against the limit.

        Raises:
            YardError: ARCHIVE_BOMB.
        """
        if count > self.limits.entries:
            raise self.bomb(f"holds more than {self.limits.entries} entries", self.limits.unpacked_bytes)


def is_clutter(path: str) -> bool:
    """Whether a file is none of the data set's: hidden, or left by macOS or Windows."""
    parts = path.split("/")
    return (
        not path or any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1].lower() in {"thumbs.db", "desktop.ini"}
    )


def _readable(name: str) -> str:
    """A name whose bytes are no UTF-8, and so arrive as lone surrogates, in code page 437 instead, as zip has it (APPNOTE.TXT, appendix D).

    It gives each byte a printable character of its own, so two names stay two.
    """
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _shown(path: str) -> str:
    return path if len(path) <= _SHOWN_CHARACTERS else f"{path[:_SHOWN_CHARACTERS]}..."
