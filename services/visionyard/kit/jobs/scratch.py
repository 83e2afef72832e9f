"""The scratch folders of attempts whose worker and service died together: nobody waits for such a worker, so nobody else removes them."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from visionyard.kit.jobs.worker import LOCK_FILE

_YOUNG_S = 60.0
"""So old is a folder without a lock before it counts as left over: its worker may be about to start."""
_LOCKING_S = 5.0
"""So old is a lock that nobody holds before it counts as a dead worker's: its worker may have made the file just now."""


def sweep(root: Path, watched: Collection[Path]) -> None:
    """Removes the folders of attempts whose worker is dead; a living one holds its lock. Blocks.

    Args:
        root: Where the folders lie; it need not be there.
        watched: The folders of the caller's own workers, which it removes itself once their logs are safe.
    """
    if not root.is_dir():
        return
    for folder in root.iterdir():
        if folder not in watched and _is_left(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    try:
        with (folder / LOCK_FILE).open("r") as lock:
            if time.time() - os.fstat(lock.fileno()).st_mtime < _LOCKING_S:
                return False
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # the worker died before it had one, or has only just been spawned
        with suppress(FileNotFoundError):
            return time.time() - folder.stat().st_mtime >= _YOUNG_S
        return False
    except OSError:
        return False  # held by a living worker
    return True
