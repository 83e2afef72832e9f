"""Keeps one job's worker from taking the memory or the disk that the service and the other jobs of its machine need."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import psutil

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.child import Child

_log = logging.getLogger(__name__)
OOM_SCORE = 500
"""What workers add to the score by which the kernel, out of memory, chooses whom to kill (proc(5), oom_score_adj; -1000 to 1000): they go before servers."""
_OOM_SCORE_FILE = Path("/proc/self/oom_score_adj")
_CGROUP = Path("/sys/fs/cgroup")
_LEAST_MEMORY, _LEAST_DISK = 256 << 20, 512 << 20
_MEMORY_RATIO, _DISK_RATIO = 0.02, 0.01
_AT_FAULT_RATIO = 0.1
"""Who holds less than this share of the machine's memory is not whom it is short of memory for."""
_LOOK_EVERY_S = 1.0
_GIB = 1 << 30


@dataclass(frozen=True)
class Room:
    """What is left of something.

    Attributes:
        free: In bytes.
        total: In bytes.
    """

    free: int
    total: int


@dataclass(frozen=True)
class Use:
    """What a worker takes, with all processes of its group.

    Attributes:
        memory: What it alone holds and its share of what it shares, in bytes.
        disk: What lies in its scratch folder, in bytes.
    """

    memory: int
    disk: int


class Guard:
    """Says which workers have to go. Calls block for milliseconds.

    Args:
        memory_bytes: How much memory a worker may take; 0 for as much as the machine has.
        disk_bytes: How much may lie in its scratch folder; 0 for as much as the disk has.
        scratch: A folder on the disk where the scratch folders lie; it need not be there yet.
        with_less: What people may do to have a job take less memory.
    """

    def __init__(self, memory_bytes: int, disk_bytes: int, scratch: Path, with_less: str) -> None:
        self._memory_bytes = memory_bytes
        self._disk_bytes = disk_bytes
        self._scratch = scratch
        self._with_less = with_less

    def look(self, workers: Mapping[str, tuple[int, Path]]) -> dict[str, YardError]:
        """Measures workers, and gives those that have to go, and why. What does not matter is not measured.

        Args:
            workers: Who works on each job: the process that leads the group, and its scratch folder.
        """
        memory, disk = memory_room(), _disk_room(self._scratch)
        weighs, fills = bool(self._memory_bytes) or _is_short_of_memory(memory), bool(self._disk_bytes) or _is_short_of_disk(disk)
        if not workers or not (weighs or fills):
            return {}
        used = {
            job: Use(group_memory(pid, self._memory_bytes) if weighs else 0, folder_bytes(scratch) if fills else 0)
            for job, (pid, scratch) in workers.items()
        }
        return self.judge(used, memory, disk)

    def judge(self, used: Mapping[str, Use], memory: Room, disk: Room) -> dict[str, YardError]:
        """Who has to go: whoever takes more than it may and, where the machine is at its end, the one that takes the most.

        Args:
            used: What each job's worker takes; of one at least.
            memory: The machine's memory.
            disk: The disk of the scratch folders.
        """
        found = {job: why for job, use in used.items() if (why := self._beyond(use)) is not None}
        if found:
            return found
        most = max(used, key=lambda job: used[job].memory)
        if _is_short_of_memory(memory) and used[most].memory >= memory.total * _AT_FAULT_RATIO:
            left = f"of the machine's {_gib(memory.total)} of memory {_gib(memory.free)} were left, and it took the most, {_gib(used[most].memory)}"
            return {most: self._no_memory(left)}
        most = max(used, key=lambda job: used[job].disk)
        if _is_short_of_disk(disk) and used[most].disk >= _LEAST_DISK:
            left = f"{_gib(disk.free)} were left on this machine's disk, and its files took the most, {_gib(used[most].disk)}"
            return {most: _no_disk(left)}
        return {}

    def _beyond(self, use: Use) -> YardError | None:
        """Why a worker that takes more than it may has to go; None for others."""
        if self._memory_bytes and use.memory > self._memory_bytes:
            may = f"VISIONYARD_JOB_MEMORY_BYTES lets it take {_gib(self._memory_bytes)}"
            return self._no_memory(f"it took {_gib(use.memory)} of memory, and {may}")
        if self._disk_bytes and use.disk > self._disk_bytes:
            may = f"VISIONYARD_JOB_DISK_BYTES lets them take {_gib(self._disk_bytes)}"
            return _no_disk(f"its files took {_gib(use.disk)} of this machine's disk, and {may}")
        return None

    def _no_memory(self, why: str) -> YardError:
        return YardError(
            Reason.OUT_OF_MEMORY, f"the worker was ended to spare the others: {why}; {self._with_less}, then start the job again"
        )


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
        except OSError as error:
            _log.warning("what the workers take could not be measured: %s", error)
            continue
        for job, why in found.items():
            _log.error("%s", why.message, extra={"job": job})
            child, _ = working[job]
            sentence(child, why)
            child.kill_group()


def prefer_to_servers() -> None:
    """Has the kernel, out of memory, kill this process and what it starts before servers; of no effect where that is not allowed."""
    with suppress(OSError, ValueError):
        if int(_OOM_SCORE_FILE.read_text()) < OOM_SCORE:
            _OOM_SCORE_FILE.write_text(str(OOM_SCORE))


def group_memory(pid: int, unless_below: int = 0) -> int:
    """What the processes of a session take together, in bytes; 0 where there are none.

    Memory that several share (data loaders share nearly all of theirs) is counted once: Linux' proportional set size, /proc/PID/smaps_rollup. That takes the kernel
    milliseconds for each GiB, so the simple sum, which is never less, is enough where it does not matter.

    Args:
        pid: The session's leader.
        unless_below: A sum below this is given as it is.
    """
    members = list(_session(pid))
    simple = 0
    for process in members:
        with suppress(psutil.Error):
            simple += process.memory_info().rss
    if simple <= unless_below or len(members) == 1:
        return simple
    exact = 0
    for process in members:
        with suppress(psutil.Error, OSError):
            exact += process.memory_full_info().pss
    return exact


def _session(pid: int) -> Iterable[psutil.Process]:
    with suppress(psutil.Error):
        leader = psutil.Process(pid)
        yield leader
        yield from leader.children(recursive=True)


def folder_bytes(folder: Path) -> int:
    """What a folder's files take on the disk, in bytes; what vanishes meanwhile is left out."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512  # noqa: PTH118 - thousands of files, every few seconds
    return total


def memory_room(cgroup: Path = _CGROUP) -> Room:
    """The memory that can still be had without swapping anything that is in use: the machine's or, where that is less, the cgroup's (v2)."""
    machine = psutil.virtual_memory()
    room = Room(machine.available, machine.total)
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        given_back = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines()).get("inactive_file", "0")
    except (OSError, ValueError):
        return room  # no cgroup, no limit ("max"), or one of the first version
    return min(room, Room(max(limit - used + int(given_back), 0), limit), key=lambda found: found.free)


def _disk_room(folder: Path) -> Room:
    existing = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    usage = shutil.disk_usage(existing)
    return Room(usage.free, usage.total)


def _is_short_of_memory(room: Room) -> bool:
    return room.free < max(_LEAST_MEMORY, room.total * _MEMORY_RATIO)


def _is_short_of_disk(room: Room) -> bool:
    return room.free < min(_LEAST_DISK, room.total * _DISK_RATIO)


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
