"""A labelling that a source seems to hold. A source may hold several (VOC beside YOLO, polygons beside boxes): :mod:`.detect` chooses one and names the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from visionyard.dataset.formats.labelled import LabelledSource
from visionyard.kit.errors import Reason, YardError


class Labelling:
    """One of a source's labellings.

    Args:
        format_: See the attribute.
        place: See the attribute.
        read: Reads it, when it is asked for. Raises YardError: CLASSES_UNKNOWN, ANNOTATION_BOMB, NO_LABELS.
        declared: See the attribute.

    Attributes:
        format: As ``--format`` names it.
        place: Its file or folder, for messages.
        declared: Whether a data.yaml names it.
    """

    def __init__(self, format_: str, place: str, read: Callable[[], LabelledSource], *, declared: bool = False) -> None:
        self.format = format_
        self.place = place
        self.declared = declared
        self._read = read

    @cached_property
    def source(self) -> LabelledSource:
        """What it holds; read once.

        Raises:
            YardError: it is refused as a whole.
        """
        return self._read()

    def _readable(self) -> LabelledSource | None:
        """What it holds; None where it is refused. Raises YardError: ANNOTATION_BOMB."""
        try:
            return self.source
        except YardError as error:
            if error.reason is Reason.ANNOTATION_BOMB:
                raise
            return None

    def labelled_images(self) -> int:
        """How many of the source's images it labels; 0 where it is refused.

        Raises:
            YardError: ANNOTATION_BOMB.
        """
        source = self._readable()
        return source.images.labelled() + source.left_out.labelled() if source else 0

    def missing_images(self) -> int:
        """How many images it labels that are not in the source; 0 where it is refused; raises likewise."""
        source = self._readable()
        return len(source.orphans) if source else 0

    def holds_nothing(self) -> bool:
        """Whether it can be read and labels no image at all, there or not: a list of classes, say; raises likewise."""
        return self._readable() is not None and not self.labelled_images() and not self.missing_images()
