"""Bytes that uploads have announced and that have not come yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.port import Listing, NotFound, ObjectStore

DOCUMENT, COMPLETE, PARTS = "upload.json", "complete", "parts/"
"""What lies below an upload's name: what was announced, the mark that all is there, the bytes."""
_UNDER_WAY = timedelta(hours=1)


@dataclass
class _Arrived:
    """What of an upload is in the bucket."""

    stored: int = 0
    begun: bool = False
    complete: bool = False


class Announced:
    """Adds up what is still to come, from a listing of a project.

    Args:
        store: The bucket.
        project: The project's id.
    """

    def __init__(self, store: ObjectStore, project: str) -> None:
        self._documents = Documents(store)
        self._prefix = f"projects/{project}/uploads/"
        self._uploads: dict[str, _Arrived] = {}

    def see(self, entry: Listing) -> None:
        """Takes note of an object of the project."""
        if not entry.key.startswith(self._prefix):
            return
        name, _, rest = entry.key[len(self._prefix) :].partition("/")
        upload = self._uploads.setdefault(name, _Arrived())
        upload.begun |= rest == DOCUMENT
        upload.complete |= rest == COMPLETE
        upload.stored += entry.size if rest.startswith(PARTS) else 0

    def missing_bytes(self) -> int:
        """How many bytes are still to come of uploads that were begun within the hour; an older one that stands still may never be finished. Blocks.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        missing = 0
        for name, upload in self._uploads.items():
            if not upload.begun or upload.complete:
                continue
            try:
                document = self._documents.read(f"{self._prefix}{name}/{DOCUMENT}")
            except NotFound:
                continue
            if document.now - document.last_modified < _UNDER_WAY:
                missing += max(0, int(document.body["size"]) - upload.stored)
        return missing
