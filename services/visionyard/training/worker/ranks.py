"""The processes of one machine that train together: torchrun, which starts the ranks, and what they tell of their end.

torchrun gives each rank a session of its own, so killing the worker's process group does not reach them. So they are on a leash: the read end of a pipe is their stdin,
whoever started them holds the other, and a rank that reads the end goes at once (:mod:`.rank`). However that one dies, none is left.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from visionyard.kit.cpus import usable_cpus
from visionyard.kit.errors import YardError
from visionyard.kit.jobs.worker import SCRATCH_VARIABLE

LOOPBACK = "127.0.0.1"
_RANK_MODULE = "visionyard.training.worker.rank"
_TOLD = "told"
_GONE_S = 10.0
_JOIN_S = 900


@dataclass(frozen=True)
class Place:
    """Where a machine's ranks stand among those of all machines.

    Attributes:
        nodes: How many machines there are.
        node: This machine's number, from 0.
        processes: How many ranks each machine has.
        address: The address at which machine 0 is reached.
        port: The port there at which all ranks meet.
    """

    nodes: int
    node: int
    processes: int
    address: str
    port: int


@dataclass(frozen=True)
class Ended:
    """How a machine's ranks ended.

    Attributes:
        code: torchrun's exit code; 0 where all ranks ended well.
        error: What a rank says of it; None where all ended well or one has died.
    """

    code: int
    error: YardError | None


def free_port(address: str) -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind((address, 0))
        return int(found.getsockname()[1])


def tell(scratch: Path, rank: int, error: YardError) -> None:
    """The rank's side: says why it fails."""
    folder = scratch / _TOLD
    folder.mkdir(exist_ok=True)
    (folder / f"{rank}.json").write_text(json.dumps(error.to_json()))


class Ranks:
    """torchrun and its ranks. Stop them, however they end.

    Args:
        job: The job's resource name.
        attempt: The attempt that they belong to.
        place: Where they stand among all.
        scratch: A private folder of theirs.
        environment: Their environment, besides what is set here.
        cores: How many CPU cores they share.
        own_address: The address of this machine at which the others reach it.
    """

    def __init__(
        self, job: str, attempt: int, place: Place, scratch: Path, environment: Mapping[str, str], cores: int, own_address: str
    ) -> None:
        self._scratch = scratch
        rendezvous = ["--master-addr", place.address, "--master-port", str(place.port), "--local-addr", own_address]
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes", str(place.nodes), "--node-rank", str(place.node)),
            *("--nproc-per-node", str(place.processes), "--max-restarts", "0", *rendezvous, "--rdzv-conf", f"timeout={_JOIN_S}"),
            *("-m", _RANK_MODULE, job, str(attempt)),
        ]
        interface = _interface_of(own_address)
        variables = {
            **environment,
            SCRATCH_VARIABLE: str(scratch),
            "TMPDIR": str(scratch),  # torchrun leaves a folder there when it is killed
            "OMP_NUM_THREADS": str(max(1, cores // place.processes)),
            **({"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface} if interface else {}),
        }
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env=variables, cwd=scratch)

    def wait(self, seconds: float) -> Ended | None:
        """Waits for their end, at most so long; None where they go on."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return Ended(code, self._told())

    def stop(self, patience_s: float) -> None:
        """Asks them to stop, gives them so long, to store the epoch that they are storing, and ends what is left."""
        ranks = self._descendants()
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        if self._process.stdin is not None:
            self._process.stdin.close()  # the leash
        for process in {*ranks, *self._descendants()}:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.kill()
        self._process.wait()
        psutil.wait_procs(ranks, _GONE_S)

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _told(self) -> YardError | None:
        """What was told first: once a rank has failed, the others miss it, and fail too."""
        paths = sorted((self._scratch / _TOLD).glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return YardError.from_json(json.loads(paths[0].read_text())) if paths else None


def local_ranks(job: str, attempt: int, processes: int, scratch: Path) -> Ranks:
    """The ranks of a training on this machine alone."""
    place = Place(1, 0, processes, LOOPBACK, free_port(LOOPBACK))
    return Ranks(job, attempt, place, scratch, os.environ, usable_cpus(), LOOPBACK)


def _interface_of(address: str) -> str:
    """The network interface that has an address; empty where none has."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in addresses):
            return name
    return ""
