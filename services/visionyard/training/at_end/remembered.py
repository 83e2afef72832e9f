"""Which jobs a machine has worked on since its command at the end last ran: a small file, so that neither a crash nor an update of the service forgets one."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

from visionyard.kit.host import host_id

_log = logging.getLogger(__name__)
_INIT = Path("/proc/1/stat")


def life_of_this_machine(init: Path = _INIT) -> str:
    """The same from one boot to the next, or in a container from one start to the next: the kernel's boot, and when its first process began (proc(5), stat, field 22)."""
    try:
        began = init.read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        began = ""
    return f"{host_id()}-{began}"


class Remembered:
    """Names in a file, and in which life of the machine the last one was added. Safe for threads; calls block.

    Where the disk refuses the file, what is in memory counts until the service ends: a full disk must not keep a machine from going.

    Args:
        path: The file; its folder is made where it is not there.
        life: The machine's present life, from one boot to the next.
    """

    def __init__(self, path: Path, life: str | None = None) -> None:
        self._path = path
        self._life = life_of_this_machine() if life is None else life
        self._lock = threading.Lock()
        self._names, self._armed_in = self._read()

    def _read(self) -> tuple[frozenset[str], str]:
        try:
            document = json.loads(self._path.read_text())
            return frozenset(map(str, document["jobs"])), str(document["armed_in"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("which trainings the command at the end is to wait for cannot be read from %s: %s", self._path, error)
        return frozenset(), ""

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        with self._lock:
            return sorted(self._names)

    @property
    def armed(self) -> bool:
        """Whether a name was added since the machine was started: one that somebody has just started must not go off for what it did before."""
        with self._lock:
            return bool(self._names) and self._armed_in == self._life

    def add(self, *names: str) -> None:
        """Puts names down."""
        with self._lock:
            if not self._names.issuperset(names) or self._armed_in != self._life:
                self._write(self._names | set(names), self._life)

    def clear(self) -> None:
        """Forgets all of them."""
        with self._lock:
            self._write(frozenset(), "")

    def _write(self, names: frozenset[str], armed_in: str) -> None:
        self._names, self._armed_in = names, armed_in
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("w") as file:
                json.dump({"jobs": sorted(names), "armed_in": armed_in}, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            _log.error("what the command at the end waits for cannot be written to %s: %s", self._path, error)
