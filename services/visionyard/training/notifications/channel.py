"""A notification channel: where messages about a project's training jobs go. Its address is a secret, and so shown nowhere."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.documents import Document
from visionyard.kit.web.networks import is_literal, may_connect
from visionyard.kit.web.urls import Url
from visionyard.training.notifications.events import Event

COLLECTION = "notificationChannels"
PRIVATE_SETTING = "VISIONYARD_NOTIFY_PRIVATE"
DEFAULT_EVENTS = (Event.FINISHED, Event.FAILED)
_LONGEST_SECRET = 256


class ChannelKind(enum.Enum):
    """What stands at the other end; the names are those of ``visionyard.training.v1.NotificationKind``."""

    WECOM = "wecom"
    DINGTALK = "dingtalk"
    FEISHU = "feishu"
    SLACK = "slack"
    WEBHOOK = "webhook"

    @property
    def signs(self) -> bool:
        """Whether it knows a secret that messages are signed with."""
        return self in {ChannelKind.DINGTALK, ChannelKind.FEISHU}


@dataclass(frozen=True)
class Channel:
    """A channel.

    Attributes:
        name: ``projects/{project}/notificationChannels/{channel}``.
        kind: What stands at the other end.
        events: What it is told of.
        url: Where it posts to; secret.
        secret: What messages are signed with; secret; empty for none.
        request_id: The client's id of the request that made it; may be empty.
        create_time: When it was made, by the store's clock; None before.
        etag: The document's.
    """

    name: ResourceName
    kind: ChannelKind
    events: tuple[Event, ...]
    url: str = field(repr=False)
    secret: str = field(default="", repr=False)
    request_id: str = ""
    create_time: datetime | None = None
    etag: str = ""

    @property
    def address(self) -> Url:
        """The address, taken apart."""
        return Url.parse(self.url)

    @property
    def masked_url(self) -> str:
        """The address as it may be shown: what lies behind the host is what lets anybody post."""
        return masked(self.address)

    def body(self) -> dict[str, Any]:
        """The document's JSON."""
        return {
            "kind": self.kind.value,
            "events": [event.value for event in self.events],
            "url": self.url,
            "secret": self.secret,
            "request_id": self.request_id,
        }

    @classmethod
    def from_document(cls, name: ResourceName, document: Document) -> Channel:
        """Reads a channel's document."""
        body: Mapping[str, Any] = document.body
        return cls(
            name=name,
            kind=ChannelKind(body["kind"]),
            events=tuple(Event(event) for event in body["events"]),
            url=body["url"],
            secret=body["secret"],
            request_id=body["request_id"],
            create_time=document.last_modified,
            etag=document.etag,
        )


def masked(url: Url) -> str:
    """``https://host/…``."""
    return f"{url.scheme}://{url.authority}/…"


def check_channel(channel: Channel, *, private: bool) -> None:
    """Refuses a channel that could never be told anything.

    Args:
        channel: As it is asked for.
        private: Whether messages may go to private addresses. What a name leads to is judged whenever something is sent.

    Raises:
        YardError: INVALID_FIELD, ADDRESS_NOT_ALLOWED; no message shows the address.
    """
    try:
        url = channel.address
    except ValueError as error:
        # Not the reader's own words where they quote a part of the address.
        why = str(error) if "'" not in str(error) else "names no host that could be one"
        raise invalid_field("url", f"the address {why}") from None
    if is_literal(url.host) and not may_connect(url.host, private=private):
        raise address_not_allowed(url)
    if len(channel.secret) > _LONGEST_SECRET or not channel.secret.isprintable():
        raise invalid_field("secret", f"takes at most {_LONGEST_SECRET} printable characters")
    if channel.secret and not channel.kind.signs:
        raise invalid_field("secret", f"messages to {channel.kind.value} are not signed; only those to dingtalk and feishu are")


def address_not_allowed(url: Url) -> YardError:
    """An ADDRESS_NOT_ALLOWED error."""
    private = not is_literal(url.host) or may_connect(url.host, private=True)
    remedy = f"give a public one, or have an administrator set {PRIVATE_SETTING}=true" if private else "give another"
    return YardError(
        Reason.ADDRESS_NOT_ALLOWED,
        f"{masked(url)} lies at a {'private or special' if private else 'special'} address, where this service sends nothing: {remedy}",
        {"address": masked(url), "setting": PRIVATE_SETTING},
    )
