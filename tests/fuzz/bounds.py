"""How much time and memory one input may take, held by the kernel: what goes beyond ends the process, so that no parser can hide it."""

from __future__ import annotations

import faulthandler
import resource
import signal
from pathlib import Path
from typing import IO

import cv2

CPU_SECONDS = 10.0
"""For one input of at most some hundred KiB, which should take milliseconds."""
MEMORY_BYTES = 1 << 30
"""Beyond what the process takes before it has read anything; likewise for the peak of what is resident."""
_LEEWAY_BYTES = 1 << 29
"""The address space is bounded later than what is resident, so that an exception handler that swallows MemoryError does not hide that memory ran out."""
_PAGE_BYTES = resource.getpagesize()


def enter(dump: IO[str]) -> None:
    """Bounds this process from now on.

    Args:
        dump: Where the stack goes when the time is over.
    """
    one_thread()
    size_pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (size_pages * _PAGE_BYTES + MEMORY_BYTES + _LEEWAY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.register(signal.SIGPROF, file=dump, all_threads=False, chain=True)  # the stack is written, then the process ends


def one_thread() -> None:
    """Keeps OpenCV to this thread: its others would not live on in forked processes, and what waits for them would hang."""
    cv2.setNumThreads(1)


def begin() -> None:
    """An input begins: its time runs."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)


def end() -> None:
    """An input was read in time."""
    signal.setitimer(signal.ITIMER_PROF, 0.0)


def peak_bytes() -> int:
    """The most that was resident in this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
