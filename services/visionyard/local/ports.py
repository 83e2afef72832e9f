"""The ports of an embedded stack, all on loopback, each with a name that an error can say.

Between looking and listening a port may be taken, and while a killed process restarts its port is free for anybody. Stacks of one user therefore
claim their ports by files locked for the life of the supervisor, so that at least two stacks never want the same.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
_SEARCH = 2000
_LAST_PORT = 65535
_NAMED = 4


@dataclass(frozen=True)
class Port:
    """A port that the stack listens on.

    Attributes:
        name: Its key.
        default: The number without --any-port.
        purpose: What it is for, in an error's words.
    """

    name: str
    default: int
    purpose: str


STORE_PORTS = (
    Port("store", 8333, "the object store's S3 interface"),
    Port("store.s3_grpc", 18333, "the object store's S3 gateway, internal gRPC"),
    Port("store.master", 9333, "the object store's master"),
    Port("store.master_grpc", 19333, "the object store's master, internal gRPC"),
    Port("store.volume", 8380, "the object store's volume server"),
    Port("store.volume_grpc", 18380, "the object store's volume server, internal gRPC"),
    Port("store.filer", 8388, "the object store's filer"),
    Port("store.filer_grpc", 18388, "the object store's filer, internal gRPC"),
    Port("store.metrics", 9105, "the object store's metrics"),
)
TRITON_PORTS = (
    Port("triton", 8001, "Triton's gRPC interface"),
    Port("triton.metrics", 8002, "Triton's metrics"),
)
SERVICE_PORTS = (
    Port("dataset", 50051, "the dataset service"),
    Port("training", 50052, "the training service"),
    Port("export", 50053, "the export service"),
    Port("inference", 50054, "the inference service"),
    Port("dataset.metrics", 9101, "the dataset service's metrics"),
    Port("training.metrics", 9102, "the training service's metrics"),
    Port("export.metrics", 9103, "the export service's metrics"),
    Port("inference.metrics", 9104, "the inference service's metrics"),
)


class PortInUse(Exception):
    """A port that the stack needs is taken; the message names it, what it is for, and the way out."""

    def __init__(self, ports: list[Port]) -> None:
        self.ports = ports
        listed = ", ".join(f"port {p.default} ({p.purpose})" for p in ports[:_NAMED])
        listed += f" and {len(ports) - _NAMED} more" if len(ports) > _NAMED else ""
        super().__init__(f"already in use on {HOST}: {listed}; stop what listens there, or start with --any-port to use free ports instead")


class PortClaims:
    """Ports claimed for the life of this process.

    Args:
        folder: Where the claims of this user's stacks lie; a folder of the system's temporary directory by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir()) / f"visionyard-ports-{os.getuid()}"
        self._held: dict[int, tuple[int, int]] = {}

    def claim(self, port: int) -> bool:
        """Claims a port if nobody listens there and no other stack has claimed it."""
        if port in self._held:
            return False
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            if is_free(port) and (bound := _bound(port)) is not None:
                self._held[port] = (descriptor, bound)
                return True
            os.close(descriptor)
            return False
        return is_free(port)  # no folder for claims: the look at the port itself must do

    def release(self) -> None:
        """Lets go of all of them."""
        for descriptors in self._held.values():
            for descriptor in descriptors:
                os.close(descriptor)
        self._held.clear()


def _bound(port: int) -> int | None:
    """The descriptor of a socket that holds a port for its server without being in the server's way; None where it cannot.

    Ports like 50051 lie in Linux's range for outgoing connections, so the kernel could give one away before its server listens, or between two lives of
    it. The socket does not listen, and has SO_REUSEADDR as servers have.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((HOST, port))
    except OSError:
        held.close()
        return None
    return held.detach()  # held as long as its claim, as that descriptor is


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen on a port now. What its last server left in TIME_WAIT does not count, as servers set SO_REUSEADDR; an outgoing connection does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose(wanted: tuple[Port, ...], claims: PortClaims, *, any_port: bool) -> dict[str, int]:
    """Claims a number for each port.

    Args:
        wanted: What the stack needs.
        claims: Holds what was chosen.
        any_port: Whether the next free number will do where the default one is taken.

    Raises:
        PortInUse: a default is taken and ``any_port`` is off, or no free number was found.
    """
    chosen: dict[str, int] = {}
    taken: list[Port] = []
    for port in wanted:
        last = min(port.default + _SEARCH, _LAST_PORT) if any_port else port.default
        number = next((n for n in range(port.default, last + 1) if claims.claim(n)), None)
        if number is None:
            taken.append(port)
        else:
            chosen[port.name] = number
    if taken:
        claims.release()
        raise PortInUse(taken)
    return chosen


def address(ports: Mapping[str, int], name: str) -> str:
    """``host:port`` of a chosen port."""
    return f"{HOST}:{ports[name]}"
