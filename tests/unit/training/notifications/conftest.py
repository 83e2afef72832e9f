"""Training jobs over a store in memory, with an outbox, and channels that remember what they were sent."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.notifications.answers import Outcome
from visionyard.training.notifications.channel import Channel, ChannelKind
from visionyard.training.notifications.channels import Channels
from visionyard.training.notifications.events import Event
from visionyard.training.notifications.notifier import Notifier
from visionyard.training.notifications.outbox import PREFIX, Outbox
from visionyard.training.spec import TrainingSpec

PROJECT = ProjectName("default")
TAKEN = Outcome(delivered=True, http_status=200)


class AtOnce:
    """An executor without threads."""

    def submit(self, function, *arguments):
        function(*arguments)
        return Future()


class Held:
    """An executor that does nothing until it is told to."""

    def __init__(self):
        self.waiting = []

    def submit(self, function, *arguments):
        self.waiting.append((function, arguments))
        return Future()

    def go(self):
        waiting, self.waiting = self.waiting, []
        for function, arguments in waiting:
            function(*arguments)


class Bench:
    def __init__(self):
        self.store = MemoryObjectStore()
        self.channels = Channels(self.store, private=True)
        self.records = JobRecords(self.store, JobKind.TRAINING, Outbox(self.store, self.channels))
        self.posted = []
        self.counted = []
        self.answers = []

    def channel(self, id_="ops", events=tuple(Event), kind=ChannelKind.WEBHOOK, url="https://hooks.example/secret-1", **changes):
        wanted = Channel(ResourceName("default", "notificationChannels", ""), kind, tuple(events), url, **changes)
        return self.channels.create(PROJECT, id_, wanted)

    def job(self, **spec):
        body = TrainingSpec(
            "projects/default/datasets/cones/versions/3", "projects/default/models/m", architecture="yolov8n.yaml", epochs=5
        )
        return self.records.create("default", {**body.to_json(), **spec}, "", "")[0]

    def change(self, job, **changes):
        return self.records.update(job.name, lambda current, _: current.changed(**changes))

    def runs(self, job, attempt=1):
        return self.change(job, state=JobState.RUNNING, attempt=attempt, node="gpu1:/work")

    def ends(self, job, state=JobState.SUCCEEDED):
        error = YardError(Reason.OUT_OF_MEMORY, "no memory") if state is JobState.FAILED else None
        return self.records.update(job.name, lambda current, now: current.changed(state=state, error=error, end_time=now, node=""))

    def post(self, channel, message):
        self.posted.append((channel.name.id, message))
        return self.answers.pop(0) if self.answers else TAKEN

    def notifier(self, threads=None, at_once=8, post=None):
        def count(*what):
            self.counted.append(what)

        return Notifier(self.store, self.records, self.channels, post or self.post, threads or AtOnce(), at_once, count)

    def told(self):
        return [message.event for _, message in self.posted]

    def outbox(self):
        return sorted(entry.key.removeprefix(PREFIX).partition(".")[2] for entry in self.store.list(PREFIX))


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def held():
    return Held()
