"""Notification channels: who is told what becomes of training jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from visionyard.client.errors import ClientError
from visionyard.client.jobs import PAGE, all_pages
from visionyard.client.references import References
from visionyard.client.sync import Blocking, Facade
from visionyard.client.transport import Transport
from visionyard.kit.errors import Code
from visionyard.kit.request_id import new_request_id
from visionyard.training.v1 import notification_pb2, notification_service_pb2
from visionyard.training.v1.notification_service_pb2_grpc import NotificationServiceStub

ChannelKindName = Literal["wecom", "dingtalk", "feishu", "slack", "webhook"]
EventName = Literal["queued", "started", "improved", "finished", "failed", "preempted"]
_COLLECTION = "notificationChannels"
_TEST_TIMEOUT_S = 90.0
"""Longer than a receiver is given, so that no test is sent twice."""


class AsyncNotificationChannels:
    """The notification channels of a project.

    Args:
        transport: The channels of gRPC.
        names: Names in the project.
    """

    def __init__(self, transport: Transport, names: References) -> None:
        self._transport = transport
        self._names = names

    async def create(
        self, kind: ChannelKindName, url: str, *, on: Sequence[EventName] = (), channel: str = "", secret: str = "", request_id: str = ""
    ) -> notification_pb2.NotificationChannel:
        """Makes a channel.

        Args:
            kind: What stands at the other end.
            url: Where it posts to; nothing ever gives it out again.
            on: What it is told of; nothing: finished and failed.
            channel: Its id; empty: the kind's name, with a number where that is taken.
            secret: What messages to DingTalk and Feishu are signed with; empty for none.
            request_id: The same one again gives the same channel; empty: a new one.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_NAME, INVALID_FIELD), PERMISSION_DENIED (ADDRESS_NOT_ALLOWED), ALREADY_EXISTS (ALREADY_EXISTS,
                REQUEST_ID_REUSED), RESOURCE_EXHAUSTED (TOO_MANY_CHANNELS).
        """
        wanted = notification_pb2.NotificationChannel(
            kind=notification_pb2.NotificationKind.Value(f"NOTIFICATION_KIND_{kind.upper()}"),
            events=[notification_pb2.NotificationEvent.Value(f"NOTIFICATION_EVENT_{event.upper()}") for event in on],
        )
        request = notification_service_pb2.CreateNotificationChannelRequest(
            parent=self._names.parent,
            notification_channel_id=self._names.resource(_COLLECTION, channel).split("/")[-1] if channel else "",
            notification_channel=wanted,
            url=url,
            secret=secret,
            request_id=request_id or new_request_id(),
        )
        response = await self._transport.unary("training", lambda c: NotificationServiceStub(c).CreateNotificationChannel, request)
        return response.notification_channel

    async def get(self, channel: str) -> notification_pb2.NotificationChannel:
        """Reads a channel.

        Raises:
            ClientError: NOT_FOUND (CHANNEL_NOT_FOUND).
        """
        request = notification_service_pb2.GetNotificationChannelRequest(name=self._names.resource(_COLLECTION, channel))
        response = await self._transport.unary("training", lambda c: NotificationServiceStub(c).GetNotificationChannel, request)
        return response.notification_channel

    async def list(self, where: str = "") -> list[notification_pb2.NotificationChannel]:
        """All channels, by name.

        Args:
            where: Only those, as ``kind = NOTIFICATION_KIND_SLACK``: a filter of https://google.aip.dev/160 on the channel's fields.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD), ``where`` is no filter.
        """

        async def page(token: str) -> notification_service_pb2.ListNotificationChannelsResponse:
            request = notification_service_pb2.ListNotificationChannelsRequest(
                parent=self._names.parent, page_size=PAGE, page_token=token, filter=where
            )
            return await self._transport.unary("training", lambda c: NotificationServiceStub(c).ListNotificationChannels, request)

        return await all_pages(page, "notification_channels")

    async def delete(self, channel: str) -> None:
        """Takes a channel away.

        Raises:
            ClientError: NOT_FOUND (CHANNEL_NOT_FOUND).
        """
        request = notification_service_pb2.DeleteNotificationChannelRequest(name=self._names.resource(_COLLECTION, channel))
        try:
            await self._transport.unary("training", lambda c: NotificationServiceStub(c).DeleteNotificationChannel, request)
        except ClientError as error:
            # A repeated call whose first answer got lost finds what it wanted: no channel.
            if error.code is not Code.NOT_FOUND or error.attempts == 1:
                raise

    async def test(self, channel: str) -> int:
        """Sends a test message and gives the HTTP status that the channel answered with.

        Raises:
            ClientError: NOT_FOUND (CHANNEL_NOT_FOUND), FAILED_PRECONDITION (MESSAGE_NOT_DELIVERED).
        """
        request = notification_service_pb2.TestNotificationChannelRequest(name=self._names.resource(_COLLECTION, channel))
        response = await self._transport.unary(
            "training", lambda c: NotificationServiceStub(c).TestNotificationChannel, request, timeout_s=_TEST_TIMEOUT_S
        )
        return response.http_status


class NotificationChannels(Facade[AsyncNotificationChannels]):
    """The notification channels of a project."""

    create = Blocking(AsyncNotificationChannels.create)
    get = Blocking(AsyncNotificationChannels.get)
    list = Blocking(AsyncNotificationChannels.list)
    delete = Blocking(AsyncNotificationChannels.delete)
    test = Blocking(AsyncNotificationChannels.test)
