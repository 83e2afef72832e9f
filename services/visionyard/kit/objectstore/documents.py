"""Small JSON documents changed by compare-and-swap, with lost answers resolved by reading back.

Every write carries a nonce of its own. When a conditional write answers with a conflict or not at all, the document is read back: if it holds our
nonce, the write has happened and its answer was lost on the way; if it holds another's, somebody else was first. One case can't be told apart: our write
happened, its answer was lost, and somebody swapped again before we read back. It is reported as a conflict; the caller reads the document anew and decides
on what it finds, as after any conflict. Where the document stays as it was, attempt after attempt, the store is unavailable: that is no conflict, since callers
answer a conflict by reading and writing again.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore, OutcomeUnknown, Stored
from visionyard.kit.objectstore.rounds import rounds


@dataclass(frozen=True)
class Document:
    """A document as it was read or written.

    Attributes:
        key: Its key.
        body: Its JSON, without the nonce.
        etag: The object's etag.
        last_modified: When it was written, by the store's clock.
        now: The store's clock when it answered.
    """

    key: str
    body: dict[str, Any]
    etag: str
    last_modified: datetime
    now: datetime


class Documents:
    """Reads and writes documents in a store.

    Args:
        store: The bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def read(self, key: str) -> Document:
        """Reads a document.

        Raises:
            NotFound: there is none of that key.
            StoreUnavailable: the store does not answer.
        """
        return _document(self._store.get(key))[0]

    def refresh(self, document: Document) -> Document:
        """The document as it is now; the same object, at no bytes, where it has not changed.

        Raises:
            NotFound: it is gone.
            StoreUnavailable: the store does not answer.
        """
        stored = self._store.get_if_changed(document.key, document.etag)
        return document if stored is None else _document(stored)[0]

    def create(self, key: str, body: dict[str, Any]) -> Document:
        """Writes a document that must not be there yet.

        Raises:
            Conflict: there is one of that key, another writer's.
            StoreUnavailable: the store does not answer, or does not write.
        """
        return self._write(key, body, lambda data: self._store.create(key, data), None)

    def swap(self, document: Document, body: dict[str, Any]) -> Document:
        """Replaces a document that must still be the one given.

        Raises:
            Conflict: it has changed or is gone.
            StoreUnavailable: the store does not answer, or does not write.
        """
        return self._write(document.key, body, lambda data: self._store.compare_and_swap(document.key, data, document.etag), document.etag)

    def update(self, key: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Document:
        """Reads, changes and swaps, again and again until nobody came between.

        Raises:
            NotFound: there is none of that key.
            StoreUnavailable: the store does not answer, or does not write.
        """
        while True:
            document = self.read(key)
            try:
                return self.swap(document, change(dict(document.body)))
            except Conflict:
                continue

    def _write(self, key: str, body: dict[str, Any], send: Callable[[bytes], str], before: str | None) -> Document:
        nonce = uuid.uuid4().hex
        data = json.dumps({"nonce": nonce, "body": body}, sort_keys=True).encode()
        tries = rounds(key)
        while True:
            next(tries)
            with suppress(Conflict, OutcomeUnknown):
                send(data)
            found = self._read_back(key)
            if found is not None and found[1] == nonce:
                return found[0]
            # With the store as it was, the write has not arrived (yet): the same bytes may be sent again, the condition still guards them.
            unchanged = found[0].etag == before if found is not None else before is None
            if not unchanged:
                raise Conflict(key)

    def _read_back(self, key: str) -> tuple[Document, str] | None:
        try:
            return _document(self._store.get(key))
        except NotFound:
            return None


def _document(stored: Stored) -> tuple[Document, str]:
    wrapped = json.loads(stored.data)
    info = stored.info
    return Document(info.key, wrapped["body"], info.etag, info.last_modified, info.now), wrapped["nonce"]
