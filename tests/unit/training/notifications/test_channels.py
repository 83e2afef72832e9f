"""Channels: what may be one, how they are named, and that their addresses stay secret."""

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.training.notification_mapping import channel_from_proto, channel_to_proto
from visionyard.training.notifications.channel import Channel, ChannelKind, check_channel
from visionyard.training.notifications.channels import Channels
from visionyard.training.notifications.events import Event
from visionyard.training.v1 import notification_pb2
from visionyard.training.v1 import notification_service_pb2 as messages

SECRET = "secret-5e2f"
PROJECT = ProjectName("default")


def channel(url, kind=ChannelKind.WEBHOOK, **changes):
    return Channel(ResourceName("default", "notificationChannels", "x"), kind, (Event.FINISHED,), url, **changes)


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://hooks.example/{SECRET}",
        f"s3://hooks/{SECRET}",
        f"file:///{SECRET}",
        f"https://user:{SECRET}@hooks.example/",
        f"https://{SECRET}..example/x",
        f"https:///{SECRET}",
        f"{SECRET}",
        f"https://hooks.example/{SECRET}\r\nHost: x",
        f"https://hooks.example/{SECRET}" + "x" * 2048,
        f"https://169.254.169.254/{SECRET}",
        f"https://[fe80::1]/{SECRET}",
        f"http://[::ffff:169.254.169.254]/{SECRET}",
        f"http://0.0.0.0/{SECRET}",
    ],
)
@pytest.mark.parametrize("private", [True, False])
def test_what_is_refused_is_not_repeated(url, private):
    with pytest.raises(YardError) as refused:
        check_channel(channel(url), private=private)
    assert refused.value.reason in {Reason.INVALID_FIELD, Reason.ADDRESS_NOT_ALLOWED}
    assert SECRET not in f"{refused.value} {refused.value.metadata} {refused.value.violations} {refused.value!r}"


@pytest.mark.parametrize("url", ["s3://hooks/x", "s3://x/y", "ftp://hooks.example/x", "hooks.example"])
def test_it_is_told_what_an_address_begins_with(url):
    with pytest.raises(YardError, match="the address begins with neither https:// nor http://"):
        check_channel(channel(url), private=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "10.0.0.1", "[::1]", "192.168.1.1"])
def test_private_addresses_only_where_they_are_allowed(host):
    check_channel(channel(f"http://{host}/{SECRET}"), private=True)
    with pytest.raises(YardError) as refused:
        check_channel(channel(f"http://{host}/{SECRET}"), private=False)
    assert refused.value.reason is Reason.ADDRESS_NOT_ALLOWED
    assert SECRET not in str(refused.value)
    assert "VISIONYARD_NOTIFY_PRIVATE" in refused.value.message


def test_a_secret_is_for_those_who_sign():
    for kind in ChannelKind:
        wanted = channel("https://hooks.example/x", kind, secret=SECRET)
        if kind in {ChannelKind.DINGTALK, ChannelKind.FEISHU}:
            check_channel(wanted, private=False)
        else:
            with pytest.raises(YardError):
                check_channel(wanted, private=False)


def test_nothing_shows_what_is_secret(bench):
    made = bench.channel(url=f"https://hooks.example:8443/a/{SECRET}?key={SECRET}", kind=ChannelKind.FEISHU, secret=SECRET)
    shown = channel_to_proto(made)
    assert shown.masked_url == "https://hooks.example:8443/…"
    assert shown.signed
    assert SECRET not in f"{shown} {made} {made!r}"
    assert bench.channels.get(made.name).url.endswith(SECRET), "and it is kept"


def test_names_are_found_where_none_is_given(bench):
    assert [bench.channel("").name.id for _ in range(3)] == ["webhook", "webhook-2", "webhook-3"]
    assert bench.channel("", kind=ChannelKind.SLACK).name.id == "slack"
    with pytest.raises(YardError) as taken:
        bench.channel("webhook")
    assert taken.value.reason is Reason.ALREADY_EXISTS
    with pytest.raises(YardError) as wrong:
        bench.channel("a/b")
    assert wrong.value.reason is Reason.INVALID_NAME


def test_the_same_request_makes_one_channel(bench):
    for id_ in ("", "ops"):
        first = bench.channel(id_, request_id=f"r{id_}")
        bench.channel("", request_id=f"other{id_}")
        assert bench.channel(id_, request_id=f"r{id_}") == first
    with pytest.raises(YardError) as other:
        bench.channel("ops", url="https://hooks.example/other", request_id="rops")
    assert other.value.reason is Reason.REQUEST_ID_REUSED


def test_there_may_be_twenty(bench):
    for _ in range(20):
        bench.channel("")
    with pytest.raises(YardError) as refused:
        bench.channel("")
    assert refused.value.reason is Reason.TOO_MANY_CHANNELS


def test_pages(bench):
    for n in range(5):
        bench.channel(f"c{n}")
    first, token = bench.channels.list(PROJECT, 3, "")
    second, end = bench.channels.list(PROJECT, 3, token)
    assert [c.name.id for c in first + second] == ["c0", "c1", "c2", "c3", "c4"]
    assert end == ""


def test_deleted_is_gone_with_its_address(bench):
    made = bench.channel()
    bench.channels.delete(made.name)
    assert [entry.key for entry in bench.store.list("projects/")] == []
    for call in (bench.channels.get, bench.channels.delete):
        with pytest.raises(YardError) as gone:
            call(made.name)
        assert gone.value.reason is Reason.CHANNEL_NOT_FOUND


def test_what_is_wanted_is_known_at_once_where_the_channel_was_made(bench):
    assert bench.channels.wanted("default") == set()
    made = bench.channel("ops", (Event.FAILED,))
    assert bench.channels.wanted("default") == {Event.FAILED}
    assert Channels(bench.store).wanted("default") == {Event.FAILED}
    bench.channels.delete(made.name)
    assert bench.channels.wanted("default") == set()


def test_a_document_that_cannot_be_read_keeps_no_other(bench):
    bench.channel("ops")
    bench.store.put("projects/default/notificationChannels/odd.json", b'{"nonce": "x", "body": {"kind": "pager"}}')
    assert [c.name.id for c in bench.channels.all("default")] == ["ops"]


def test_requests():
    kind = notification_pb2.NOTIFICATION_KIND_SLACK

    def read(**fields):
        wanted = notification_pb2.NotificationChannel(**fields)
        return channel_from_proto(PROJECT, messages.CreateNotificationChannelRequest(notification_channel=wanted))

    assert read(kind=kind).events == (Event.FINISHED, Event.FAILED)
    assert read(kind=kind, events=[6, 1, 6]).events == (Event.QUEUED, Event.PREEMPTED)
    for fields in ({}, {"kind": 99}, {"kind": kind, "events": [0]}, {"kind": kind, "events": [99]}):
        with pytest.raises(YardError) as refused:
            read(**fields)
        assert refused.value.reason is Reason.INVALID_FIELD
