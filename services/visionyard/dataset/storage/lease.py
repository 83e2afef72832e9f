"""One collection of a project at a time: the document ``projects/{project}/collection.json`` says whose turn it is.

Whoever holds it beats every few seconds; one that has not beaten for a while, by the store's clock, is dead, and the next takes its place. A holder that was frozen and
wakes finds another's name there at its next step.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.objectstore.documents import Document, Documents
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore, StoreUnavailable

_log = logging.getLogger(__name__)
_BEAT_S = 4.0
_DEAD = timedelta(seconds=20)
_RETRY_S = 5.0


def lease_key(project: str) -> str:
    """Where the document lies."""
    return f"projects/{project}/collection.json"


class CollectionLease:
    """The right to collect a project's garbage.

    Args:
        store: The bucket.
        project: The project's id.

    Attributes:
        id: This collection's own, never used again.
    """

    def __init__(self, store: ObjectStore, project: str) -> None:
        self.id = uuid.uuid4().hex
        self._documents = Documents(store)
        self._project = project
        self._lock = threading.Lock()
        self._held: Document | None = None
        self._ended = threading.Event()

    @contextmanager
    def held(self) -> Iterator[datetime]:
        """Holds the lease while the block runs, and gives the store's clock as it begins. Blocks.

        Raises:
            YardError: COLLECTION_RUNNING, another one lives.
            StoreUnavailable: the store does not answer.
        """
        document = self._take()
        self._held = document
        beating = threading.Thread(target=self._beat, name="collection lease", daemon=True)
        beating.start()
        try:
            yield document.now
        finally:
            self._ended.set()
            beating.join()
            self._give_back()

    def check(self) -> None:
        """Asks the store whether the lease is still held; before anything is deleted. Blocks.

        Raises:
            YardError: COLLECTION_RUNNING, it was taken over.
            StoreUnavailable: the store does not answer.
        """
        try:
            holder = self._documents.read(lease_key(self._project)).body["holder"]
        except NotFound:
            holder = ""
        if holder != self.id:
            raise self._running()

    def _take(self) -> Document:
        key, body = lease_key(self._project), {"holder": self.id, "beat": 0}
        try:
            try:
                current = self._documents.read(key)
            except NotFound:
                return self._documents.create(key, body)
            if current.body["holder"] and current.now - current.last_modified < _DEAD:
                raise self._running()
            return self._documents.swap(current, body)
        except Conflict:
            raise self._running() from None

    def _running(self) -> YardError:
        return YardError(
            Reason.COLLECTION_RUNNING,
            f"another collection of project {self._project!r} is running: wait until it is done, then try again if there is need",
            {"name": f"projects/{self._project}"},
            retry_after_s=_RETRY_S,
        )

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(_BEAT_S):
            beat += 1
            try:
                with self._lock:
                    if self._held is not None:
                        self._held = self._documents.swap(self._held, {"holder": self.id, "beat": beat})
            except Conflict:
                return  # taken over; the next check says so
            except StoreUnavailable as error:
                _log.warning("the collection's lease could not be renewed: %s", error)

    def _give_back(self) -> None:
        with suppress(Conflict, StoreUnavailable), self._lock:  # where that fails it runs out by itself
            if self._held is not None:
                self._documents.swap(self._held, {"holder": "", "beat": 0})
