"""What lies in a source: its paths, and the bytes of its texts, kept in the scratch folder so that memory stays flat."""

from __future__ import annotations

import io
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from visionyard.dataset.archives.entry import Archive, Entry
from visionyard.dataset.findings import Code, Report
from visionyard.dataset.images import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from visionyard.dataset.staging import Row, Staging

_TEXT_SUFFIXES = frozenset({"txt", "xml", "yaml", "yml", "names", "data", "json", "jsonl", "csv"})
_LARGE_SUFFIXES = frozenset({"json", "jsonl", "csv", "xml"})
MAX_TEXT_BYTES = 16 << 20
"""A label file of one picture is none above this: 16 MiB are 400,000 boxes."""
_ROWS_AT_ONCE = 256
"""Are put down together, in a third of the time."""
_PREFIX_END = "0"
"""Follows "/" in ASCII: paths in a folder lie between ``folder/`` and ``folder0``."""


def suffix_of(path: str) -> str:
    """The lower-case extension without its dot; empty where there is none."""
    return posixpath.splitext(path)[1][1:].lower()


def stem_of(path: str) -> str:
    """The file's name without its extension."""
    return posixpath.splitext(posixpath.basename(path))[0]


class SourceTree:
    """The files of a source, by path.

    Args:
        scratch: A private folder; two files are made in it.
        check: See the attribute.

    Attributes:
        check: To be called again and again by whoever goes through many files or lines; raises where the work is to stop.
        staging: Where the lists lie, and where what is made of them goes.
        image_count: How many images there are.
        longest_path: How many characters the longest path has, whatever its case.
        deepest_path: How many names, the file's own included, the deepest path has.
    """

    def __init__(self, scratch: Path, check: Callable[[], None] = lambda: None) -> None:
        self.check = check
        self.staging = Staging(scratch, check)
        self.image_count = 0
        self.longest_path = 0
        self.deepest_path = 0
        self._spool = (scratch / "texts").open("w+b")
        self._added: list[Row] = []
        self.staging.run(
            "CREATE TABLE files (path TEXT, lower TEXT, folder TEXT, stem TEXT, suffix TEXT, image INT, size INT, place INT, at INT, length INT, upwards TEXT)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.staging.close()
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
            tree.add(entry, data)
        for path in tree.finish():
            report.note(Code.PATH_TWICE, f"{path} is in the archive more than once", path)
        return tree

    def add(self, entry: Entry, data: bytes | None) -> None:
        """Takes a file; ``data`` where it is a text. Nothing can be asked for before :meth:`finish`."""
        at = length = None
        if data is not None:
            at, length = self._spool.tell(), len(data)
            self._spool.write(data)
        path, lower, suffix = entry.path, entry.path.lower(), suffix_of(entry.path)
        image = suffix in IMAGE_SUFFIXES or suffix in UNREAD_SUFFIXES
        upwards = _reversed(lower.split("/")[:-1]) if image else None
        row = path, lower, posixpath.dirname(path), stem_of(lower), suffix, image, entry.size, entry.place, at, length, upwards
        self._added.append(row)
        if len(self._added) == _ROWS_AT_ONCE:
            self._put_down()
        self.longest_path = max(self.longest_path, len(path), len(lower))
        self.deepest_path = max(self.deepest_path, path.count("/") + 1)

    def _put_down(self) -> None:
        self.staging.many("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._added)
        self._added.clear()

    def finish(self) -> list[str]:
        """All files are there: makes what look-ups need. Of several of one path the first counts; returns those paths, 10,000 at most."""
        self._spool.flush()
        self._put_down()
        staging = self.staging
        staging.run("CREATE INDEX by_path ON files (path)")
        twice = [path for (path,) in staging.query("SELECT path FROM files GROUP BY path HAVING COUNT(*) > 1 ORDER BY path LIMIT 10000")]
        if twice:
            staging.run("DELETE FROM files WHERE rowid NOT IN (SELECT MIN(rowid) FROM files GROUP BY path)")
        staging.run("CREATE INDEX by_lower ON files (lower, path)")
        staging.run("CREATE INDEX by_stem ON files (stem, suffix)")
        staging.run("CREATE INDEX by_suffix ON files (suffix, path)")
        staging.run("CREATE INDEX images_upwards ON files (stem, upwards) WHERE image")
        staging.run("CREATE TABLE folders (path TEXT PRIMARY KEY, lower TEXT) WITHOUT ROWID")
        for (folder,) in staging.query("SELECT DISTINCT folder FROM files WHERE image"):
            self.check()
            for above in _upwards(folder):
                staging.run("INSERT OR IGNORE INTO folders VALUES (?, ?)", (above, above.lower()))
        staging.run("CREATE INDEX folder_by_lower ON folders (lower, path)")
        self.image_count = self._count("SELECT COUNT(*) FROM files WHERE image")
        return twice

    def _count(self, statement: str) -> int:
        row = self.staging.one(statement)
        return int(row[0]) if row else 0

    def images(self) -> Iterator[str]:
        """The paths of the images, sorted. An image's type is told by its bytes later."""
        return (path for (path,) in self.staging.query("SELECT path FROM files WHERE image ORDER BY path"))

    def images_under(self, folder: str) -> Iterator[str]:
        """The images in a folder and its sub-folders, sorted; all for the empty path."""
        if not folder:
            return self.images()
        statement = "SELECT path FROM files WHERE path > ? AND path < ? AND image ORDER BY path"
        return (path for (path,) in self.staging.query(statement, (f"{folder}/", folder + _PREFIX_END)))

    def is_image(self, path: str) -> bool:
        """Whether an image lies at that path."""
        return self.staging.one("SELECT 1 FROM files WHERE path = ? AND image", (path,)) is not None

    def images_called(self, stem: str) -> list[str]:
        """The images whose file name without extension is ``stem``, whatever the case, sorted; 1,000 at most."""
        statement = "SELECT path FROM files WHERE stem = ? AND image ORDER BY path LIMIT 1000"
        return [path for (path,) in self.staging.query(statement, (stem.lower(),))]

    def images_near(self, folders: Sequence[str], stem: str) -> Iterator[list[str]]:
        """The images of a stem by how many of the folders right above them agree with a path's, whatever the case: first those that agree in all, in the end all of that stem.

        A set may have a picture of one name in each of thousands of folders; that of a path's own folders is found among however many.

        Args:
            folders: The path's folders, from the outermost to the innermost.
            stem: See :meth:`images_called`.
        """
        few = list(self.staging.query("SELECT path FROM files WHERE stem = ? AND image ORDER BY path LIMIT 2", (stem.lower(),)))
        if len(few) > 1:
            names = [folder.lower() for folder in folders]
            statement = "SELECT path FROM files WHERE stem = ? AND upwards >= ? AND upwards < ? AND image ORDER BY path LIMIT 1000"
            for first in range(max(0, len(names) - self.deepest_path), len(names)):
                above = _reversed(names[first:])
                found = [path for (path,) in self.staging.query(statement, (stem.lower(), above, above[:-1] + _PREFIX_END))]
                if found:
                    yield found
        yield self.images_called(stem) if len(few) > 1 else [path for (path,) in few]

    def texts_called(self, stem: str, suffix: str) -> list[str]:
        """The texts of that stem (whatever the case) and extension, sorted; 1,000 at most."""
        statement = "SELECT path FROM files WHERE stem = ? AND suffix = ? AND at IS NOT NULL ORDER BY path LIMIT 1000"
        return [path for (path,) in self.staging.query(statement, (stem.lower(), suffix))]

    def images_with_text(self, suffix: str) -> Iterator[str]:
        """The images that share their name without extension (whatever the case) with a text of this extension anywhere, sorted."""
        statement = (
            "SELECT path FROM files i WHERE image AND EXISTS (SELECT 1 FROM files t WHERE t.stem = i.stem AND t.suffix = ? AND t.at IS NOT NULL) "
            "ORDER BY path"
        )
        return (path for (path,) in self.staging.query(statement, (suffix,)))

    def suffixes(self) -> set[str]:
        """The lower-case extensions that come up."""
        return {suffix for (suffix,) in self.staging.query("SELECT DISTINCT suffix FROM files")}

    def texts(self, *suffixes: str) -> list[str]:
        """The paths of the texts with one of these extensions, sorted; for those that may be many see :meth:`each_text`."""
        return sorted(path for suffix in suffixes for path in self.each_text(suffix))

    def each_text(self, suffix: str) -> Iterator[str]:
        """The paths of the texts with this extension, sorted, one by one."""
        return (
            path for (path,) in self.staging.query("SELECT path FROM files WHERE suffix = ? AND at IS NOT NULL ORDER BY path", (suffix,))
        )

    def is_text(self, path: str) -> bool:
        """Whether the path is a text that can be read."""
        return self.staging.one("SELECT 1 FROM files WHERE path = ? AND at IS NOT NULL", (path,)) is not None

    def size(self, path: str) -> int:
        """A file's bytes; 0 where there is no such file."""
        row = self.staging.one("SELECT size FROM files WHERE path = ?", (path,))
        return int(row[0]) if row else 0

    def read(self, path: str) -> bytes:
        """A text's bytes.

        Raises:
            KeyError: it is no text of this source.
        """
        at, length = self._place(path)
        return os.pread(self._spool.fileno(), length, at)

    def open(self, path: str) -> io.BufferedReader:
        """A reader of a text's bytes, which may be more than memory should hold.

        Raises:
            KeyError: it is no text of this source.
        """
        return io.BufferedReader(_Part(self._spool.fileno(), *self._place(path)), 1 << 18)

    def _place(self, path: str) -> tuple[int, int]:
        row = self.staging.one("SELECT at, length FROM files WHERE path = ? AND at IS NOT NULL", (path,))
        if row is None:
            raise KeyError(path)
        return row[0], row[1]

    def find(self, path: str) -> str | None:
        """The file of that path, whatever the case; None where there is none."""
        row = self.staging.one("SELECT path FROM files WHERE path = ?", (path,)) or self.staging.one(
            "SELECT path FROM files WHERE lower = ? ORDER BY path LIMIT 1", (path.lower(),)
        )
        return row[0] if row else None

    def find_folder(self, folder: str) -> str | None:
        """The folder with images of that path, whatever the case; None where there is none."""
        row = self.staging.one("SELECT path FROM folders WHERE path = ?", (folder,)) or self.staging.one(
            "SELECT path FROM folders WHERE lower = ? ORDER BY path LIMIT 1", (folder.lower(),)
        )
        return row[0] if row else None

    def folders(self) -> Iterator[str]:
        """Every folder that has images in or below it, sorted."""
        return (path for (path,) in self.staging.query("SELECT path FROM folders ORDER BY path"))

    def image_folders(self) -> Iterator[str]:
        """Every folder that has images in it, sorted."""
        return (path for (path,) in self.staging.query("SELECT DISTINCT folder FROM files WHERE image ORDER BY folder"))


def _reversed(folders: Sequence[str]) -> str:
    """Folders from the innermost to the outermost, each with a stroke behind it: what begins alike lies in folders of the same names."""
    return "".join(f"{folder}/" for folder in reversed(folders))


def _upwards(folder: str) -> Iterator[str]:
    """The folder and every one above it, the source's own (the empty path) last."""
    yield folder
    while folder:
        folder = posixpath.dirname(folder)
        yield folder


class _Part(io.RawIOBase):
    """A part of a file, read without moving the file's own position."""

    def __init__(self, descriptor: int, begin: int, length: int) -> None:
        self._descriptor = descriptor
        self._at = begin
        self._end = begin + length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # RawIOBase's stub wants any writable buffer; BufferedReader passes this one
        data = os.pread(self._descriptor, min(len(buffer), self._end - self._at), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _is_text(entry: Entry) -> bool:
    suffix = suffix_of(entry.path)
    return suffix in _TEXT_SUFFIXES and (entry.size <= MAX_TEXT_BYTES or suffix in _LARGE_SUFFIXES)


def decode_text(data: bytes) -> str:
    """A text's characters: UTF-8 with or without a byte-order mark (UTF-16 with one); what is neither is replaced."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")
