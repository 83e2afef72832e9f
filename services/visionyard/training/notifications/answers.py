"""What a channel's answer means: taken, to be tried again, or of no use ever. Nothing of the answer's own words is told on: a receiver may repeat the address in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from visionyard.training.notifications.channel import ChannelKind

_TRY_AGAIN = frozenset({408, 425, 429})
_LONGEST_WAIT_S = 900.0
_RATE_LIMIT_WAIT_S = 60.0
_CODE_FIELDS = {ChannelKind.WECOM: "errcode", ChannelKind.DINGTALK: "errcode", ChannelKind.FEISHU: "code"}
"""The field of an answer's JSON that is 0 where the message was taken, whatever the HTTP status says."""
_PERMANENT = {
    ChannelKind.WECOM: {
        40008: "the form of the message is not known to it",
        40058: "the message breaks its rules",
        93000: "the address is not a robot's: look whether its key is right",
        93004: "the robot was taken out of the group",
        93008: "the robot is not in the group",
    },
    ChannelKind.DINGTALK: {
        40035: "the message breaks its rules",
        300001: "the address is not a robot's: look whether its access_token is right",
        310000: "the robot's security settings refuse the message: give --secret, have 'Visionyard' among its keywords, or admit this service's IP address",
        400013: "the group is gone",
        400101: "the address is not a robot's: look whether its access_token is right",
        400102: "the robot is switched off",
        400105: "the form of the message is not known to it",
        400106: "the robot is gone",
        430101: "the message holds what it does not let through",
        430104: "the message holds what it does not let through",
    },
    ChannelKind.FEISHU: {
        9499: "the message breaks its rules",
        19001: "the address is not a bot's: look whether it is whole",
        19021: "the signature is refused: look at --secret, and at this machine's clock",
        19022: "the bot's security settings refuse this service's IP address",
        19024: "the bot's security settings refuse the message: have 'Visionyard' among its keywords",
    },
}
"""Codes after which trying again is no use, as the receivers document them:
https://developer.work.weixin.qq.com/document/path/90313, https://open.dingtalk.com/document/orgapp/custom-robots-send-group-messages,
https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot. Every other code but 0 is tried again."""
_RATE_LIMITED = {ChannelKind.WECOM: {45009}, ChannelKind.DINGTALK: {130101, 410100}, ChannelKind.FEISHU: {11232}}


@dataclass(frozen=True)
class Outcome:
    """How a try went.

    Attributes:
        delivered: The message was taken.
        permanent: It was not, and never will be.
        told: What went wrong, for logs and people; without anything secret.
        http_status: What came back; 0 where nothing did.
        wait_s: How long to leave the receiver alone at least, in seconds.
    """

    delivered: bool
    permanent: bool = False
    told: str = ""
    http_status: int = 0
    wait_s: float = 0.0


def judge_answer(kind: ChannelKind, status: int, data: bytes, retry_after: str) -> Outcome:
    """What an answer means.

    Args:
        kind: The channel's kind.
        status: The HTTP status.
        data: The body's beginning.
        retry_after: The header ``Retry-After``; seconds are heeded, dates are not.
    """
    wait_s = min(float(retry_after), _LONGEST_WAIT_S) if retry_after.isascii() and retry_after.isdecimal() else 0.0
    code = _code(kind, data)
    if code in _PERMANENT.get(kind, {}):
        return Outcome(delivered=False, permanent=True, told=f"{_PERMANENT[kind][code]} (code {code})", http_status=status)
    if code in _RATE_LIMITED.get(kind, set()):
        told = f"it takes no more messages for the moment (code {code})"
        return Outcome(delivered=False, told=told, http_status=status, wait_s=max(wait_s, _RATE_LIMIT_WAIT_S))
    if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110 section 15.3: successful
        return Outcome(delivered=not code, told=f"it answered code {code}" if code else "", http_status=status)
    if status in _TRY_AGAIN or status >= 500:  # noqa: PLR2004 - RFC 9110 section 15.6: server errors
        return Outcome(delivered=False, told=f"it answered HTTP {status}", http_status=status, wait_s=wait_s)
    why = ", a redirect, which is not followed" if 300 <= status < 400 else ": look whether the address is right"  # noqa: PLR2004 - section 15.4
    return Outcome(delivered=False, permanent=True, told=f"it answered HTTP {status}{why}", http_status=status)


def _code(kind: ChannelKind, data: bytes) -> int:
    """The code in an answer's JSON; 0 where there is none."""
    if kind not in _CODE_FIELDS:
        return 0
    try:
        document: Any = json.loads(data)
    except (ValueError, RecursionError):
        return 0
    code = document.get(_CODE_FIELDS[kind], 0) if isinstance(document, dict) else 0
    return code if isinstance(code, int) and not isinstance(code, bool) else 0
