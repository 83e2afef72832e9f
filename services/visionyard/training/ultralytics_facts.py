"""What the installed Ultralytics says of itself, asked once, in a child process."""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path

from visionyard.training.arguments import ArgumentTable
from visionyard.training.child import run_child

_log = logging.getLogger(__name__)
_TIMEOUT_S = 300.0


class UltralyticsFacts:
    """The table of training arguments; safe for threads. The first call takes seconds, since the child imports torch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table: ArgumentTable | None = None

    def table(self) -> ArgumentTable:
        """The table.

        Raises:
            ChildFailed: Ultralytics could not be asked; the next call tries again.
        """
        with self._lock:
            if self._table is None:
                with tempfile.TemporaryDirectory() as folder:
                    document = run_child("visionyard.training.worker.describe", [], Path(folder, "table.json"), _TIMEOUT_S)
                self._table = ArgumentTable.from_json(document)
                _log.info("Ultralytics %s has %d arguments", self._table.version, len(self._table.defaults))
            return self._table
