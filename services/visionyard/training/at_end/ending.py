"""Waits until a machine has nothing to do and its results are safe, then runs the operator's command, once."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

from visionyard.kit.errors import YardError
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.jobs.queue import Place
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import ObjectStore, StoreUnavailable
from visionyard.training.at_end.command import CommandFailed, run_command
from visionyard.training.at_end.remembered import Remembered
from visionyard.training.at_end.results import Downloads, Result, is_whole, results_of
from visionyard.training.notifications.outbox import PREFIX as MESSAGES

_log = logging.getLogger(__name__)
_LOOK_S = 2.0
_MESSAGES_S = 600.0
"""Messages that channels have not taken for so long are not waited for."""
_COMMAND_S = 600.0
_TRIES = 3
_AGAIN_S = 60.0

RunCommand = Callable[[str, float, Path], str]


class Ending:
    """Knows which trainings ran here, and looks after them until they are safe. Hears of jobs as :class:`.kit.jobs.events.JobEvents`.

    Args:
        store: The bucket.
        command: What to run.
        is_elsewhere: Whether the bucket's disk outlives this machine, so that what is in it is safe. May block.
        quiet_s: How long nothing must have been to do before the command runs, in seconds.
        folder: What is put down on this machine; made where it is not there.
        run: Runs the command.
        clock: Seconds, of any beginning.
    """

    def __init__(
        self,
        store: ObjectStore,
        command: str,
        is_elsewhere: Callable[[], bool],
        quiet_s: float,
        folder: Path,
        run: RunCommand = run_command,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._records = {kind: JobRecords(store, kind) for kind in JobKind}
        self._command = command
        self._is_elsewhere = is_elsewhere
        self._quiet_s = quiet_s
        self._folder = folder
        self._run_command = run
        self._clock = clock
        self._host = socket.gethostname()
        self._jobs = Remembered(folder / "jobs.json")
        self._downloads = Downloads(folder / "downloads")
        self._whole: set[str] = set()
        self._quiet_since: float | None = None
        self._not_before = 0.0
        self._failures = 0
        self._waits_for = ""

    @property
    def waits_for(self) -> str:
        """What has to happen before the command runs, for people; empty where nothing has been trained since it last ran."""
        return self._waits_for

    def changing(self, before: Job | None, after: Job) -> None:
        """Remembers a training that is about to run here. See :class:`.kit.jobs.events.JobEvents`."""
        if after.state is JobState.RUNNING and self._is_here(after) and (before is None or before.state is not JobState.RUNNING):
            try:
                self._jobs.add(after.spec.get("tuning_job") or str(after.name))
            except OSError as error:  # the training is worth more than this
                _log.error("the command at the end will not wait for %s: %s", after.name.id, error)

    def downloaded(self, key: str) -> None:
        """Notes that a client on another machine has read a file of the bucket to its end. Blocks."""
        try:
            self._downloads.add(key)
        except OSError as error:
            _log.error("that %s was downloaded could not be put down: %s", key, error)

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except StoreUnavailable as error:
                _log.warning("the command at the end waits for the store: %s", error)
            except OSError as error:
                _log.error("the command at the end waits, since this machine's disk refuses something: %s", error)
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """Runs the command if its time has come. Blocks, for minutes where files have to be read back or the command takes them.

        Raises:
            StoreUnavailable: the store stayed away.
            OSError: this machine's disk refuses something.
        """
        names = self._jobs.names
        why = self._why_not(names) if names else ""
        if why and why != self._waits_for:
            _log.info("the command at the end waits: %s", why)
        self._waits_for = why
        if names and not why:
            self._end(names)

    def _why_not(self, names: list[str]) -> str:
        """Why the command does not run now; empty where it does."""
        busy = self._busy()
        now = self._clock()
        if busy:
            self._quiet_since = None
            return busy
        if self._quiet_since is None:
            self._quiet_since = now
            self._whole.clear()
        quiet = now - self._quiet_since
        found = [result for name in names for result in self._results(name)]
        if unsafe := self._unsafe(found):
            return unsafe
        if quiet < self._quiet_s:
            return f"nothing has been to do for {quiet:.0f} of {self._quiet_s:.0f} s"
        if quiet < self._quiet_s + _MESSAGES_S and next(iter(self._store.list(MESSAGES, limit=1)), None) is not None:
            return "messages are still to be delivered"
        if now < self._not_before:
            return f"it has failed, and is run again in {self._not_before - now:.0f} s"
        return ""

    def _busy(self) -> str:
        """What is still to do here; what other machines train, and nobody waits for, does not keep this one."""
        for kind, records in self._records.items():
            waiting = len(records.markers(Place.WAITING)) + len(records.markers(Place.HELD))
            running = [job for job in records.running() if kind is not JobKind.TRAINING or self._is_here(job)]
            if waiting or running:
                return f"{kind.value} jobs: {len(running)} run, {waiting} wait"
        return ""

    def _is_here(self, job: Job) -> bool:
        return job.node.partition(":")[0] == self._host

    def _results(self, name: str) -> list[Result]:
        """What a job has come to; nothing where it, or its model, was deleted. One that another machine has taken is forgotten."""
        kind = JobKind.TUNING if f"/{JobKind.TUNING.collection}/" in name else JobKind.TRAINING
        try:
            job = self._records[kind].get(ResourceName.parse(name, kind.collection))
            if job.state.finished:
                return list(results_of(self._store, job))
        except YardError:
            return []
        self._jobs.remove(name)
        return []

    def _unsafe(self, found: list[Result]) -> str:
        """Which of the results, if any, would be lost with this machine."""
        elsewhere = self._is_elsewhere()
        for result in found:
            file = result.file
            if elsewhere and file.key not in self._whole:
                if not is_whole(self._store, file):
                    return f"{result.what} is damaged in the store"
                self._whole.add(file.key)
            elif not elsewhere and not self._downloads.has(file.key):
                return f"{result.what} is on this machine only: it has to be downloaded to another one"
        return ""

    def _end(self, names: list[str]) -> None:
        _log.warning("nothing is to do and the results of %d jobs are safe: the command at the end runs", len(names))
        for name in names:  # before it runs: a machine that it switches off must not go off again as soon as it is back
            self._jobs.remove(name)
        try:
            printed = self._run_command(self._command, _COMMAND_S, self._folder)
        except CommandFailed as error:
            self._failures += 1
            _log.error("the command at the end failed, for the %d. time: %s", self._failures, error)
            if self._failures < _TRIES:
                self._not_before = self._clock() + _AGAIN_S
                for name in names:
                    self._jobs.add(name)
                return
        else:
            _log.warning("the command at the end has run%s", f" and printed: {printed}" if printed else "")
        self._failures, self._not_before, self._quiet_since = 0, 0.0, None
        self._downloads.clear()
