"""What fetching asks of a remote file, and what the rest of the room asks of fetching."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from visionyard.dataset.archives.entry import Archive, ArchiveLimits

Progress = Callable[[str, int, int, str], None]
"""Phase, done, total, unit."""
Check = Callable[[], None]
"""Raises where the work is to stop."""


class SourceBroken(Exception):
    """The source did not answer, broke off or was replaced: trying again may help. The message is the end of a sentence that begins with its address."""


@dataclass(frozen=True)
class Fetched:
    """What was fetched, for the version's provenance.

    Attributes:
        url: The address without its query.
        sha256: Of the bytes; of a folder: of its listing, for each object ``{etag} {size} {path}`` and a line feed, by path.
        size_bytes: How many bytes it has.
        etag: As the source gave it; empty where it gave none, or for a folder.
        last_modified: As the source gave it, an HTTP date; likewise.
        objects: How many objects it is.
    """

    url: str
    sha256: str
    size_bytes: int
    etag: str = ""
    last_modified: str = ""
    objects: int = 1

    def to_json(self) -> dict[str, Any]:
        """The job's pointer ``fetched``."""
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """A remote file, opened for reading once.

    Attributes:
        offset: Where its bytes begin: as asked, or 0 where the source cannot go on there or has another file by now.
        size: How many bytes the whole file has; None where the source does not say.
        validator: Stands for this very state of the file; empty where the source gives none, so that nothing can be taken up again.
        etag: As the source gave it.
        last_modified: As the source gave it.
        read: At most so many bytes, as soon as there are some; none at the end. Raises SourceBroken, or YardError where trying again is no use.
    """

    offset: int
    size: int | None
    validator: str
    etag: str
    last_modified: str
    read: Callable[[int], bytes]


class Remote(Protocol):
    """A file elsewhere."""

    def open(self, offset: int, validator: str) -> AbstractContextManager[Answer]:
        """Opens it from ``offset`` on, if it is still the file that ``validator`` stands for, else from its beginning.

        Raises:
            SourceBroken: trying again may help.
            YardError: it will not: SOURCE_NOT_ALLOWED, SOURCE_UNREACHABLE.
        """
        ...


class Sources(Protocol):
    """Fetches what jobs name."""

    def open(
        self, url: str, scratch: Path, limits: ArchiveLimits, check: Check, progress: Progress
    ) -> AbstractContextManager[tuple[Archive, Fetched]]:
        """Fetches a source and opens it as an archive, to be closed when it has been read.

        Args:
            url: The address as the job has it.
            scratch: A private folder with room for the whole of it.
            limits: What the archive may ask of the machine.
            check: Raises where the work is to stop; called from other threads too.
            progress: Hears how far it is.

        Raises:
            YardError: INVALID_FIELD, SOURCE_NOT_ALLOWED, SOURCE_UNREACHABLE, REQUEST_TOO_LARGE, DISK_FULL, or what opening an archive raises.
        """
        ...
