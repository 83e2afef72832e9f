"""Tells channels what has happened: looks at the outbox, finds out what is true, and posts, as often as it takes, without one channel holding up another."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from visionyard.kit.errors import YardError
from visionyard.kit.jobs.model import Job
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.jobs.signals import signalled
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.documents import Document, Documents
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore, StoreUnavailable
from visionyard.training.notifications import delivery
from visionyard.training.notifications.answers import Outcome
from visionyard.training.notifications.channel import COLLECTION, Channel
from visionyard.training.notifications.channels import Channels
from visionyard.training.notifications.delivery import Delivery
from visionyard.training.notifications.events import JobEvent, Verdict, judge
from visionyard.training.notifications.message import Message, compose
from visionyard.training.notifications.outbox import PREFIX

_log = logging.getLogger(__name__)
_POLL_S = 2.0
_OPEN_FOR = timedelta(minutes=15)
"""Longer than anybody who announced an event can still be about to make it true: writers wait minutes for a store that is away."""
_OLDEST = timedelta(hours=3)
"""No event is of use any more then, whatever went wrong with it."""

Post = Callable[[Channel, Message], Outcome]
Count = Callable[[str, str], None]
"""Gets a channel's kind and ``delivered``, ``retried`` or ``given_up``."""


class Notifier:
    """Delivers what the outbox holds.

    Args:
        store: The bucket.
        records: The training jobs.
        channels: The channels.
        post: Sends a message once.
        threads: Where messages are sent.
        at_once: How many are sent at once; of channels that failed last half as many, so that they leave room.
        count: Hears how each try went.
    """

    def __init__(
        self, store: ObjectStore, records: JobRecords, channels: Channels, post: Post, threads: Executor, at_once: int, count: Count
    ) -> None:
        self._store = store
        self._documents = Documents(store)
        self._records = records
        self._channels = channels
        self._post = post
        self._threads = threads
        self._at_once = at_once
        self._count = count
        self._cache: dict[str, Document] = {}
        self._broken: dict[str, str] = {}
        self._busy: set[ResourceName] = set()
        self._failing: set[ResourceName] = set()
        self._lock = threading.Lock()
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Works until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            try:
                await asyncio.to_thread(self.look)
            except StoreUnavailable as error:
                _log.warning("messages wait for the store: %s", error)
                await asyncio.sleep(_POLL_S)
            await signalled(self._woken, _POLL_S)

    def look(self) -> None:
        """Goes through the outbox once, and has what is due sent in other threads. Blocks.

        Raises:
            StoreUnavailable: the store stayed away.
        """
        entries = list(self._store.list(PREFIX))
        if not entries:
            self._cache.clear()
            return
        try:
            now = self._store.head(entries[0].key).now
        except NotFound:  # told meanwhile: by another service, or by a thread of this one
            return
        kept: dict[str, Document] = {}
        for entry in entries:
            document = self._cache.get(entry.key)
            if document is None or document.etag != entry.etag:
                try:
                    document = self._documents.read(entry.key)
                except NotFound:
                    continue
                except (KeyError, ValueError):
                    self._drop(entry.key, "it cannot be read")
                    continue
            kept[entry.key] = document
        self._cache = kept
        behind: set[ResourceName] = set()
        for document in sorted(kept.values(), key=_order):
            self._look_at(document, now, behind)

    def _look_at(self, document: Document, now: datetime, behind: set[ResourceName]) -> None:
        if now - document.last_modified > _OLDEST:
            self._drop(document.key, "it is too old")
        elif self._broken.get(document.key) != document.etag:
            try:
                planned = document if document.body["deliveries"] is not None else self._plan(document, now)
                if planned is not None:
                    self._send_due(planned, now, behind)
            except StoreUnavailable:
                raise
            except Exception:  # noqa: BLE001 - one odd event must not keep the others, nor end the service
                _log.exception("an event cannot be told", extra={"event": document.key.removeprefix(PREFIX)})
                self._broken = {key: etag for key, etag in self._broken.items() if key in self._cache} | {document.key: document.etag}

    def _drop(self, key: str, why: str) -> None:
        _log.warning("an event is not told: %s", why, extra={"event": key.removeprefix(PREFIX)})
        self._store.delete(key)

    def _plan(self, document: Document, now: datetime) -> Document | None:
        """The document with its message and its deliveries, once the event is true; None before, or where nobody wants it."""
        event = JobEvent.from_json(document.body)
        job = self._job(event.job)
        verdict = Verdict.HAPPENED if document.body["sure"] and job is not None else judge(event, job)
        channels = [channel.name.id for channel in self._channels.all(event.job.project) if event.event in channel.events]
        if verdict is Verdict.NEVER or not channels or (verdict is Verdict.OPEN and now - document.last_modified > _OPEN_FOR):
            self._store.delete(document.key)
            return None
        if verdict is Verdict.OPEN or job is None:
            return None
        message = compose(self._store, event, job, self._records.progress(job), document.last_modified)
        return self._swap(document, {**document.body, "message": message.to_json(), "deliveries": delivery.planned(channels, now)})

    def _job(self, name: ResourceName) -> Job | None:
        try:
            return self._records.get(name)
        except YardError:
            return None

    def _swap(self, document: Document, body: dict[str, Any]) -> Document | None:
        """The document as it becomes; None where somebody else was faster."""
        try:
            return self._documents.swap(document, body)
        except Conflict:
            return None

    def _send_due(self, document: Document, now: datetime, behind: set[ResourceName]) -> None:
        """Claims what is due and can be sent right now, and has it sent.

        Args:
            document: The event.
            now: By the store's clock.
            behind: Channels to which an earlier event is being sent, here or by another service, or would be if there were room: what happened later
                waits for that. Those of this event are added.
        """
        deliveries = delivery.from_json(document.body["deliveries"])
        if not deliveries:
            self._store.delete(document.key)
            return
        project = document.key.removeprefix(PREFIX).partition("/")[0]
        names = {channel: ResourceName(project, COLLECTION, channel) for channel in deliveries}
        due = [channel for channel, entry in deliveries.items() if entry.due(now) and names[channel] not in behind]
        taken = [channel for channel in due if self._take(names[channel])]
        behind.update(
            names[channel] for channel, entry in deliveries.items() if entry.claimed_at(now) or (entry.due(now) and channel not in taken)
        )
        if not taken:
            return
        claim, submitted = uuid.uuid4().hex, 0
        try:
            claimed = {channel: deliveries[channel].claimed(claim, now) for channel in taken}
            body = {**document.body, "deliveries": delivery.to_json({**deliveries, **claimed})}
            swapped = self._swap(document, body)
            if swapped is not None:
                message = Message.from_json(document.body["message"])
                for channel in taken:
                    self._threads.submit(self._deliver, document.key, names[channel], claim, message)
                    submitted += 1
        finally:
            for channel in taken[submitted:]:
                self._release(names[channel])

    def _take(self, name: ResourceName) -> bool:
        """A channel is sent one message at a time, and those that fail leave half of the room to others."""
        with self._lock:
            failing = name in self._failing and len(self._busy & self._failing) >= self._at_once // 2
            if name in self._busy or len(self._busy) >= self._at_once or failing:
                return False
            self._busy.add(name)
            return True

    def _release(self, name: ResourceName) -> None:
        with self._lock:
            self._busy.discard(name)

    def _deliver(self, key: str, name: ResourceName, claim: str, message: Message) -> None:
        try:
            try:
                channel = self._channels.get(name)
            except YardError:  # deleted: there is nobody to be told
                self._settle(key, name.id, claim, None)
                return
            outcome = self._post(channel, message)
            with self._lock:
                (self._failing.discard if outcome.delivered else self._failing.add)(name)
            self._report(channel, message, outcome, self._settle(key, name.id, claim, outcome))
        except StoreUnavailable as error:
            _log.warning("how a message went could not be put down, so it may be sent again: %s", error)
        except Exception:  # noqa: BLE001 - whatever it is, the claim runs out, and the message is tried again
            _log.exception("a message could not be sent", extra={"channel": str(name)})
        finally:
            self._release(name)
            if self._loop is not None:
                with suppress(RuntimeError):  # the loop has just been closed
                    self._loop.call_soon_threadsafe(self._woken.set)

    def _settle(self, key: str, channel: str, claim: str, outcome: Outcome | None) -> Delivery | None:
        """Puts down how a try went; gives what is left to do, None for nothing."""
        while True:
            try:
                document = self._documents.read(key)
            except NotFound:
                return None
            deliveries = delivery.from_json(document.body["deliveries"] or {})
            entry = deliveries.pop(channel, None)
            if entry is None or entry.claim != claim:  # the claim ran out, and another service has it
                return entry
            again = entry.failed(outcome, document.now) if outcome is not None and not outcome.delivered else None
            if again is None and not deliveries:
                self._store.delete(key)
                return None
            left = {**deliveries, channel: again} if again is not None else deliveries
            if self._swap(document, {**document.body, "deliveries": delivery.to_json(left)}) is not None:
                return again

    def _report(self, channel: Channel, message: Message, outcome: Outcome, again: Delivery | None) -> None:
        """Counts a try and writes a line about it, in which nothing is secret."""
        extra = {"channel": str(channel.name), "kind": channel.kind.value, "event": message.event, "job": message.job}
        if outcome.delivered:
            self._count(channel.kind.value, "delivered")
            _log.info("message delivered", extra=extra)
        elif again is not None:
            self._count(channel.kind.value, "retried")
            _log.warning("a channel did not take a message: %s; it is sent again", outcome.told, extra={**extra, "tries": again.tries})
        else:
            self._count(channel.kind.value, "given_up")
            _log.error("a channel did not take a message: %s; it is given up", outcome.told, extra=extra)


def _order(document: Document) -> tuple[str, int, str]:
    """Events in the order in which they happened; what a channel failed to take may come behind what happened later."""
    body = document.body
    time = (body.get("message") or {}).get("time") or document.last_modified.isoformat()
    return str(time), int(body.get("revision") or 0), document.key
