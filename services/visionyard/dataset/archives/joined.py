"""Two archives as one: labels, and the images that they belong to under ``images/``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from visionyard.dataset.archives.entry import Archive, Entry, Wanted

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


def _placed(entry: Entry) -> Entry:
    return replace(entry, path=f"{IMAGES_FOLDER}/{entry.path}")
