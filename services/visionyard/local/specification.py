"""What the supervisor must know about a process to run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PRIVATE_VARIABLE = "VISIONYARD_END_COMMAND"
"""May hold a provider's key: of all processes only the training service gets it."""


def _nothing() -> None:
    return


@dataclass(frozen=True)
class ProcessSpec:
    """A process of the stack.

    Attributes:
        name: As `yard status` and logs/<name>.log call it.
        command: The program, by absolute path, and its arguments.
        environment: Added to the supervisor's own environment.
        working_dir: Where it runs; made where it is missing.
        ready: Whether it serves. Blocking, bounded to about 2 s, never raises; called in a thread.
        address: Where it serves, host:port.
        metrics_address: Where Prometheus finds /metrics, host:port; empty where there is none.
        prepare: Called before every start, in a thread: removes what a killed predecessor left, and the like.
        start_timeout_s: How long it may take until it is ready.
        stop_grace_s: How long it may take to end after SIGTERM before it is killed.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    working_dir: Path
    ready: Callable[[], bool]
    address: str
    metrics_address: str = ""
    prepare: Callable[[], None] = field(default=_nothing)
    start_timeout_s: float = 60.0
    stop_grace_s: float = 5.0
