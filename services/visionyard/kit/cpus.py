"""How many cores a process may use: what a container was given, not what its host has."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus() -> int:
    """How many cores this process may use, by its affinity and its cgroup's quota (cgroup v2, ``cpu.max``); at least 1."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CGROUP_CPU.read_text().split()
        return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores
