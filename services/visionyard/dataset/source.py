"""What lies in a source: its paths, and the bytes of its small texts, kept in a scratch file so that memory stays flat."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from visionyard.dataset.archives.entry import Archive, Entry
from visionyard.dataset.findings import Code, Report
from visionyard.dataset.images import IMAGE_SUFFIXES, UNREAD_SUFFIXES

_TEXT_SUFFIXES = frozenset({"txt", "xml", "yaml", "yml", "names"})
MAX_TEXT_BYTES = 16 << 20
"""A text above this is none of a data set's: 16 MiB are 400,000 boxes in one picture."""


def suffix_of(path: str) -> str:
    """The lower-case extension without its dot; empty where there is none."""
    return posixpath.splitext(path)[1][1:].lower()


def stem_of(path: str) -> str:
    """The file's name without its extension."""
    return posixpath.splitext(posixpath.basename(path))[0]


class SourceTree:
    """The files of a source, by path.

    Args:
        scratch: A private folder; one file is made in it.
        check: See the attribute.

    Attributes:
        check: To be called again and again by whoever goes through many files or lines; raises where the work is to stop.
        sizes: The size of every file, in bytes, by path.
        images: The paths of the images, sorted. An image's type is told by its bytes later.
        longest_path: How many characters the longest path has, whatever its case.
        deepest_path: How many names, the file's own included, the deepest path has.
    """

    def __init__(self, scratch: Path, check: Callable[[], None] = lambda: None) -> None:
        self.check = check
        self.sizes: dict[str, int] = {}
        self.images: list[str] = []
        self._texts: dict[str, tuple[int, int]] = {}
        self._spool = (scratch / "texts").open("w+b")
        self._folders: dict[str, list[str]] = {}
        self.longest_path = 0
        self.deepest_path = 0
        self._lower: dict[str, str] = {}
        self._lower_folders: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._spool.close()

    @classmethod
    def scan(
        cls, archive: Archive, scratch: Path, report: Report, on_entry: Callable[[int], None], check: Callable[[], None]
    ) -> SourceTree:
        """Reads an archive's list of files and its texts, no image.

        Args:
            archive: The archive.
            scratch: A private folder.
            report: Gets PATH_TWICE findings.
            on_entry: Called with the number of files seen so far; may raise to stop.
            check: The tree's attribute.

        Raises:
            YardError: what :meth:`Archive.read` raises.
        """
        tree = cls(scratch, check)
        for count, (entry, data) in enumerate(archive.read(_is_text), start=1):
            on_entry(count)
            if entry.path in tree.sizes:
                report.note(Code.PATH_TWICE, f"{entry.path} is in the archive twice", entry.path)
            else:
                tree.add(entry, data)
        tree.finish()
        return tree

    def add(self, entry: Entry, data: bytes | None) -> None:
        """Takes a file; ``data`` where it is a text."""
        self.sizes[entry.path] = entry.size
        if data is not None:
            self._texts[entry.path] = (self._spool.tell(), len(data))
            self._spool.write(data)

    def finish(self) -> None:
        """All files are there: makes the lists that look-ups need."""
        self._spool.flush()
        known = IMAGE_SUFFIXES | UNREAD_SUFFIXES
        self.images = sorted(path for path in self.sizes if suffix_of(path) in known)
        self._lower = {path.lower(): path for path in sorted(self.sizes, reverse=True)}
        folders: dict[str, list[str]] = defaultdict(list)
        for image in self.images:
            folder = posixpath.dirname(image)
            while True:
                folders[folder].append(image)
                if not folder:
                    break
                folder = posixpath.dirname(folder)
        self._folders = dict(folders)
        self._lower_folders = {folder.lower(): folder for folder in sorted(folders, reverse=True)}
        self.longest_path = max((max(len(path), len(lower)) for lower, path in self._lower.items()), default=0)
        self.deepest_path = max((path.count("/") + 1 for path in self.sizes), default=0)

    def texts(self, *suffixes: str) -> list[str]:
        """The paths of the texts with one of these extensions, sorted."""
        return sorted(path for path in self._texts if suffix_of(path) in suffixes)

    def is_text(self, path: str) -> bool:
        """Whether the path is a text that can be read."""
        return path in self._texts

    def read(self, path: str) -> bytes:
        """A text's bytes.

        Raises:
            KeyError: it is no text of this source.
        """
        offset, length = self._texts[path]
        return os.pread(self._spool.fileno(), length, offset)

    def find(self, path: str) -> str | None:
        """The file of that path, whatever the case; None where there is none."""
        return path if path in self.sizes else self._lower.get(path.lower())

    def images_under(self, folder: str) -> list[str]:
        """The images in a folder and its sub-folders, sorted; all for the empty path."""
        return self._folders.get(folder, [])

    def find_folder(self, folder: str) -> str | None:
        """The folder with images of that path, whatever the case; None where there is none."""
        return folder if folder in self._folders else self._lower_folders.get(folder.lower())

    def folders(self) -> Iterable[str]:
        """Every folder that has images in or below it."""
        return self._folders


def _is_text(entry: Entry) -> bool:
    return suffix_of(entry.path) in _TEXT_SUFFIXES and entry.size <= MAX_TEXT_BYTES


def decode_text(data: bytes) -> str:
    """A text's characters: UTF-8 with or without a byte-order mark (UTF-16 with one); what is neither is replaced."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")
