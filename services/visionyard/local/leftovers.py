"""Finds and ends the processes of a stack, by the id that all of them carry in their environment.

A parent's pid says nothing once the parent is dead, and workers live in sessions of their own on purpose; what a process was started with stays
readable in /proc/<pid>/environ as long as it lives, for its own user.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STACK_ID_VARIABLE = "VISIONYARD_STACK_ID"
_PROC = Path("/proc")
_POLL_S = 0.05


@dataclass(frozen=True)
class Process:
    """A living process of a stack.

    Attributes:
        pid: Its number.
        arguments: Its command line.
    """

    pid: int
    arguments: tuple[str, ...]

    def runs(self, word: str) -> bool:
        """Whether the program's path ends with ``word``."""
        return bool(self.arguments) and self.arguments[0].endswith(word)

    @property
    def is_worker(self) -> bool:
        """Whether this is a job's worker, ``python -m visionyard.<room>.worker``, and not one of its own children."""
        return any(
            flag == "-m" and module.startswith("visionyard.") and module.endswith(".worker")
            for flag, module in zip(self.arguments, self.arguments[1:], strict=False)
        )


def find(stack_id: str, *, besides: Iterable[int] = ()) -> list[Process]:
    """The living processes that carry the id, without the calling one and ``besides``; zombies have no environment and don't count."""
    mark = f"{STACK_ID_VARIABLE}={stack_id}".encode()
    skipped = {os.getpid(), *besides}
    found = []
    for folder in _PROC.iterdir():
        if not folder.name.isdigit() or int(folder.name) in skipped:
            continue
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                found.append(Process(int(folder.name), tuple(word.decode(errors="replace") for word in words)))
    return found


def send(processes: Iterable[Process], number: signal.Signals) -> None:
    """Sends a signal to each that still lives."""
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, number)


def kill(processes: Iterable[Process]) -> None:
    """Kills each, without waiting for its end."""
    send(processes, signal.SIGKILL)


def dead_children() -> set[int]:
    """Children of this process that have ended and were not waited for."""
    found = set()
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                if state == "Z" and int(parent) == os.getpid():
                    found.add(int(folder.name))
    return found


def kill_all(stack_id: str, *, besides: Iterable[int] = (), within_s: float = 8.0, between: Callable[[], None] | None = None) -> bool:
    """Kills whatever carries the id, again and again until nothing does: a process may have started another in between.

    Args:
        stack_id: The stack's id.
        besides: Pids to leave alone.
        within_s: When to give up, in seconds.
        between: Called between two looks, to reap children and the like.

    Returns:
        Whether nothing is left.
    """
    spared = tuple(besides)
    end = time.monotonic() + within_s
    while True:
        found = find(stack_id, besides=spared)
        if not found:
            return True
        if time.monotonic() > end:
            return False
        kill(found)
        if between is not None:
            between()
        time.sleep(_POLL_S)
