"""What is odd about an archive's list of files, told once: archives inside it, and paths that are alike but for upper and lower case."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator

from visionyard.dataset.archives.entry import Archive, Entry, T, Wanted
from visionyard.dataset.findings import Code

_PACKED = frozenset({"zip", "tar", "tgz", "gz", "zst", "tzst", "7z", "rar", "bz2", "tbz2", "xz", "txz"})
"""Extensions of archives, whether they are read here or not."""

Note = Callable[[Code, str, str], None]
"""Code, message, path."""


class NotedArchive(Archive):
    """An archive whose first reading that gets to the end tells what is odd about its paths. An archive inside is passed over, never unpacked.

    Args:
        archive: The archive.
        note: Hears it.
    """

    def __init__(self, archive: Archive, note: Note) -> None:
        super().__init__(archive.name, archive.limits)
        self._archive = archive
        self._note = note
        self._told = False

    def read(self, wanted: Wanted) -> Iterator[tuple[Entry, bytes | None]]:
        """See :meth:`Archive.read`."""
        if self._told:
            yield from self._archive.read(wanted)
            return
        packed: list[str] = []
        first: dict[str, str] = {}
        alike: list[tuple[str, str]] = []
        for entry, data in self._archive.read(wanted):
            known = first.setdefault(entry.path.lower(), entry.path)
            if known != entry.path:
                alike.append((entry.path, known))
            if posixpath.splitext(entry.path)[1][1:].lower() in _PACKED:
                packed.append(entry.path)
            yield entry, data
        self._told = True
        for path in packed:
            self._note(Code.NESTED_ARCHIVE, f"{path} is an archive inside the archive; it was passed over", path)
        for path, known in alike:
            self._note(Code.PATHS_ALIKE, f"{path} and {known} differ in upper and lower case only; they were read as two files", path)

    def fetch(self, files: Iterable[tuple[int, int, T]]) -> Iterator[tuple[T, bytes | None]]:
        """See :meth:`Archive.fetch`."""
        return self._archive.fetch(files)
