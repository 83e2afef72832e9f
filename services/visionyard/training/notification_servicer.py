"""``visionyard.training.v1.NotificationService``: each RPC translates its request, calls a use case in a thread, and translates the answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import grpc.aio

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.server.listing import list_page
from visionyard.training import notification_mapping as mapping
from visionyard.training.notifications.answers import Outcome
from visionyard.training.notifications.channel import COLLECTION, Channel
from visionyard.training.notifications.channels import Channels
from visionyard.training.notifications.message import Message, trial_message
from visionyard.training.turns import Turns
from visionyard.training.v1 import notification_pb2, notification_service_pb2_grpc
from visionyard.training.v1 import notification_service_pb2 as messages

Context = grpc.aio.ServicerContext[Any, Any]


def _channel_name(name: str) -> ResourceName:
    return ResourceName.parse(name, COLLECTION)


class NotificationServicer(notification_service_pb2_grpc.NotificationServiceServicer):
    """Notification channels.

    Args:
        channels: The use cases.
        post: Sends a message once.
        turns: Where test messages are sent: a receiver may hold a thread for half a minute.
    """

    def __init__(self, channels: Channels, post: Callable[[Channel, Message], Outcome], turns: Turns) -> None:
        self._channels = channels
        self._post = post
        self._turns = turns

    async def CreateNotificationChannel(
        self, request: messages.CreateNotificationChannelRequest, _context: Context
    ) -> messages.CreateNotificationChannelResponse:
        """Makes a channel."""
        project = ProjectName.parse(request.parent)
        wanted = mapping.channel_from_proto(project, request)
        made = await asyncio.to_thread(self._channels.create, project, request.notification_channel_id, wanted)
        return messages.CreateNotificationChannelResponse(notification_channel=mapping.channel_to_proto(made))

    async def GetNotificationChannel(
        self, request: messages.GetNotificationChannelRequest, _context: Context
    ) -> messages.GetNotificationChannelResponse:
        """Reads a channel."""
        channel = await asyncio.to_thread(self._channels.get, _channel_name(request.name))
        return messages.GetNotificationChannelResponse(notification_channel=mapping.channel_to_proto(channel))

    async def ListNotificationChannels(
        self, request: messages.ListNotificationChannelsRequest, _context: Context
    ) -> messages.ListNotificationChannelsResponse:
        """Reads a page of channels."""
        read = partial(self._channels.list, ProjectName.parse(request.parent))
        channels, token = await list_page(request, notification_pb2.NotificationChannel, read, mapping.channel_to_proto)
        return messages.ListNotificationChannelsResponse(notification_channels=channels, next_page_token=token)

    async def DeleteNotificationChannel(
        self, request: messages.DeleteNotificationChannelRequest, _context: Context
    ) -> messages.DeleteNotificationChannelResponse:
        """Takes a channel away."""
        await asyncio.to_thread(self._channels.delete, _channel_name(request.name))
        return messages.DeleteNotificationChannelResponse()

    async def TestNotificationChannel(
        self, request: messages.TestNotificationChannelRequest, _context: Context
    ) -> messages.TestNotificationChannelResponse:
        """Sends a test message."""
        name = _channel_name(request.name)
        channel = await asyncio.to_thread(self._channels.get, name)
        message = trial_message(name.project, name.id, datetime.now(UTC), socket.gethostname())
        outcome = await self._turns.take(partial(self._post, channel, message))
        if not outcome.delivered:
            raise YardError(
                Reason.MESSAGE_NOT_DELIVERED,
                f"the notification channel {name.id!r} at {channel.masked_url} did not take the test message: {outcome.told}",
                {"name": str(name), "http_status": str(outcome.http_status)},
            )
        return messages.TestNotificationChannelResponse(http_status=outcome.http_status)
