"""The state directory of an embedded stack: where everything lies, written so that a reader never sees half a file.

Layout::

    DIR/
      stack.json         id of the stack and the path it was made at
      supervisor.lock    held (flock) while a supervisor lives
      endpoints.json     {"dataset": "127.0.0.1:50051", "training": ..., "export": ..., "inference": ...}; there while the stack is up
      processes.json     {"processes": [{"name", "pid", "address", "metrics_address", "state", "started", "restarts"}]}
      logs/<name>.log    what each process printed; the older half in <name>.log.1
      store/             the object store's data and its credentials.json (0600)
      triton/            the Triton backend's folder
      models/            the model repository that inference and Triton share
      work/<service>/    scratch files and caches of the services
      pending/           requests of clients that have not ended (written by the client)
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

HOME_VARIABLE = "VISIONYARD_HOME"


def resolve_state_dir(directory: str | Path | None) -> Path:
    """The state directory: ``directory``, else VISIONYARD_HOME, else ~/.local/share/visionyard; absolute, not necessarily there."""
    chosen = directory or os.environ.get(HOME_VARIABLE) or Path.home() / ".local" / "share" / "visionyard"
    return Path(chosen).expanduser().resolve()


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replaces a file as a whole; a crash leaves the old or the new one."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no such file or none that can be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


class StateDir:
    """An embedded stack's state directory.

    Attributes:
        root: Its absolute path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def endpoints_file(self) -> Path:
        """Where clients find the services."""
        return self.root / "endpoints.json"

    @property
    def processes_file(self) -> Path:
        """What the supervisor runs."""
        return self.root / "processes.json"

    @property
    def lock_file(self) -> Path:
        """Held while a supervisor lives; its text is the supervisor's pid."""
        return self.root / "supervisor.lock"

    @property
    def models(self) -> Path:
        """The model repository that the inference service and Triton share."""
        return self.root / "models"

    @property
    def store(self) -> Path:
        """The object store's folder."""
        return self.root / "store"

    @property
    def triton(self) -> Path:
        """The Triton backend's folder."""
        return self.root / "triton"

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.root / "logs" / f"{name}.log"

    def work(self, service: str) -> Path:
        """A service's scratch files and caches."""
        return self.root / "work" / service

    def create(self) -> None:
        """Makes the directory, for its owner only, and what is in it."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.root / "logs", self.models, self.store, self.triton, self.root / "work"):
            folder.mkdir(exist_ok=True, mode=0o700)

    def stack_id(self) -> str:
        """The stack's id, made at the first call and kept; a copied or moved directory gets a new one.

        So a guard never takes the processes of the original for its own.
        """
        known = read_json(self.root / "stack.json")
        if known and known.get("path") == str(self.root) and isinstance(known.get("id"), str) and known["id"]:
            return str(known["id"])
        made = uuid.uuid4().hex
        write_atomically(self.root / "stack.json", json.dumps({"id": made, "path": str(self.root)}) + "\n")
        return made

    def write_endpoints(self, endpoints: Mapping[str, str]) -> None:
        """Says where the services listen."""
        write_atomically(self.endpoints_file, json.dumps(dict(endpoints), indent=2) + "\n")

    def write_processes(self, processes: list[dict[str, Any]]) -> None:
        """Says what runs."""
        write_atomically(self.processes_file, json.dumps({"processes": processes}, indent=2) + "\n")

    def processes(self) -> list[dict[str, Any]]:
        """What the supervisor wrote last."""
        document = read_json(self.processes_file) or {}
        found = document.get("processes")
        return [p for p in found if isinstance(p, dict)] if isinstance(found, list) else []

    def forget(self) -> None:
        """Removes what says that the stack is up."""
        for path in (self.endpoints_file, self.processes_file):
            path.unlink(missing_ok=True)


class SupervisorLock:
    """Held by the one supervisor of a state directory; the kernel lets it go when the process ends, however it ends."""

    def __init__(self, state: StateDir) -> None:
        self._path = state.lock_file
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Takes the lock; False where a living supervisor has it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Lets go of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def supervisor_pid(state: StateDir) -> int | None:
    """The pid of the living supervisor of a state directory; None where there is none."""
    with suppress(OSError, ValueError):
        descriptor = os.open(state.lock_file, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(descriptor, 32, 0).decode().strip() or 0) or None
        finally:
            os.close(descriptor)
    return None
