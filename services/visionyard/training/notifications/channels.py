"""The channels in the bucket: ``projects/{project}/notificationChannels/{channel}.json``, made, read and deleted, never changed. All calls block."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ProjectName, ResourceName, check_id
from visionyard.kit.objectstore.documents import Document, Documents
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore
from visionyard.kit.pagination import paginate
from visionyard.training.notifications.channel import COLLECTION, Channel, check_channel
from visionyard.training.notifications.events import Event

_log = logging.getLogger(__name__)
_SUFFIX = ".json"
_MOST = 20
"""Channels of a project: each is told by a call of its own."""
_FRESH_S = 2.0
"""So long a listing stands for the next ones, so that a burst of new jobs lists once."""


class Channels:
    """The channels of all projects. Safe for threads.

    Args:
        store: The bucket.
        private: Whether channels may lie at private addresses.
    """

    def __init__(self, store: ObjectStore, *, private: bool = False) -> None:
        self._store = store
        self._private = private
        self._documents = Documents(store)
        self._cache: dict[str, Document] = {}
        self._wanted: dict[str, tuple[float, frozenset[Event]]] = {}
        self._lock = threading.Lock()

    def create(self, project: ProjectName, channel_id: str, wanted: Channel) -> Channel:
        """Makes a channel; the same request again gives what the first one made.

        Args:
            project: The project.
            channel_id: Its id; empty: its kind's name, with a number where that is taken.
            wanted: The channel; of its name only the project counts.

        Raises:
            YardError: INVALID_NAME, INVALID_FIELD, ADDRESS_NOT_ALLOWED, ALREADY_EXISTS, REQUEST_ID_REUSED or TOO_MANY_CHANNELS.
        """
        check_channel(wanted, private=self._private)
        kind = wanted.kind.value
        names = [check_id(channel_id, "channel")] if channel_id else [kind, *(f"{kind}-{n}" for n in range(2, _MOST + 2))]
        held = len(self.all(project.project))
        for name in (ResourceName(project.project, COLLECTION, id_) for id_ in names):
            found = self._find(name)
            if found is None:
                if held >= _MOST:
                    raise _too_many(project, held)
                made = self._make(replace(wanted, name=name))
                if made is not None:
                    return made
                found = self.get(name)  # made meanwhile
            if wanted.request_id and found.request_id == wanted.request_id:
                return _same(found, wanted)
        raise YardError(
            Reason.ALREADY_EXISTS,
            f"there is a notification channel {names[0]!r} in project {project.project!r} already: choose another name, or delete it",
            {"name": str(ResourceName(project.project, COLLECTION, names[0]))},
        )

    def _make(self, channel: Channel) -> Channel | None:
        try:
            document = self._documents.create(_key(channel.name), channel.body())
        except Conflict:
            return None
        with self._lock:
            self._wanted.pop(channel.name.project, None)
        return Channel.from_document(channel.name, document)

    def get(self, name: ResourceName) -> Channel:
        """Reads one.

        Raises:
            YardError: CHANNEL_NOT_FOUND.
        """
        found = self._find(name)
        if found is None:
            raise YardError(
                Reason.CHANNEL_NOT_FOUND,
                f"there is no notification channel {name.id!r} in project {name.project!r}: see `yard notify list`",
                {"name": str(name)},
            )
        return found

    def _find(self, name: ResourceName) -> Channel | None:
        try:
            return Channel.from_document(name, self._documents.read(_key(name)))
        except NotFound:
            return None

    def delete(self, name: ResourceName) -> None:
        """Takes one away, its address with it.

        Raises:
            YardError: CHANNEL_NOT_FOUND.
        """
        self.get(name)
        self._store.delete(_key(name))
        with self._lock:
            self._wanted.pop(name.project, None)
            self._cache.pop(_key(name), None)

    def all(self, project: str) -> list[Channel]:
        """A project's channels, by id: one listing, and a read for each that is new."""
        prefix = f"projects/{project}/{COLLECTION}/"
        found = []
        for entry in self._store.list(prefix, delimiter="/"):
            if entry.is_prefix or not entry.key.endswith(_SUFFIX):
                continue
            with self._lock:
                document = self._cache.get(entry.key)
            try:
                if document is None or document.etag != entry.etag:
                    document = self._documents.read(entry.key)
                found.append(Channel.from_document(ResourceName(project, COLLECTION, entry.key[len(prefix) : -len(_SUFFIX)]), document))
            except NotFound:
                continue
            except (KeyError, ValueError):
                _log.warning("%s cannot be read and is left out", entry.key)
                continue
            with self._lock:
                self._cache[entry.key] = document
        return sorted(found, key=lambda channel: channel.name.id)

    def list(self, project: ProjectName, page_size: int, page_token: str) -> tuple[list[Channel], str]:
        """A page of a project's channels, by id, and the next page's token.

        Raises:
            YardError: INVALID_FIELD, INVALID_PAGE_TOKEN.
        """
        page = paginate(f"{project}/{COLLECTION}", page_size, page_token)
        left = [channel for channel in self.all(project.project) if channel.name.id > page.after]
        shown = left[: page.size]
        return shown, page.next_token(shown[-1].name.id) if len(left) > page.size else ""

    def wanted(self, project: str) -> frozenset[Event]:
        """What any of a project's channels wants to be told; an answer may be two seconds old."""
        with self._lock:
            read_at, events = self._wanted.get(project, (-_FRESH_S, frozenset()))
        if time.monotonic() - read_at < _FRESH_S:
            return events
        read_at = time.monotonic()
        events = frozenset(event for channel in self.all(project) for event in channel.events)
        with self._lock:
            self._wanted[project] = (read_at, events)
        return events


def _key(name: ResourceName) -> str:
    return f"{name}{_SUFFIX}"


def _too_many(project: ProjectName, held: int) -> YardError:
    return YardError(
        Reason.TOO_MANY_CHANNELS,
        f"{project} has {held} notification channels, which is as many as there may be: delete one with `yard notify delete`",
        {"name": str(project), "limit": str(_MOST)},
    )


def _same(found: Channel, wanted: Channel) -> Channel:
    """The channel that a request made before, if it asked for the same."""
    if found.body() == wanted.body():
        return found
    raise YardError(
        Reason.REQUEST_ID_REUSED,
        f"request_id {wanted.request_id} was used before for another notification channel; choose a new one",
        {"request_id": wanted.request_id},
    )
