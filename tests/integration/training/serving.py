"""The training service as a process of its own, for the tests that talk to it over gRPC."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc


def free_address() -> str:
    """An address of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def serving(settings: Mapping[str, str], folder: Path, **variables: str) -> Iterator[grpc.Channel]:
    """Runs the service; at the end it must stop well.

    Args:
        settings: The store's variables.
        folder: Its working directory; its log is ``service.log`` there.
        variables: More variables of its environment.
    """
    address = variables.get("VISIONYARD_LISTEN") or free_address()
    environment = {
        **os.environ,
        **settings,
        "VISIONYARD_LISTEN": address,
        "VISIONYARD_METRICS_LISTEN": "127.0.0.1:0",
        "VISIONYARD_WORK_DIR": str(folder / "work"),
        "VISIONYARD_STOP_WORKERS": "true",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        **variables,
    }
    with (folder / "service.log").open("ab") as log:
        service = subprocess.Popen([sys.executable, "-m", "visionyard.training"], env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
            yield channel
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=60) == 0, (folder / "service.log").read_text()[-3000:]
    finally:
        service.kill()
        service.wait()
