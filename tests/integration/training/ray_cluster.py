"""A Ray cluster of several nodes on this machine, which tests may kill one by one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class RayCluster:
    """Nodes with a CPU each; node 0 is the head."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        patient = {"RAY_raylet_start_wait_time_s": "180", "RAY_health_check_failure_threshold": "30"}  # the machine may be a busy one
        self._environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **patient, **environment}
        self._folder = Path(tempfile.mkdtemp(prefix="vyray", dir="/tmp"))  # short, for the paths of Unix sockets
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.address = f"127.0.0.1:{_free_port()}"

    def add(self, work_dir: Path) -> int:
        """Starts a node, which keeps its files in a folder of its own; gives its number."""
        which = (
            [
                "--head",
                "--port",
                self.address.split(":")[1],
                "--temp-dir",
                str(self._folder),
                "--include-dashboard",
                "false",
                "--ray-client-server-port",
                str(_free_port()),
            ]
            if not self._nodes
            else ["--address", self.address]
        )
        options = ["--num-cpus", "1", "--object-store-memory", "80000000", "--min-worker-port", "0", "--max-worker-port", "0", "--block"]
        log = (self._folder / f"node{len(self._nodes)}.log").open("wb")
        ray = Path(sys.executable).parent / "ray"
        environment = {**self._environment, "VISIONYARD_WORK_DIR": str(work_dir)}
        with log:
            self._nodes.append(subprocess.Popen([ray, "start", *which, *options], env=environment, stdout=log, stderr=subprocess.STDOUT))
        self._wait_for(log.name)
        return len(self._nodes) - 1

    def _wait_for(self, log: str) -> None:
        end = time.monotonic() + 240
        while "Ray runtime started" not in (told := Path(log).read_text(errors="replace")):
            assert self._nodes[-1].poll() is None, told
            assert time.monotonic() < end, told
            time.sleep(0.1)

    def kill(self, node: int) -> None:
        """Kills a node with everything that runs on it."""
        with suppress(psutil.NoSuchProcess):
            processes = psutil.Process(self._nodes[node].pid).children(recursive=True)
            self._nodes[node].kill()
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._nodes[node].wait()

    def close(self) -> None:
        for node in reversed(range(len(self._nodes))):
            self.kill(node)
        shutil.rmtree(self._folder, ignore_errors=True)
