"""Messages over a real SeaweedFS to a real HTTP server: told, told again, told after kills, and never a secret shown."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates import make_certificate
from hooks import Hooks, taking_hooks
from shapes import RECIPE, publish_shapes

from conftest import PROJECT, Room
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.logging import JsonFormatter
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.status import from_rpc_error
from visionyard.training.notifications import delivery
from visionyard.training.notifications.channel import Channel, ChannelKind
from visionyard.training.notifications.channels import Channels
from visionyard.training.notifications.events import Event
from visionyard.training.notifications.message import Message, trial_message
from visionyard.training.notifications.notifier import Notifier
from visionyard.training.notifications.outbox import PREFIX, Outbox
from visionyard.training.notifications.posting import Poster
from visionyard.training.spec import TrainingSpec
from visionyard.training.v1 import notification_pb2, notification_service_pb2_grpc
from visionyard.training.v1 import notification_service_pb2 as messages

SECRET = "secret-4711"
ENDS = (Event.FINISHED, Event.FAILED)
MESSAGE = Message(**{**trial_message("default", "ops", datetime(2026, 11, 22, tzinfo=UTC), "gpu1").to_json(), "error": "x" * 300})


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with taking_hooks() as running:
        yield running


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, as the services write it, down to DEBUG."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("training"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def channel(hooks: Hooks, id_: str, kind: ChannelKind = ChannelKind.WEBHOOK, events: tuple[Event, ...] = ENDS, **changes: Any) -> Channel:
    return Channel(ResourceName("default", "notificationChannels", id_), kind, events, f"{hooks.root}/{id_}/{SECRET}", **changes)


def path(id_: str) -> str:
    return f"/{id_}/{SECRET}"


class Telling:
    """Jobs, channels and notifiers over one store."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.channels = Channels(store, private=True)
        self.records = JobRecords(store, JobKind.TRAINING, Outbox(store, self.channels))

    def add(self, wanted: Channel) -> None:
        self.channels.create(PROJECT, wanted.name.id, wanted)

    def finished_job(self) -> ResourceName:
        spec = TrainingSpec("projects/default/datasets/cones/versions/3", "projects/default/models/m", architecture="yolov8n.yaml")
        name = self.records.create("default", spec.to_json(), "", "")[0].name
        self.records.update(name, lambda job, now: job.changed(state=JobState.RUNNING, attempt=1, start_time=now, node="gpu1:/w"))
        return self.records.update(name, lambda job, now: job.changed(state=JobState.SUCCEEDED, end_time=now, node="")).name

    @asynccontextmanager
    async def notifying(self, limit_s: float = 15.0) -> AsyncIterator[None]:
        with ThreadPoolExecutor(4) as threads:
            post = Poster(private=True, limit_s=limit_s).post
            notifier = Notifier(
                self.store, JobRecords(self.store, JobKind.TRAINING), Channels(self.store), post, threads, 4, lambda *_: None
            )
            task = asyncio.create_task(notifier.run())
            try:
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def left(self) -> list[str]:
        return [entry.key for entry in self.store.list(PREFIX)]

    async def told(self, seconds: float = 30) -> None:
        """Waits until the outbox is empty."""
        end = time.monotonic() + seconds
        while await asyncio.to_thread(self.left):
            assert time.monotonic() < end, self.left()
            await asyncio.sleep(0.05)


@pytest.fixture
def telling(s3_store: ObjectStore) -> Telling:
    return Telling(s3_store)


async def test_every_kind_is_told_though_the_first_answer_is_an_error(telling, hooks, logged, monkeypatch) -> None:
    monkeypatch.setattr(delivery, "_FIRST_WAIT_S", 0.1)
    for kind in ChannelKind:
        secret = SECRET if kind.signs else ""
        telling.add(channel(hooks, kind.value, kind, secret=secret))
        hooks.answers[path(kind.value)] = [500, 200]
    job = telling.finished_job()
    async with telling.notifying(), telling.notifying():
        await telling.told()
    assert {kind: len(hooks.bodies(path(kind.value))) for kind in ChannelKind} == dict.fromkeys(ChannelKind, 2)
    assert hooks.bodies(path("webhook"))[0] == hooks.bodies(path("webhook"))[1]
    assert hooks.bodies(path("webhook"))[0]["job"] == str(job)
    assert all("msgtype" in body for id_ in ("wecom", "dingtalk") for body in hooks.bodies(path(id_)))
    assert all({"msg_type", "timestamp", "sign"} <= set(body) for body in hooks.bodies(path("feishu")))
    assert all({"text", "blocks"} == set(body) for body in hooks.bodies(path("slack")))
    assert all("sign=" in to for to, _, _ in hooks.posts if to.startswith(path("dingtalk")))
    assert SECRET not in logged.getvalue()
    assert logged.getvalue().count("message delivered") == 5
    assert logged.getvalue().count("HTTP 500") == 5


async def test_a_slow_channel_holds_up_no_other(telling, hooks) -> None:
    telling.add(channel(hooks, "slow"))
    telling.add(channel(hooks, "quick"))
    hooks.answers[path("slow")] = [lambda _: hooks.ended.wait(60)] * 3
    async with telling.notifying(limit_s=3.0):
        for count in (1, 2, 3):
            await asyncio.to_thread(telling.finished_job)
            end = time.monotonic() + 20
            while len(hooks.bodies(path("quick"))) < count:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
    assert len(hooks.bodies(path("slow"))) < 3
    assert len(telling.left()) == 3


NOTIFIER = """
import asyncio, os, sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from visionyard.kit.config import ServiceSettings, load_settings
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.objectstore.s3 import open_store
from visionyard.training.notifications import delivery
from visionyard.training.notifications.channels import Channels
from visionyard.training.notifications.notifier import Notifier
from visionyard.training.notifications.posting import Poster
delivery._CLAIM = timedelta(seconds=4)
store = open_store(load_settings(ServiceSettings))
post = Poster(private=True).post
asyncio.run(Notifier(store, JobRecords(store, JobKind.TRAINING), Channels(store), post, ThreadPoolExecutor(4), 4, lambda *_: None).run())
"""


async def test_a_notifier_killed_over_a_post_is_followed_by_another(telling, hooks, seaweed_settings) -> None:
    telling.add(channel(hooks, "ops"))
    hooks.answers[path("ops")] = [lambda _: hooks.ended.wait(60)]
    environment = {**os.environ, **seaweed_settings, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    first = await asyncio.create_subprocess_exec(sys.executable, "-c", NOTIFIER, env=environment)
    try:
        telling.finished_job()
        end = time.monotonic() + 30
        while not hooks.posts:
            assert time.monotonic() < end
            assert first.returncode is None
            await asyncio.sleep(0.02)
    finally:
        first.kill()
        await first.wait()
    async with telling.notifying():
        await telling.told()
    assert len(hooks.bodies(path("ops"))) == 2


def post(hooks: Hooks, answer: Any, *, private: bool = True, limit_s: float = 15.0, **changes: Any) -> Any:
    hooks.answers[path("x")] = [answer]
    return Poster(private=private, limit_s=limit_s).post(channel(hooks, "x", **changes), MESSAGE)


def test_a_post_is_one_whole_request(hooks) -> None:
    assert post(hooks, 204).delivered
    [(_, headers, body)] = hooks.posts
    assert headers["Host"] == hooks.root.removeprefix("http://")
    assert headers["Content-Type"].startswith("application/json")
    assert body["event"] == "test"


def test_https_and_a_certificate_that_nobody_trusts(tmp_path, monkeypatch) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with taking_hooks(context) as secure:
        secure.root = secure.root.replace("http:", "https:")
        outcome = post(secure, 200)
        assert (outcome.delivered, secure.posts) == (False, [])
        assert "certificate is not trusted" in outcome.told
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert post(secure, 200).delivered


def test_a_redirect_is_not_followed(hooks) -> None:
    outcome = post(hooks, lambda handler: handler.answer(307, Location=f"{hooks.root}/elsewhere"))
    assert (outcome.permanent, outcome.http_status, len(hooks.posts)) == (True, 307, 1)


def test_an_endless_answer_is_read_no_further(hooks) -> None:
    def drown(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        while not hooks.ended.is_set():
            handler.wfile.write(b"x" * 65536)

    assert post(hooks, drown).delivered


@pytest.mark.parametrize("what", ["silence", "drip", "nothing", "rubbish"])
def test_what_is_no_answer_is_tried_again_and_bounded_in_time(hooks, what) -> None:
    def behave(handler: Any) -> None:
        if what == "drip":
            while not hooks.ended.wait(0.05):
                handler.wfile.write(b"H")
                handler.wfile.flush()
        elif what == "silence":
            hooks.ended.wait(60)
        elif what == "rubbish":
            handler.wfile.write(b"\x00" * 100 + b"\r\n\r\n")

    outcome = post(hooks, behave, limit_s=1.0)
    assert (outcome.delivered, outcome.permanent) == (False, False)
    assert outcome.told
    assert SECRET not in outcome.told


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_private_addresses_are_not_posted_to_unless_that_is_allowed(hooks, host, monkeypatch) -> None:
    monkeypatch.setattr(hooks, "root", hooks.root.replace("127.0.0.1", host))
    outcome = post(hooks, 200, private=False)
    assert (outcome.permanent, hooks.posts) == (True, [])
    assert "VISIONYARD_NOTIFY_PRIVATE" in outcome.told
    assert SECRET not in outcome.told
    assert post(hooks, 200).delivered


def test_link_local_addresses_are_never_posted_to(hooks, monkeypatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(hooks, "root", "http://metadata.example")
    outcome = post(hooks, 200)
    assert (outcome.delivered, outcome.permanent) == (False, True)


@pytest.mark.timeout(900)
async def test_a_training_with_a_preemption_and_a_kill_tells_its_whole_life(room: Room, hooks) -> None:
    telling = Telling(room.store)
    telling.add(channel(hooks, "all", events=tuple(Event)))
    telling.add(channel(hooks, "ends"))
    dataset = publish_shapes(room.store)
    overrides = {**RECIPE, "plots": False}
    spec = TrainingSpec(
        dataset, "projects/default/models/m", architecture="yolov8n.yaml", epochs=4, batch_size=8, image_size_px=64, overrides=overrides
    )
    async with room.dispatching(), telling.notifying():
        name = room.trainings.create(PROJECT, spec, "").job.name
        jobs = room.trainings.jobs
        for epoch, number in ((1, signal.SIGTERM), (2, signal.SIGKILL)):
            await room.until(lambda epoch=epoch: (jobs.get(name).pointers.get("checkpoint") or {}).get("epoch", 0) >= epoch, 240)
            attempt = jobs.get(name).attempt
            room.workers()[0].send_signal(number)
            await room.until(lambda attempt=attempt: jobs.get(name).attempt > attempt, 60)
        await room.until(lambda: jobs.get(name).state.finished, 300)
        await telling.told()
    assert jobs.get(name).state is JobState.SUCCEEDED
    life = [body["event"] for body in hooks.bodies(path("all"))]
    assert [event for event in life if event != "improved"] == ["queued", "started", "preempted", "started", "finished"]
    improved = [body for body in hooks.bodies(path("all")) if body["event"] == "improved"]
    assert improved[0]["epoch"] == 1
    assert all("metrics/mAP50-95(B)" in body["metrics"] for body in improved)
    [end] = hooks.bodies(path("ends"))
    assert (end["event"], end["state"], end["epoch"], end["epochs"], end["model"]) == ("finished", "SUCCEEDED", 4, 4, "m")
    assert end["model_version"].endswith("/models/m/versions/1")
    assert end["main_metric"]["name"] == "metrics/mAP50-95(B)"
    assert end["duration_s"] > 1
    assert end["host"] == socket.gethostname()


@pytest.fixture
def service(
    seaweed_settings: dict[str, str], tmp_path: Path
) -> Iterator[tuple[notification_service_pb2_grpc.NotificationServiceStub, Path]]:
    """The training service as a process of its own, and its log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = {
        **os.environ,
        **seaweed_settings,
        "VISIONYARD_LISTEN": address,
        "VISIONYARD_METRICS_LISTEN": "127.0.0.1:0",
        "VISIONYARD_WORK_DIR": str(tmp_path / "work"),
        "VISIONYARD_NOTIFY_PRIVATE": "true",
        "VISIONYARD_LOG_LEVEL": "DEBUG",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    log = tmp_path / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "visionyard.training"], env=environment, stdout=output, stderr=output, cwd=tmp_path
        )
    try:
        with grpc.insecure_channel(address) as wire:
            grpc.channel_ready_future(wire).result(timeout=60)
            yield notification_service_pb2_grpc.NotificationServiceStub(wire), log
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def test_the_service(service, hooks, telling) -> None:
    stub, log = service
    wanted = notification_pb2.NotificationChannel(kind=notification_pb2.NOTIFICATION_KIND_SLACK)
    request = messages.CreateNotificationChannelRequest(
        parent="projects/default", notification_channel=wanted, url=f"{hooks.root}{path('slack')}", request_id="r1"
    )
    made = stub.CreateNotificationChannel(request).notification_channel
    assert made.name == "projects/default/notificationChannels/slack"
    assert stub.CreateNotificationChannel(request).notification_channel == made
    assert stub.GetNotificationChannel(messages.GetNotificationChannelRequest(name=made.name)).notification_channel == made
    listed = stub.ListNotificationChannels(messages.ListNotificationChannelsRequest(parent="projects/default", filter="signed = false"))
    assert list(listed.notification_channels) == [made]

    test = messages.TestNotificationChannelRequest(name=made.name)
    assert stub.TestNotificationChannel(test).http_status == 200
    hooks.answers[path("slack")] = [lambda handler: handler.answer(404, f"no {SECRET}".encode())]
    with pytest.raises(grpc.RpcError) as refused:
        stub.TestNotificationChannel(test)
    error = from_rpc_error(refused.value)
    assert (error.reason, error.metadata["http_status"]) == ("MESSAGE_NOT_DELIVERED", "404")

    hooks.answers[path("slack")] = [500]
    telling.finished_job()  # by another process: the service finds it in the bucket
    end = time.monotonic() + 40
    while len(hooks.bodies(path("slack"))) < 4:
        assert time.monotonic() < end
        time.sleep(0.1)
    with pytest.raises(grpc.RpcError) as wrong:
        stub.CreateNotificationChannel(
            messages.CreateNotificationChannelRequest(parent="projects/default", notification_channel=wanted, url=f"gopher://x/{SECRET}")
        )
    assert from_rpc_error(wrong.value).reason == "INVALID_FIELD"
    stub.DeleteNotificationChannel(messages.DeleteNotificationChannelRequest(name=made.name))
    assert SECRET not in f"{made} {listed} {error} {from_rpc_error(wrong.value)} {refused.value} {wrong.value}"
    assert "message delivered" in log.read_text()
    assert SECRET not in log.read_text()
