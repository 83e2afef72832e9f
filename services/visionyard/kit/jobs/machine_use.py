"""What a machine has left of memory and disk, and what the workers on it take."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_OWN_SCORE = 500
_MOST_SCORE = 1000
_CGROUP = Path("/sys/fs/cgroup")
_GIVEN_BACK = ("inactive_file", "active_file", "slab_reclaimable")


@dataclass(frozen=True)
class Room:
    """What is left of something.

    Attributes:
        free: In bytes.
        total: In bytes.
    """

    free: int
    total: int


def prefer_to_servers(score: Path = Path("/proc/self/oom_score_adj")) -> None:
    """Has the kernel, out of memory, kill this process and what it starts before whoever started it (proc(5), oom_score_adj); that marks it as a worker too.

    Of no effect where that is not allowed. Call it once.
    """
    with suppress(OSError, ValueError):
        score.write_text(str(min(int(score.read_text()) + _OWN_SCORE, _MOST_SCORE)))


def workers_here() -> dict[int, list[psutil.Process]]:
    """All workers of this machine that are marked: of whichever service, of this or an earlier life of it, on Ray's nodes too.

    Returns:
        The members of each one's family by the process id of its head: the first marked one from the root of the processes on.
    """
    own = _score(os.getpid())
    parents: dict[int, int] = {}
    for process in psutil.process_iter(["pid"]):
        with suppress(psutil.Error):  # it has just ended
            parents[process.pid] = process.ppid()
    marked = {pid for pid in parents if _score(pid) > own}
    families: dict[int, list[psutil.Process]] = {}
    for pid in marked:
        head = pid
        while parents.get(head) in marked:
            head = parents[head]
        with suppress(psutil.Error):
            families.setdefault(head, []).append(psutil.Process(pid))
    return families


def _score(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    except (OSError, ValueError):
        return -_MOST_SCORE


def family_of(pid: int) -> list[psutil.Process]:
    """A process and all that it has started, in whatever sessions; none where it is gone."""
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.Error:
        return []


def memory_of(members: Collection[psutil.Process], unless_below: int = 0) -> int:
    """What processes take together, in bytes.

    Memory that several share (data loaders share nearly all of theirs) is counted once: Linux' proportional set size, /proc/PID/smaps_rollup. That takes the kernel
    milliseconds for each GiB, so the simple sum, which is never less, is enough where it does not matter.

    Args:
        members: The processes; those that are gone take nothing.
        unless_below: A sum below this is given as it is.
    """
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


def folder_bytes(folder: Path) -> int:
    """What a folder's files take on the disk, in bytes; what vanishes meanwhile is left out."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512  # noqa: PTH118 - thousands of files
    return total


def memory_room(cgroup: Path = _CGROUP, machine: Room | None = None) -> Room:
    """The memory that can still be had without swapping anything that is in use: the machine's or, where that is less, the cgroup's (v2; v1 is not asked).

    Args:
        cgroup: The folder of this process's cgroup.
        machine: The machine's; the real one's unless a test gives it.
    """
    if machine is None:
        told = psutil.virtual_memory()
        machine = Room(told.available, told.total)
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        parts: Mapping[str, str] = dict(_pairs((cgroup / "memory.stat").read_text().splitlines()))
    except (OSError, ValueError):
        return machine  # no cgroup, no limit ("max"), or one of the first version
    # What the kernel only caches it gives back before it kills anybody.
    free = limit - used + sum(int(parts.get(name, 0)) for name in _GIVEN_BACK)
    return min(machine, Room(max(min(free, limit), 0), limit), key=lambda room: room.free)


def _pairs(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        name, _, value = line.partition(" ")
        yield name, value


def disk_room(folder: Path) -> Room:
    """The room on a folder's disk; the folder need not be there yet."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    usage = shutil.disk_usage(existing)
    return Room(usage.free, usage.total)
