"""A machine with a command at its end: its store, its clock, its jobs."""

import hashlib
import socket

from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.at_end.command import CommandFailed, Interrupted
from visionyard.training.at_end.ending import Ending
from visionyard.training.at_end.results import Safety

HERE, THERE = f"{socket.gethostname()}:/w", "other:/w"
BEST, LAST = "weights/best.pt", "weights/last.pt"


class Machine:
    """A machine with an ending, its clock and its command."""

    def __init__(self, folder):
        self.store, self.folder = MemoryObjectStore(), folder
        self.now, self.ran, self.fails, self.elsewhere = 0.0, 0, 0, True
        self.life, self.interrupted = "first", False
        self.restart()

    def restart(self):
        """The service begins anew on the same machine."""
        safety = Safety(self.store, self.folder / "downloads", lambda: self.elsewhere, lambda: self.now)
        self.ending = Ending(self.store, "off", safety, 60.0, self.folder, self._run, lambda: self.now, self.life)
        self.records = {kind: JobRecords(self.store, kind) for kind in JobKind}

    def boots(self):
        """The machine was off, and is started by somebody."""
        self.life += "'"
        self.restart()

    def _run(self, command, timeout_s, folder):
        self.ran += 1
        assert command == "off"
        if self.interrupted:
            raise Interrupted("it was interrupted")
        if self.ran <= self.fails:
            raise CommandFailed("it ended with status 1")
        return ""

    def job(self, kind=JobKind.TRAINING, spec=None):
        return self.records[kind].create("default", spec or {}, "", "")[0].name

    def change(self, name, kind=JobKind.TRAINING, **values):
        return self.records[kind].update(name, lambda job, now: job.changed(**values))

    def trains(self, kind=JobKind.TRAINING, spec=None, node=HERE):
        name = self.job(kind, spec)
        job = self.change(name, kind, state=JobState.RUNNING, attempt=1, node=node)
        if node == HERE:
            self.ending.remember(job)
        return name

    def stored(self, data=b"weights"):
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"projects/default/blobs/{sha256}"
        self.store.put(key, data)
        return {"key": key, "size_bytes": len(data), "sha256": sha256}

    def ends(self, name, state=JobState.SUCCEEDED, files=None):
        files = {BEST: self.stored(), LAST: self.stored(b"last")} if files is None else files
        pointers = {"files": files} if state is JobState.SUCCEEDED else {"checkpoint": {"epoch": 2, "files": files}}
        return self.change(name, state=state, node="", pointers=pointers)

    def looks(self, seconds=120.0):
        """Looks, lets time pass, and looks again; tells what is waited for."""
        self.ending.look()
        self.now += seconds
        self.ending.look()
        return self.ending.waits_for("default")
