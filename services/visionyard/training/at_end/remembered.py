"""Which jobs a machine has worked on since its command at the end last ran: a small file, so that neither a crash nor an update of the service forgets one."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

_log = logging.getLogger(__name__)


class Remembered:
    """A set of names in a file. Safe for threads; calls block.

    Args:
        path: The file; its folder is made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._names = self._read()

    def _read(self) -> set[str]:
        try:
            return set(map(str, json.loads(self._path.read_text())["jobs"]))
        except FileNotFoundError:
            return set()
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("which trainings the command at the end is to wait for cannot be read from %s: %s", self._path, error)
            return set()

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        with self._lock:
            return sorted(self._names)

    def add(self, name: str) -> None:
        """Puts a name down; raises OSError where the disk refuses it."""
        with self._lock:
            if name not in self._names:
                self._write(self._names | {name})

    def remove(self, name: str) -> None:
        """Forgets a name; raises OSError where the disk refuses it."""
        with self._lock:
            if name in self._names:
                self._write(self._names - {name})

    def _write(self, names: set[str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f"{self._path.name}.new")
        with beside.open("w") as file:
            json.dump({"jobs": sorted(names)}, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        self._names = names
