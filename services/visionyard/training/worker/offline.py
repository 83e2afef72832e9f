"""What this room's worker sets before it imports torch and ultralytics, and what it sets again once they run."""

from __future__ import annotations

import os
from pathlib import Path

from visionyard.kit.ultralytics_env import prepare

_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


def prepare_training(scratch: Path) -> None:
    """Makes Ultralytics offline, silent towards the network, and talkative towards the log.

    Args:
        scratch: The job's private folder.

    Raises:
        RuntimeError: ultralytics was imported already.
    """
    prepare(
        scratch / "ultralytics",
        {
            "YOLO_VERBOSE": "true",  # its lines are the job's log
            "MPLBACKEND": "Agg",
        },
    )


def usable_cpus() -> int:
    """How many cores this process may use, by its affinity and its cgroup's quota; at least 1."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CGROUP_CPU.read_text().split()
        return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores
