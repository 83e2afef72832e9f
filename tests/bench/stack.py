"""The embedded stack for a measurement, and what the measurements share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

YARD = Path(sys.executable).parent / "yard"


@dataclass
class Stack:
    """A running stack in a state directory of its own."""

    home: Path

    def yard(self, *words: object, project: str = "default") -> dict[str, Any]:
        """Runs ``yard … --json`` in a project and returns its document."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VISIONYARD_")}
        environment["VISIONYARD_HOME"] = str(self.home)
        environment["VISIONYARD_PROJECT"] = project
        done = subprocess.run([YARD, *map(str, words), "--json"], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"yard {' '.join(map(str, words))} exited {done.returncode}: {done.stderr.strip()[-800:]}")
        return dict(json.loads(done.stdout))

    def address(self, service: str) -> str:
        """Where a service listens, host:port."""
        return next(str(p["address"]) for p in self.yard("status")["processes"] if p["name"] == service)


@contextmanager
def running() -> Iterator[Stack]:
    """Starts a stack on free ports and stops it in the end."""
    with tempfile.TemporaryDirectory(prefix="visionyard-bench-") as home:
        subprocess.run([YARD, "up", "--detach", "--any-port", "--dir", home], check=True, stdout=subprocess.DEVNULL)
        try:
            yield Stack(Path(home))
        finally:
            subprocess.run([YARD, "down", "--dir", home], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Appends how long the block took, in seconds."""
    began = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - began)


def say(line: str) -> None:
    """A line of the report."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
