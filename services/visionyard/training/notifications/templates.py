"""The bodies of messages, one form a kind.

Whatever a text holds, it becomes neither JSON nor markup of its own: bodies are built as objects, and markup is escaped where the receiver documents how, else left out.
"""

from __future__ import annotations

from typing import Any

from visionyard.training.notifications.channel import ChannelKind
from visionyard.training.notifications.message import Message

_PLAIN = str.maketrans("<>[]*`", "()()''")
"""For Markdown of which no escape is documented: without these a text makes no link, tag, mention, emphasis or code."""
_SLACK_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_WECOM_BYTES = 4096
_SLACK_HEADER = 150
_SLACK_FIELDS = 10
_SLACK_FIELD = 2000


def body(kind: ChannelKind, message: Message) -> dict[str, Any]:
    """What is posted to a channel of that kind, to be sent as JSON."""
    return _BODIES[kind](message)


def _wecom(message: Message) -> dict[str, Any]:
    """A WeCom group robot's Markdown, at most 4096 bytes of UTF-8: https://developer.work.weixin.qq.com/document/path/91770."""
    lines = [f"**{message.headline.translate(_PLAIN)}**"]
    lines += [f">{label}: {value.translate(_PLAIN)}" for label, value in message.lines]
    content = "\n".join([*lines, "Visionyard"])
    return {"msgtype": "markdown", "markdown": {"content": content.encode()[:_WECOM_BYTES].decode(errors="ignore")}}


def _dingtalk(message: Message) -> dict[str, Any]:
    """A DingTalk robot's Markdown: https://open.dingtalk.com/document/orgapp/custom-robots-send-group-messages."""
    lines = [f"#### {message.headline.translate(_PLAIN)}"]
    lines += [f"- **{label}**: {value.translate(_PLAIN)}" for label, value in message.lines]
    return {
        "msgtype": "markdown",
        "markdown": {"title": message.headline, "text": "\n\n".join([lines[0], "\n".join(lines[1:]), "Visionyard"])},
    }


def _feishu(message: Message) -> dict[str, Any]:
    """A Feishu bot's rich text, whose texts know no markup: https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot."""
    rows = [[{"tag": "text", "text": f"{label}: {value}"}] for label, value in message.lines]
    return {
        "msg_type": "post",
        "content": {"post": {"zh_cn": {"title": message.headline, "content": [*rows, [{"tag": "text", "text": "Visionyard"}]]}}},
    }


def _slack(message: Message) -> dict[str, Any]:
    """A Slack incoming webhook's blocks, with a text for notifications: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.

    Lengths and numbers are bounded as https://docs.slack.dev/reference/block-kit/blocks says; text is escaped as
    https://docs.slack.dev/messaging/formatting-message-text#escaping says.
    """
    fields = [
        {"type": "mrkdwn", "text": f"*{label}*\n{value.translate(_SLACK_ESCAPES)}"[:_SLACK_FIELD]}
        for label, value in message.lines[:_SLACK_FIELDS]
    ]
    summary = "; ".join([message.headline, *(f"{label} {value}" for label, value in message.lines)])
    return {
        "text": summary.translate(_SLACK_ESCAPES),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": message.headline[:_SLACK_HEADER]}},
            {"type": "section", "fields": fields},
            {"type": "context", "elements": [{"type": "plain_text", "text": "Visionyard"}]},
        ],
    }


def _webhook(message: Message) -> dict[str, Any]:
    """Our own form, version 1, described in docs/training.md: fields are only ever added."""
    metric = message.main_metric
    return {
        "version": 1,
        "id": message.id,
        "event": message.event,
        "time": message.time,
        "text": "; ".join([message.headline, *(f"{label} {value}" for label, value in message.lines)]),
        "project": message.project,
        "job": message.job,
        "state": message.state,
        "attempt": message.attempt,
        "dataset": message.dataset,
        "model": message.model,
        "model_version": message.model_version,
        "epoch": message.epoch,
        "epochs": message.epochs,
        "metrics": dict(message.metrics),
        "main_metric": {"name": metric[0], "value": metric[2]} if metric else None,
        "duration_s": message.duration_s,
        "error": {"reason": message.error_reason, "message": message.error} if message.error else None,
        "host": message.host,
    }


_BODIES = {
    ChannelKind.WECOM: _wecom,
    ChannelKind.DINGTALK: _dingtalk,
    ChannelKind.FEISHU: _feishu,
    ChannelKind.SLACK: _slack,
    ChannelKind.WEBHOOK: _webhook,
}
