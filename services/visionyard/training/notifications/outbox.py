"""Where events wait to be told: ``queue/notifications/{project}/{job}.{event}.{number}``, one document an event.

An event is put down before the job's document changes, so no crash can lose it, and believed only when the document shows that the change was made (:func:`judge`). Of a project
without a channel that wants it nothing is written. What was told is deleted. The document::

    {"event": "finished", "job": "projects/...", "number": 1, "host": "gpu1", "revision": 9, "sure": false, "message": null, "deliveries": null}

gets ``message`` and ``deliveries`` by a swap of the service that first finds it true; see :mod:`visionyard.training.notifications.delivery`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from visionyard.kit.jobs.model import Job
from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.port import Conflict, NotFound, ObjectStore
from visionyard.training.notifications.channels import Channels
from visionyard.training.notifications.events import JobEvent, end_of, events_between

PREFIX = "queue/notifications/"


class Outbox:
    """Puts events down; see :class:`visionyard.kit.jobs.events.JobEvents`.

    Args:
        store: The bucket.
        channels: Know what anybody wants to be told.
    """

    def __init__(self, store: ObjectStore, channels: Channels | None = None) -> None:
        self._documents = Documents(store)
        self._channels = channels if channels is not None else Channels(store)

    def changing(self, before: Job | None, after: Job) -> None:
        """See the port."""
        if after.spec.get("tuning_job"):
            return  # a trial: it is its search that is told of
        events = events_between(before, after)
        if before is not None and before.state.finished and (end := end_of(before)) is not None:
            self._confirm(end)  # the job is resumed: after that nobody could tell any more that it had ended
        if not events:
            return
        wanted = self._channels.wanted(after.name.project)
        for event in events:
            if event.event in wanted:
                with suppress(Conflict):  # announced before
                    self._documents.create(event_key(event), announced(event))

    def _confirm(self, event: JobEvent) -> None:
        """Marks an announced event as true."""
        with suppress(NotFound, Conflict):
            document = self._documents.read(event_key(event))
            self._documents.swap(document, {**document.body, "sure": True})


def event_key(event: JobEvent) -> str:
    """Where an event waits."""
    return f"{PREFIX}{event.job.project}/{event.id}"


def announced(event: JobEvent) -> dict[str, Any]:
    """A new event's document."""
    return {**event.to_json(), "sure": False, "message": None, "deliveries": None}
