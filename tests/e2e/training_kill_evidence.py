"""What was seen of a training that was killed, and what it left: no epoch lost that was reported, nothing run twice at once, nothing left behind."""

from __future__ import annotations

import csv
import io
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from faults import works
from kill_evidence import Evidence

from visionyard.client import Client, ClientError
from visionyard.jobs.v1 import job_pb2
from visionyard.kit.artifacts.model import list_model_versions
from visionyard.kit.jobs.model import JobKind, JobState, heartbeat_key
from visionyard.kit.names import ResourceName
from visionyard.local import leftovers

_LOOK_S = 0.15
_CLOCK_S = 1.0
"""A store tells times in seconds."""
_ENDS = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


@dataclass
class Row:
    """A round.

    Attributes:
        process: Who was killed, or what else was done to it.
        drawn: When it was to be, in seconds after the submission.
        second: When it was.
        phase: What the job was doing, as its service told last.
        epoch: How many epochs had been reported.
        outcome: How it ended.
        attempts: How many workers took it up.
        took: Seconds from then to its end, also where a worker slept on beyond it.
        problems: What is not as it must be.
    """

    process: str
    drawn: float
    second: float = 0
    phase: str = ""
    epoch: int = 0
    outcome: str = ""
    attempts: int = 0
    took: float = 0
    problems: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        return f"{self.second:6.2f} s  {self.phase:<18}{self.epoch} epochs  {self.process:<26}{self.attempts} attempts {self.took:6.1f} s  {self.outcome}"


class Watch:
    """Looks at a run several times a second, as a client and at the machine's processes, from a thread of its own.

    Attributes:
        job: Its resource name.
        began: When it was submitted, on the monotonic clock.
        phase: What it was doing when its service told last.
        epoch: The most epochs that were ever reported.
        attempts: The highest attempt that was seen.
        problems: What must not be: an epoch that was reported and then was not, two workers of the job at once, another end than SUCCEEDED.
        ended: Whether it has.
        seconds: From its submission to its end.
    """

    def __init__(self, home: Path, stack_id: str, job: str) -> None:
        self.job = ResourceName.parse(job, JobKind.TRAINING.collection)
        self.began = time.monotonic()
        self.phase, self.epoch, self.attempts, self.ended, self.seconds = "queued", 0, 0, False, 0.0
        self.problems: list[str] = []
        self._home, self._stack_id = home, stack_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self, seconds: float) -> None:
        """Waits for the run's end, at most so long."""
        self._thread.join(seconds)
        if not self.ended:
            self.problems.append(f"it has not ended within {seconds:.0f} s: {self.phase}")
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        client = Client(state_dir=self._home)
        try:
            while not self._over.is_set() and not self.ended:
                self._count_workers()
                try:
                    self._ask(client)
                except ClientError:  # the service is away, or has another address now
                    client.close()
                    client = Client(state_dir=self._home)
                self._over.wait(_LOOK_S)
        finally:
            client.close()

    def _ask(self, client: Client) -> None:
        found = client.training.get(str(self.job))
        epoch, status = found.training_progress.epoch, found.status
        if epoch < self.epoch:
            self.problems.append(f"{self.epoch} epochs were reported, and then {epoch}")
        self.epoch, self.attempts = max(self.epoch, epoch), max(self.attempts, status.attempt)
        self.phase = status.progress.phase or "queued"
        if status.state in _ENDS:
            self.seconds, self.ended = time.monotonic() - self.began, True
            if status.state != job_pb2.JOB_STATE_SUCCEEDED:
                self.problems.append(f"it ended {job_pb2.JobState.Name(status.state)}: {status.error.message}")

    def _count_workers(self) -> None:
        """Two of the same job at once may be there only while one is stopped, or dying with a signal under way."""
        found = [p.pid for p in leftovers.find(self._stack_id) if works(p) and str(self.job) in p.arguments]
        awake = [pid for pid in found if _state(pid) not in {"T", "Z", "X", "?"}]
        if len(awake) > 1:
            time.sleep(_CLOCK_S)
            still = [pid for pid in awake if _state(pid) not in {"T", "Z", "X", "?"}]
            if len(still) > 1:
                self.problems.append(f"{len(still)} workers of it at once")


def _state(pid: int) -> str:
    """A process's state letter, proc(5); "?" where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "?"


class TrainingEvidence(Evidence):
    """Looks into a running stack's bucket and folders.

    Args:
        home: Its state directory.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(home, JobKind.TRAINING, ("work/training/scratch",))

    def run_problems(self, name: ResourceName, epochs: int) -> Iterator[str]:
        """What an ended run has lost, doubled or left.

        Args:
            name: The job.
            epochs: How many epochs it was to have.
        """
        job = self._records.get(name)
        if job.state is not JobState.SUCCEEDED:
            yield f"its document says {job.state.value}"
            return
        text = self.store.get(job.pointers["files"]["results.csv"]["key"]).data.decode()
        seen = [int(float(row[next(key for key in row if key.strip() == "epoch")])) for row in csv.DictReader(io.StringIO(text))]
        if seen != list(range(1, epochs + 1)):
            yield f"results.csv has the epochs {seen}"
        versions = list(list_model_versions(self.store, ResourceName(name.project, "models", "m")))
        if len(versions) != 1:
            yield f"it made {len(versions)} model versions"
        for path, entry in job.pointers["files"].items():
            if self.store.head(entry["key"]).size != entry["size_bytes"]:
                yield f"{path} is not whole"
        yield from self._overlaps(name, job.attempt)

    def _overlaps(self, name: ResourceName, attempts: int) -> Iterator[str]:
        """Attempts that beat when a later one had begun to."""
        beats = [entry for n in range(1, attempts + 1) for entry in self.store.list(heartbeat_key(name, n), limit=1)]
        firsts = {
            n: min((entry.last_modified for entry in self.store.list(f"{name}/attempts/{n}/")), default=None)
            for n in range(2, attempts + 1)
        }
        for beat in beats:
            number = int(beat.key.removeprefix(f"{name}/attempts/").partition("/")[0])
            first = firsts.get(number + 1)
            if first is not None and (beat.last_modified - first).total_seconds() > _CLOCK_S:
                yield f"attempt {number} beat after attempt {number + 1} had begun"


def report(rows: Sequence[Row], seed: int, epochs: int, undisturbed: float, redrawn: int, machine: str) -> str:
    """docs/training-kills.md."""
    lines = [
        "# Trainings survive `kill -9`",
        "",
        f"Written by `make training-kills` on {datetime.now(UTC):%Y-%m-%d}: {len(rows)} rounds, seed {seed}, on the embedded stack with a real SeaweedFS and real trainings of {epochs} epochs (yolov8n, 64 pixels); {machine}.",
        f"An undisturbed run takes {undisturbed:.1f} s from its submission to its end.",
        "",
        "In each round a training runs in a project of its own, and at a moment drawn uniformly between its submission and the end of the undisturbed run (*second*) somebody is killed, all its processes for the whole",
        f"stack. Nobody does anything then, but after the whole stack `yard up`. A moment behind the end of a run that was faster this time, or at which no worker lived to be killed, was drawn again ({redrawn} times).",
        "*Phase* and *epochs* are what its service had told last; *attempts* is how many workers took the job up; *took* is the time from the kill to the run's end. The last rounds preempt a worker (SIGTERM), and",
        "stop one for two minutes (SIGSTOP), behind its takeover, and wake it.",
        "",
        "A round is well if the run SUCCEEDED with one model version; `results.csv` has each epoch once; no epoch that a client was told was ever untold, looked at seven times a second; at no time two workers of the job",
        "worked, and none beat for it when a later attempt had begun; all its files are whole; and no process, queue marker or scratch file is left.",
        "",
        "| # | killed | second | phase | epochs | attempts | took | outcome |",
        "|---:|---|---:|---|---:|---:|---:|---|",
        *(
            f"| {number} | {row.process} | {row.second:.2f} | {row.phase} | {row.epoch} | {row.attempts} | {row.took:.1f} s | {row.outcome} |"
            for number, row in enumerate(rows, 1)
        ),
        "",
    ]
    return "\n".join(lines)
