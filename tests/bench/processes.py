"""What the processes of a stack use while something runs: CPU seconds of each, and the most memory of a service's workers."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil
from stack import Stack

_EVERY_S = 0.05


@dataclass
class Usage:
    """What was seen.

    Attributes:
        cpu_s: By the stack's own names, ``dataset worker`` for all of that service's workers, and ``client``.
        worker_mb: The most resident memory of all workers of the dataset service together, in 10^6 bytes.
    """

    cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    worker_mb: float = 0.0


@contextmanager
def watched(stack: Stack) -> Iterator[Usage]:
    """Watches a running stack's store, dataset service and import workers until the block ends."""
    usage, stop = Usage(), threading.Event()
    named = {str(p["name"]): psutil.Process(int(p["pid"])) for p in stack.yard("status")["processes"] if p["name"] in {"store", "dataset"}}
    before = {name: _seconds(process) for name, process in named.items()}
    clients = sum(psutil.Process().cpu_times()[2:4])
    thread = threading.Thread(target=_watch_workers, args=(named["dataset"], usage, stop))
    thread.start()
    try:
        yield usage
    finally:
        stop.set()
        thread.join()
        for name, process in named.items():
            usage.cpu_s[name] = _seconds(process) - before[name]
        usage.cpu_s["client"] = sum(psutil.Process().cpu_times()[2:4]) - clients


def _watch_workers(service: psutil.Process, usage: Usage, stop: threading.Event) -> None:
    seconds: dict[int, float] = {}
    while not stop.wait(_EVERY_S):
        resident = 0
        for child in service.children(recursive=True):
            with suppress(psutil.Error):
                seconds[child.pid] = _seconds(child)
                resident += child.memory_info().rss
        usage.worker_mb = max(usage.worker_mb, resident / 1e6)
        usage.cpu_s["dataset worker"] = sum(seconds.values())


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
