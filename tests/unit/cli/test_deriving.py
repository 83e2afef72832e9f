"""A command that makes a version of the newest one, killed and repeated, is one command: what it made meanwhile is not taken for its source."""

from types import SimpleNamespace

import pytest

from visionyard.cli import curation
from visionyard.cli.pending import Pending
from visionyard.dataset.v1 import import_job_pb2
from visionyard.jobs.v1 import job_pb2


class Killed(BaseException):
    pass


class Yard:
    """A service with one dataset, of which each derivation makes the next version at once; the same request_id is the same job."""

    def __init__(self):
        self.newest = 1
        self.asked = []
        self.jobs = {}

    async def get_version(self, name):
        number = name.partition("@")[2] or self.newest
        return SimpleNamespace(name=f"projects/default/datasets/street/versions/{number}")

    async def derive(self, target, derivation, *, request_id):
        source = derivation.remap.source
        assert target == "projects/default/datasets/street"
        if request_id not in self.jobs:
            self.asked.append(source)
            self.newest += 1
            self.jobs[request_id] = import_job_pb2.ImportJob(name=f"projects/default/importJobs/{self.newest}")
            self.jobs[request_id].status.state = job_pb2.JOB_STATE_SUCCEEDED
        return self.jobs[request_id]

    async def get(self, name):
        return next(job for job in self.jobs.values() if job.name == name)


def session_of(yard, folder):
    def pending(command, **decides):
        return Pending(folder, {"command": command, **decides})

    client = SimpleNamespace(datasets=yard, imports=yard)
    return SimpleNamespace(client=client, pending=pending, progress=SimpleNamespace(say=lambda _: None))


async def remap(yard, folder, name="street"):
    derivation = import_job_pb2.Derivation(remap=import_job_pb2.Remap(source=name, class_names={"lorry": "truck"}))
    await curation._derive("", derivation, session_of(yard, folder), detach=False)


@pytest.mark.parametrize("killed", ["before its answer", "while it followed"])
async def test_a_killed_command_repeated_is_the_same_job(monkeypatch, tmp_path, killed):
    yard, ended = Yard(), []

    async def concluded(_, job, *__, **___):
        ended.append(job.name)

    async def dying(*_, **__):
        raise Killed

    monkeypatch.setattr(curation, "conclude", concluded)
    with monkeypatch.context() as patched:
        if killed == "while it followed":
            patched.setattr(curation, "conclude", dying)
        else:
            patched.setattr(yard, "derive", answer_lost(yard))
        with pytest.raises(Killed):
            await remap(yard, tmp_path)
    assert yard.newest == 2
    await remap(yard, tmp_path)
    assert yard.asked == ["projects/default/datasets/street/versions/1"]
    assert ended == ["projects/default/importJobs/2"]
    await remap(yard, tmp_path)  # that one ended: now it is a new command
    assert yard.asked[1:] == ["projects/default/datasets/street/versions/2"]


def answer_lost(yard):
    real = yard.derive

    async def derive(*arguments, **words):
        await real(*arguments, **words)
        raise Killed

    return derive
