"""Small JSON documents changed by compare-and-swap, with lost answers resolved by reading back.

Every write carries a nonce of its own, and those of the writes that it replaced. After a write the document is read back, for the store's times, and because an
answer may have been lost or repeated on the way: if our nonce is in it, the write has happened, also where others have written again since; if not, somebody else
was first. (More than ``_WRITERS`` writes between a lost answer and our reading back would hide ours. That would be reported as a conflict.) Where the document stays
as it was, attempt after attempt, the store is unavailable: that is no conflict, since callers answer a conflict by reading and writing again.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore, OutcomeUnknown, Stored
from visionyard.kit.objectstore.rounds import rounds

_WRITERS = 8


@dataclass(frozen=True)
class Document:
    """A document as it was read or written.

    Attributes:
        key: Its key.
        body: Its JSON, without the nonce.
        etag: The object's etag; empty for our own write whose answer was lost and that others have replaced since.
        last_modified: When it was written, by the store's clock; for a write that others have replaced since, when they did.
        now: The store's clock when it answered.
        writers: The nonces of this write and of the last ones before it, the newest first.
    """

    key: str
    body: dict[str, Any]
    etag: str
    last_modified: datetime
    now: datetime
    writers: tuple[str, ...] = ()


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
        return _document(self._store.get(key))

    def refresh(self, document: Document) -> Document:
        """The document as it is now; the same object, at no bytes, where it has not changed.

        Raises:
            NotFound: it is gone.
            StoreUnavailable: the store does not answer.
        """
        stored = self._store.get_if_changed(document.key, document.etag)
        return document if stored is None else _document(stored)

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
        if not document.etag:
            raise Conflict(document.key)  # it has changed, and a store might take an empty condition for none
        return self._write(document.key, body, lambda data: self._store.compare_and_swap(document.key, data, document.etag), document)

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

    def _write(self, key: str, body: dict[str, Any], send: Callable[[bytes], str], before: Document | None) -> Document:
        nonce = uuid.uuid4().hex
        earlier = before.writers[: _WRITERS - 1] if before else ()
        data = json.dumps({"nonce": nonce, "earlier": earlier, "body": body}, sort_keys=True).encode()
        tries = rounds(key)
        while True:
            next(tries)
            etag = ""
            with suppress(Conflict, OutcomeUnknown):
                etag = send(data)
            found = self._read_back(key)
            if found is not None and found.writers[0] == nonce:
                return found
            if found is not None and (etag or nonce in found.writers):
                return replace(found, body=body, etag=etag, writers=(nonce, *earlier))
            # With the store as it was, the write has not arrived (yet): the same bytes may be sent again, the condition still guards them.
            unchanged = before is not None and found.etag == before.etag if found is not None else before is None
            if etag or not unchanged:
                raise Conflict(key)

    def _read_back(self, key: str) -> Document | None:
        try:
            return _document(self._store.get(key))
        except NotFound:
            return None


def _document(stored: Stored) -> Document:
    wrapped = json.loads(stored.data)
    info = stored.info
    writers = (wrapped["nonce"], *wrapped.get("earlier", ()))
    return Document(info.key, wrapped["body"], info.etag, info.last_modified, info.now, writers)
