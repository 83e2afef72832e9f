"""Notification channels on the wire; what is secret is read from requests and written into no answer."""

from __future__ import annotations

from visionyard.kit.errors import invalid_field
from visionyard.kit.jobs.mapping import timestamp
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.training.notifications.channel import COLLECTION, DEFAULT_EVENTS, Channel, ChannelKind
from visionyard.training.notifications.events import Event
from visionyard.training.v1 import notification_pb2
from visionyard.training.v1 import notification_service_pb2 as messages

_KINDS = {kind: notification_pb2.NotificationKind.Value(f"NOTIFICATION_KIND_{kind.name}") for kind in ChannelKind}
_EVENTS = {event: notification_pb2.NotificationEvent.Value(f"NOTIFICATION_EVENT_{event.name}") for event in Event}


def channel_from_proto(project: ProjectName, request: messages.CreateNotificationChannelRequest) -> Channel:
    """What a request asks for.

    Raises:
        YardError: INVALID_FIELD.
    """
    wanted = request.notification_channel
    kinds = {number: kind for kind, number in _KINDS.items()}
    events = {number: event for event, number in _EVENTS.items()}
    if wanted.kind not in kinds:
        raise invalid_field("notification_channel.kind", "takes wecom, dingtalk, feishu, slack or webhook")
    if not set(wanted.events) <= set(events):
        raise invalid_field("notification_channel.events", "takes queued, started, improved, finished, failed and preempted")
    chosen = {events[number] for number in wanted.events} or set(DEFAULT_EVENTS)
    return Channel(
        name=ResourceName(project.project, COLLECTION, request.notification_channel_id),
        kind=kinds[wanted.kind],
        events=tuple(event for event in Event if event in chosen),
        url=request.url,
        secret=request.secret,
        request_id=request.request_id,
    )


def channel_to_proto(channel: Channel) -> notification_pb2.NotificationChannel:
    """A channel on the wire, its address masked."""
    return notification_pb2.NotificationChannel(
        name=str(channel.name),
        kind=_KINDS[channel.kind],
        events=[_EVENTS[event] for event in channel.events],
        masked_url=channel.masked_url,
        signed=bool(channel.secret),
        create_time=timestamp(channel.create_time),
        etag=channel.etag,
    )
