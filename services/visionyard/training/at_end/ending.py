"""Waits until a machine has nothing to do and its results are safe, then runs the operator's command, once."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from visionyard.kit.errors import YardError
from visionyard.kit.jobs.model import Job, JobKind
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import ObjectStore, StoreUnavailable
from visionyard.training.at_end.command import CommandFailed, Interrupted, run_command
from visionyard.training.at_end.remembered import Remembered
from visionyard.training.at_end.results import Result, Safety, results_of
from visionyard.training.notifications.outbox import PREFIX as MESSAGES

_log = logging.getLogger(__name__)
_LOOK_S = 5.0
_MESSAGES_S = 600.0
"""Messages that channels have not taken for so long are not waited for."""
_COMMAND_S = 600.0
_TRIES = 3
_AGAIN_S = 60.0

RunCommand = Callable[[str, float, Path], str]


@dataclass(frozen=True)
class Obstacle:
    """Why the command does not run now.

    Attributes:
        told: For people.
        project: Whose affair it is, where others must not read its names; empty for nobody's.
        why: The same as long as the reason is, whatever is counted in ``told``; empty where that is its own reason.
    """

    told: str
    project: str = ""
    why: str = ""


def _reason(obstacle: Obstacle) -> str:
    return obstacle.why or obstacle.told


class Ending:
    """Knows which trainings ran here, and looks after them until they are safe.

    Attributes:
        safety: See below.

    Args:
        store: The bucket.
        command: What to run.
        safety: Knows which results are safe.
        quiet_s: How long nothing must have been to do before the command runs, in seconds.
        folder: What is put down on this machine; made where it is not there.
        run: Runs the command.
        clock: Seconds, of any beginning.
        life: The machine's present life, from one boot to the next; the real one unless a test gives it.
    """

    def __init__(
        self,
        store: ObjectStore,
        command: str,
        safety: Safety,
        quiet_s: float,
        folder: Path,
        run: RunCommand = run_command,
        clock: Callable[[], float] = time.monotonic,
        life: str | None = None,
    ) -> None:
        self._store = store
        self._records = {kind: JobRecords(store, kind) for kind in JobKind}
        self._command = command
        self.safety = safety
        self._quiet_s = quiet_s
        self._folder = folder
        self._run_command = run
        self._clock = clock
        self._host = socket.gethostname()
        self._jobs = Remembered(folder / "jobs.json", life)
        self._quiet_since: float | None = None
        self._safe_since: float | None = None
        self._not_before = 0.0
        self._failures = 0
        self._obstacle: Obstacle | None = None
        self._given_up: Obstacle | None = None

    def waits_for(self, project: str) -> str:
        """What has to happen before the command runs, for people of a project; empty where nothing has been trained since it last ran."""
        if self._obstacle is None:
            return ""
        return self._obstacle.told if self._obstacle.project in {"", project} else "a result of another project is not safe yet"

    def remember(self, job: Job) -> None:
        """Remembers a training that this machine has just claimed. Blocks; called before its worker begins, so that none is forgotten."""
        search = job.spec.get("tuning_job")
        # A trial is its search's affair, but for one that is resumed when the search has ended.
        self._jobs.add(*([search] if search else []), *([str(job.name)] if not search or self._has_ended(search) else []))

    def _has_ended(self, search: str) -> bool:
        try:
            return self._job(search).state.finished
        except (YardError, StoreUnavailable):  # deleted, or not to be told now: then the trial counts by itself too
            return True

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except StoreUnavailable as error:
                _log.warning("the command at the end waits for the store: %s", error)
            except Exception:  # noqa: BLE001 - a machine that stays on costs money: the next look may do better
                _log.exception("whether the command at the end may run could not be told")
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """Runs the command if its time has come. Blocks, for minutes where files have to be read back or the command takes them.

        Raises:
            StoreUnavailable: the store stayed away.
        """
        obstacle = self._why_not()
        if obstacle is not None and (self._obstacle is None or _reason(obstacle) != _reason(self._obstacle)):
            _log.info("the command at the end waits: %s", obstacle.told)
        self._obstacle = obstacle
        if obstacle is None and self._jobs.armed:
            self._end()

    def _why_not(self) -> Obstacle | None:
        """Why the command does not run now; None where it does, or where there is nothing that it would end."""
        busy = self._busy()
        if not self._jobs.armed:
            return self._given_up
        if busy:
            self._quiet_since = None
            return Obstacle(busy, why="something is to do")
        if self._quiet_since is None:
            self._quiet_since = self._clock()
            self.safety.look_again()
        names = self._jobs.names
        if (unsafe := self._unsafe(names)) is not None:
            self._safe_since = None
            return unsafe
        if self._safe_since is None:  # whoever has downloaded the last one may be about to download more
            self._safe_since = self._clock()
        if still := self._still():
            return Obstacle(still, why="it is quiet")
        # Reading files back takes minutes: whatever has come meanwhile counts.
        if self._busy() or self._jobs.names != names:
            self._quiet_since = None
            return Obstacle("something has just come")
        return None

    def _unsafe(self, names: list[str]) -> Obstacle | None:
        """Which result, if any, would be lost with this machine."""
        try:
            for result in [result for name in names for result in self._results(name)]:
                if why := self.safety.why_not(result):
                    return Obstacle(why, result.job.project)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a document of another release, say: nobody knows what would be lost
            _log.exception("what a training has come to cannot be told")
            return Obstacle(
                f"what a training has come to cannot be told ({type(error).__name__}); the training service's log has the details"
            )
        return None

    def _still(self) -> str:
        """What is to be waited for where nothing is to do and all is safe."""
        now = self._clock()
        quiet = now - max(now if since is None else since for since in (self._quiet_since, self._safe_since))
        if quiet < self._quiet_s:
            return f"nothing has been to do, and all is safe, for {quiet:.0f} of {self._quiet_s:.0f} s"
        if quiet < self._quiet_s + _MESSAGES_S and next(iter(self._store.list(MESSAGES, limit=1)), None) is not None:
            return "messages are still to be delivered"
        if now < self._not_before:
            return f"it has failed, and is run again in {self._not_before - now:.0f} s"
        return ""

    def _busy(self) -> str:
        """What is still to do here. What other machines train, and nobody waits for, does not keep this one, unless it began here."""
        for kind, records in self._records.items():
            waiting = records.count_waiting()
            running = [job for job in records.running() if kind is not JobKind.TRAINING or self._is_here(job)]
            if kind is JobKind.TRAINING:
                for job in running:  # a worker that has outlived a service without this command
                    self.remember(job)
            if waiting or running:
                return f"{kind.value} jobs: {len(running)} run, {waiting} wait"
        unfinished = [name for name in self._jobs.names if not self._is_finished(name)]
        return f"{len(unfinished)} jobs that began here go on elsewhere" if unfinished else ""

    def _is_here(self, job: Job) -> bool:
        return job.node.partition(":")[0] == self._host

    def _job(self, name: str) -> Job:
        kind = JobKind.TUNING if f"/{JobKind.TUNING.collection}/" in name else JobKind.TRAINING
        return self._records[kind].get(ResourceName.parse(name, kind.collection))

    def _is_finished(self, name: str) -> bool:
        try:
            return self._job(name).state.finished
        except YardError:  # deleted
            return True

    def _results(self, name: str) -> list[Result]:
        """What a job has come to; nothing where it, or its model, was deleted."""
        try:
            return list(results_of(self._store, self._job(name)))
        except YardError:
            return []

    def _end(self) -> None:
        names = self._jobs.names
        _log.warning("nothing is to do and the results of %d jobs are safe: the command at the end runs", len(names))
        self._jobs.clear()  # before it runs: a machine that it switches off must not go off again as soon as it is back
        quiet_since, safe_since = self._quiet_since, self._safe_since
        self._quiet_since = self._safe_since = self._given_up = None
        try:
            printed = self._run_command(self._command, _COMMAND_S, self._folder)
        except (CommandFailed, Interrupted) as error:
            self._failures += isinstance(error, CommandFailed)
            _log.error("the command at the end did not end well (%d of %d failures): %s", self._failures, _TRIES, error)
            if self._failures < _TRIES:
                self._quiet_since, self._safe_since = quiet_since, safe_since  # it was quiet all along
                self._not_before = self._clock() + _AGAIN_S
                self._jobs.add(*names)  # for this life of the machine only
                return
            self._given_up = Obstacle(f"it has failed {_TRIES} times, and waits for the next training; the training service's log says why")
        else:
            _log.warning("the command at the end has run%s", f" and printed: {printed}" if printed else "")
        self._failures, self._not_before = 0, 0.0
        self.safety.forget()
