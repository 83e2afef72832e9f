"""How messages are signed for receivers that know a secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from visionyard.kit.web.urls import Url
from visionyard.training.notifications.channel import ChannelKind


def signed(kind: ChannelKind, url: Url, body: dict[str, Any], secret: str, at_s: float) -> tuple[Url, dict[str, Any]]:
    """The address and body of a message with its signature.

    Args:
        kind: The channel's kind.
        url: Its address.
        body: What is to be posted.
        secret: What it is signed with; empty for no signature.
        at_s: The time, in seconds since 1970; receivers take a signature for an hour.
    """
    if secret and kind is ChannelKind.DINGTALK:
        return _dingtalk(url, secret, round(at_s * 1000)), body
    if secret and kind is ChannelKind.FEISHU:
        return url, {**_feishu(secret, round(at_s)), **body}
    return url, body


def _dingtalk(url: Url, secret: str, timestamp_ms: int) -> Url:
    """HMAC-SHA256 with the secret over the milliseconds, a line feed and the secret, in the query.

    See https://open.dingtalk.com/document/orgapp/customize-robot-security-settings.
    """
    digest = hmac.new(secret.encode(), f"{timestamp_ms}\n{secret}".encode(), hashlib.sha256).digest()
    added = f"timestamp={timestamp_ms}&sign={quote(base64.b64encode(digest), safe='')}"
    return replace(url, query=f"{url.query}&{added}" if url.query else added)


def _feishu(secret: str, timestamp_s: int) -> dict[str, str]:
    """HMAC-SHA256 with the seconds, a line feed and the secret as its key, over nothing, in the body.

    See https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot, "Signature verification".
    """
    digest = hmac.new(f"{timestamp_s}\n{secret}".encode(), b"", hashlib.sha256).digest()
    return {"timestamp": str(timestamp_s), "sign": base64.b64encode(digest).decode()}
