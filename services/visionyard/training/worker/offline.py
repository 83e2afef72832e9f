"""What this room's worker sets before it imports torch and ultralytics, and what it sets again once they run."""

from __future__ import annotations

from pathlib import Path

from visionyard.kit.ultralytics_env import prepare


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
