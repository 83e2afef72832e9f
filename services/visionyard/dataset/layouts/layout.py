"""What a layout is: the files of a version in a fixed order, each made on demand, the same bytes every time."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.manifest import ManifestRow

Rows = Callable[[], Iterator[ManifestRow]]
"""Reads the version's rows from the beginning, in the manifest's order (split, then name); may be called again and again."""


@dataclass(frozen=True)
class OutFile:
    """A file of a layout: either an image of the version, or a text that the layout writes.

    Attributes:
        path: Relative, with forward slashes; unique in the layout.
        size: In bytes, known before a byte is sent.
        row: The image whose bytes it is; None for a text.
        text: Gives a text's bytes in pieces of any size, ``size`` bytes in all; None for an image.
    """

    path: str
    size: int
    row: ManifestRow | None = None
    text: Callable[[], Iterator[bytes]] | None = None

    @classmethod
    def of_text(cls, path: str, text: str) -> OutFile:
        """A small text."""
        data = text.encode()
        return cls(path, len(data), text=lambda: iter((data,)))

    @classmethod
    def of_pieces(cls, path: str, pieces: Callable[[], Iterator[bytes]]) -> OutFile:
        """A text too large to be held: made once to be measured, and once more for each time it is sent."""
        return cls(path, sum(map(len, pieces())), text=pieces)

    @classmethod
    def of_image(cls, path: str, row: ManifestRow) -> OutFile:
        """An image as it is stored."""
        return cls(path, row.length, row=row)


class Layout(abc.ABC):
    """One way of writing a version down.

    Attributes:
        name: As ``--format`` names it.
    """

    name: str

    @abc.abstractmethod
    def files(self, version: DatasetVersion, rows: Rows) -> Iterator[OutFile]:
        """The files, in the order in which they are sent; images in the order of ``rows``, so that few reads fetch them.

        Raises:
            YardError: UNSUPPORTED_TASK, where the layout cannot hold labels of the version's task.
        """
