"""Keeps one job's worker from taking the memory or the disk that the service and the other jobs of its machine need."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import psutil

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.child import Child
from visionyard.kit.jobs.machine_use import Room, disk_room, family_of, folder_bytes, memory_of, memory_room, workers_here

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 1.0
_DISK_EVERY_S, _WALK_SHARE = 15.0, 20
"""The scratch folders are walked so often, and if that takes long so much less often."""
_LEAST_MEMORY, _LEAST_DISK = 256 << 20, 512 << 20
_MEMORY_RATIO, _DISK_RATIO = 0.02, 0.01
_AT_FAULT_RATIO = 0.1
"""Who holds less than this share of the machine's memory, or disk, is not for whom it is short of it."""
_SETTLE_S, _PATIENCE_S = 5.0, 30.0
_GIB = 1 << 30

Workers = Mapping[str, tuple[int, Path]]
"""Who works on each job of a dispatcher: the process that leads the group, and its scratch folder."""


class Guard:
    """Says which workers have to go. Calls block, mostly for less than a millisecond: what does not matter is not measured.

    Args:
        memory_bytes: How much memory a worker may take; 0 for as much as the machine has.
        disk_bytes: How much may lie in its scratch folder; 0 for as much as the disk has.
        scratch: A folder on the disk where the scratch folders lie; it need not be there yet.
        with_less: What people may do to have a job take less memory.
        clock: Seconds, of any beginning.
    """

    def __init__(
        self, memory_bytes: int, disk_bytes: int, scratch: Path, with_less: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._memory_bytes = memory_bytes
        self._disk_bytes = disk_bytes
        self._scratch = scratch
        self._with_less = with_less
        self._clock = clock
        self._walk_at = 0.0
        self._going: list[psutil.Process] = []
        self._settled_at = self._patience_until = 0.0

    def look(self, workers: Workers) -> dict[str, YardError]:
        """Measures workers, and gives those that have to go, and why.

        Args:
            workers: The own ones.
        """
        if not workers:
            return {}
        memory, disk = memory_room(), disk_room(self._scratch)
        found = self._over_memory(workers)
        if self._clock() >= self._walk_at and self._is_settled() and (self._disk_bytes or is_short_of_disk(disk)):
            began = self._clock()
            found |= self.judge_disk({job: folder_bytes(scratch) for job, (_, scratch) in workers.items()}, disk)
            self._walk_at = self._clock() + max(_DISK_EVERY_S, _WALK_SHARE * (self._clock() - began))
        if not found and is_short_of_memory(memory) and self._is_settled():
            families = workers_here()
            own = {job: pid for job, (pid, _) in workers.items()}
            families |= {pid: family_of(pid) for pid in own.values()}  # known without their mark, which not every machine lets them have
            found = self.judge_shortage(own, {pid: memory_of(members) for pid, members in families.items()}, memory)
        for job in found:
            self._going += family_of(workers[job][0])
            self._patience_until = self._clock() + _PATIENCE_S
            self._settled_at = self._clock() + _SETTLE_S
        return found

    def _is_settled(self) -> bool:
        """Whether all that had to go before have gone, a few seconds ago: before that their memory is not back, and the next one would go for nothing."""
        now = self._clock()
        self._going = [process for process in self._going if _lives(process)]
        if self._going and now < self._patience_until:
            self._settled_at = now + _SETTLE_S
        return now >= self._settled_at

    def _over_memory(self, workers: Workers) -> dict[str, YardError]:
        if not self._memory_bytes:
            return {}
        used = {job: memory_of(family_of(pid), self._memory_bytes) for job, (pid, _) in workers.items()}
        may = f"VISIONYARD_JOB_MEMORY_BYTES lets it take {_gib(self._memory_bytes)}"
        return {
            job: self._no_memory(f"it took {_gib(count)} of memory, and {may}") for job, count in used.items() if count > self._memory_bytes
        }

    def judge_shortage(self, own: Mapping[str, int], used: Mapping[int, int], memory: Room) -> dict[str, YardError]:
        """Who has to go where the machine's memory is at its end: whoever takes the most of all workers, if it is one's own and takes enough to be at fault.

        Args:
            own: The processes that lead the own workers, by their jobs.
            used: What each worker of the machine takes, in bytes, by the process that leads it.
            memory: The machine's.
        """
        most = max(used, key=lambda pid: used[pid], default=0)
        job = next((job for job, pid in own.items() if pid == most), None)
        if job is None or used[most] < memory.total * _AT_FAULT_RATIO:
            return {}
        left = f"of the machine's {_gib(memory.total)} of memory {_gib(memory.free)} were left, and it took the most, {_gib(used[most])}"
        return {job: self._no_memory(left)}

    def judge_disk(self, used: Mapping[str, int], disk: Room) -> dict[str, YardError]:
        """Who has to go for the disk: whoever takes more than it may or, where that is at its end, the one that takes the most, if that is much.

        Args:
            used: What lies in each job's scratch folder, in bytes.
            disk: The disk of those folders.
        """
        may = f"VISIONYARD_JOB_DISK_BYTES lets them take {_gib(self._disk_bytes)}"
        over = {
            job: _no_disk(f"its files took {_gib(count)} of this machine's disk, and {may}")
            for job, count in used.items()
            if 0 < self._disk_bytes < count
        }
        if over or not is_short_of_disk(disk):
            return over
        most = max(used, key=lambda job: used[job])
        if used[most] < max(_LEAST_DISK, disk.total * _AT_FAULT_RATIO):
            return {}
        return {most: _no_disk(f"{_gib(disk.free)} were left on this machine's disk, and its files took the most, {_gib(used[most])}")}

    def _no_memory(self, why: str) -> YardError:
        return YardError(
            Reason.OUT_OF_MEMORY, f"the worker was ended to spare the others: {why}; {self._with_less}, then start the job again"
        )


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def is_short_of_memory(room: Room) -> bool:
    """Whether the kernel may soon have to kill somebody."""
    return room.free < max(_LEAST_MEMORY, room.total * _MEMORY_RATIO)


def is_short_of_disk(room: Room) -> bool:
    """Whether writes may soon fail; a small disk is not so from the start."""
    return room.free < min(_LEAST_DISK, room.total * _DISK_RATIO)


def _no_disk(why: str) -> YardError:
    told = f"the worker was ended to spare the others: {why}; free some room or have it write less, then start the job again"
    return YardError(Reason.DISK_FULL, told, {"path": "scratch"})


async def keep_guard(
    guard: Guard, workers: Callable[[], Mapping[str, tuple[Child, Path]]], sentence: Callable[[Child, YardError], None]
) -> NoReturn:
    """Ends workers that take too much of the machine, until it is cancelled.

    Args:
        guard: Says which.
        workers: Gives who works on each job, and its scratch folder.
        sentence: Is told of each that is ended, right before.
    """
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        working = dict(workers())
        try:
            found = await asyncio.to_thread(guard.look, {job: (child.pid, scratch) for job, (child, scratch) in working.items()})
        except Exception:  # noqa: BLE001 - the jobs matter more than their guard
            _log.exception("what the workers take could not be measured")
            continue
        for job, why in found.items():
            child, _ = working[job]
            if workers().get(job, (None, None))[0] is child:  # not one that has ended meanwhile
                _log.error("%s", why.message, extra={"job": job})
                sentence(child, why)
                child.kill_group()


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
