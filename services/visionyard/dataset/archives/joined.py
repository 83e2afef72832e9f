"""Two archives as one: labels, and the images that they belong to under ``images/``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from visionyard.dataset.archives.entry import PLACES, Archive, Entry, T, Wanted

IMAGES_FOLDER = "images"
"""Where the second archive's files lie."""


class JoinedArchive(Archive):
    """An archive, then another's files in a folder of their own.

    Args:
        labels: The first.
        images: The second.
    """

    def __init__(self, labels: Archive, images: Archive) -> None:
        super().__init__(labels.name, labels.limits)
        self._labels = labels
        self._images = images

    def read(self, wanted: Wanted) -> Iterator[tuple[Entry, bytes | None]]:
        """See :meth:`Archive.read`."""
        yield from self._labels.read(wanted)
        for entry, data in self._images.read(lambda entry: wanted(_placed(entry))):
            yield _placed(entry), data

    def fetch(self, files: Iterable[tuple[int, int, T]]) -> Iterator[tuple[T, bytes | None]]:
        """See :meth:`Archive.fetch`."""
        for second, some in itertools.groupby(files, lambda file: file[0] >= PLACES):
            if second:
                yield from self._images.fetch((place - PLACES, size, item) for place, size, item in some)
            else:
                yield from self._labels.fetch(some)


def _placed(entry: Entry) -> Entry:
    return entry._replace(path=f"{IMAGES_FOLDER}/{entry.path}", place=PLACES + entry.place)
