"""``yard notify``."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, cast

import typer

from visionyard.cli import output
from visionyard.cli.options import AsJson, Directory, example
from visionyard.cli.session import Session, run
from visionyard.client.notifications import EventName
from visionyard.client.references import short
from visionyard.training.v1 import notification_pb2, notification_service_pb2

app = typer.Typer(help="Who is told what becomes of trainings: add, list, test, delete.", no_args_is_help=True)
ChannelId = Annotated[str, typer.Argument(metavar="ID", help="A channel: see `yard notify list`.")]


class Kind(StrEnum):
    """What ``--kind`` takes."""

    WECOM = "wecom"
    DINGTALK = "dingtalk"
    FEISHU = "feishu"
    SLACK = "slack"
    WEBHOOK = "webhook"


class Event(StrEnum):
    """What ``--on`` takes."""

    QUEUED = "queued"
    STARTED = "started"
    IMPROVED = "improved"
    FINISHED = "finished"
    FAILED = "failed"
    PREEMPTED = "preempted"


def _events(text: str) -> list[EventName]:
    """What ``--on`` says, commas between."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in set(Event)]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(Event)}", param_hint="--on")
    return [cast("EventName", word) for word in words]


@app.command(
    "add",
    epilog=example(
        "yard notify add --kind slack --url https://hooks.slack.com/services/...",
        "yard notify add --kind wecom --url - --on finished,failed < url.txt",
    ),
)
def add(
    kind: Annotated[Kind, typer.Option("--kind", help="What stands at the other end; webhook: a POST of plain JSON.")],
    url: Annotated[
        str,
        typer.Option("--url", metavar="URL", help="Where it posts to; '-' reads it from stdin, so that it is in no history of commands."),
    ],
    on: Annotated[
        str,
        typer.Option(
            "--on", metavar="EVENTS", help="What it is told of, commas between: queued, started, improved, finished, failed, preempted."
        ),
    ] = "finished,failed",
    name: Annotated[str, typer.Option("--name", metavar="ID", help="What the channel is called; else its kind, with a number.")] = "",
    secret: Annotated[
        str,
        typer.Option(
            "--secret",
            metavar="SECRET",
            help="What messages are signed with: DingTalk's or Feishu's signature setting; '-' reads it from stdin, behind the address.",
        ),
    ] = "",
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Have somebody told what becomes of trainings; the address is kept, and never shown again."""
    events = _events(on)
    address, signature = _given(url), _given(secret)

    async def work(session: Session) -> None:
        made = await session.client.notifications.create(kind.value, address, on=events, channel=name, secret=signature)
        session.show(
            notification_service_pb2.CreateNotificationChannelResponse(notification_channel=made),
            lambda: output.write(f"{short(made.name)}: told of {_events_of(made)}; try it with `yard notify test {short(made.name)}`"),
        )

    run(work, as_json=as_json, directory=directory)


def _given(value: str) -> str:
    """An option's value; the next line of stdin for '-'."""
    return sys.stdin.readline().strip() if value == "-" else value


def _kind_of(channel: notification_pb2.NotificationChannel) -> str:
    return output.enum_word(notification_pb2.NotificationKind.Name(channel.kind), "NOTIFICATION_KIND_")


def _events_of(channel: notification_pb2.NotificationChannel) -> str:
    return ", ".join(output.enum_word(notification_pb2.NotificationEvent.Name(event), "NOTIFICATION_EVENT_") for event in channel.events)


@app.command("list", epilog=example("yard notify list"))
def list_(as_json: AsJson = False, directory: Directory = None) -> None:
    """List the channels of the project; addresses are masked."""

    async def work(session: Session) -> None:
        channels = await session.client.notifications.list()
        rows = [(short(c.name), _kind_of(c), _events_of(c), c.masked_url, output.time(c.create_time)) for c in channels]
        session.show(
            notification_service_pb2.ListNotificationChannelsResponse(notification_channels=channels),
            lambda: output.table(("CHANNEL", "KIND", "TOLD OF", "ADDRESS", "CREATED"), rows, empty="no channels"),
        )

    run(work, as_json=as_json, directory=directory)


@app.command("test", epilog=example("yard notify test slack"))
def send_test(channel: ChannelId, as_json: AsJson = False, directory: Directory = None) -> None:
    """Send a test message now, and say whether it was taken."""

    async def work(session: Session) -> None:
        status = await session.client.notifications.test(channel)
        session.show(
            notification_service_pb2.TestNotificationChannelResponse(http_status=status),
            lambda: output.write(f"{short(channel)}: took the test message (HTTP {status})"),
        )

    run(work, as_json=as_json, directory=directory)


@app.command("delete", epilog=example("yard notify delete slack"))
def delete(channel: ChannelId, as_json: AsJson = False, directory: Directory = None) -> None:
    """Take a channel away, with its address."""

    async def work(session: Session) -> None:
        await session.client.notifications.delete(channel)
        session.show(notification_service_pb2.DeleteNotificationChannelResponse(), lambda: output.write(f"{short(channel)}: deleted"))

    run(work, as_json=as_json, directory=directory)
